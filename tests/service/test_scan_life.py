from __future__ import annotations

import errno
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zwriter.ingest import ControlEvent
from zwriter.model import ScanState, Verdict
from zwriter.objects import ObjectPath, place
from zwriter.protocol import Message, decode, encode, keys
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service import paths, scan_run
from zwriter.service.control_messages import ControlMessages
from zwriter.settings import SpoolSettings
from zwriter.store import patience
from zwriter.testing.failpoints import watched
from zwriter.testing.waiting import until


def point(value: float) -> dict:
    return {"samx": {"samx": {"value": value, "timestamp": 1.0}}}


@pytest.fixture
def beamline(beamline_anywhere):
    """On a disk, and in a bucket."""
    return beamline_anywhere


def test_a_closed_scan_is_written_whole(beamline):
    with (
        beamline.service(),
        beamline.publisher.open_scan(
            scan_number=1, monitored=["samx"], baseline=["samy"], async_devices=["mcs"]
        ) as scan,
    ):
        scan.baseline({"samy": {"samy": {"value": 7.5, "timestamp": 1.0}}})
        scan.configuration("samx", {"samx_velocity": {"value": 3.0, "timestamp": 1.0}})
        scan.file("eiger", "/data/eiger.h5", hinted_h5_entries={"data": "/entry/data"})
        for i in (2, 0, 1):
            scan.point(i, point(i / 2))
        for i in range(100):
            scan.add("mcs", "counts", i, max_shape=(None,))
        scan.close()
        written = beamline.written(1)
    assert (written.status, written.verdict) == (ScanState.CLOSED, Verdict.COMPLETE)
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(100))
    assert written.devices["samx"]["samx"].value[:].tolist() == [0.0, 0.5, 1.0]
    assert written.baseline["samy"]["samy"]["value"] == 7.5
    assert written.configuration["samx"]["samx_velocity"]["value"] == 3.0
    assert written.file_references["eiger"].file_path == "/data/eiger.h5"
    assert beamline.store(1).with_name("S00001_master.h5").exists()


def test_rows_can_be_read_while_the_scan_is_open(beamline):
    with beamline.service(), beamline.publisher.open_scan(scan_number=1) as scan:
        scan.add("mcs", "counts", [1, 2, 3], max_shape=(None,))
        live = beamline.live(1, rows=3)
        assert live.devices["mcs"]["counts"].value[:].tolist() == [1, 2, 3]
        assert not live.finished


def test_what_was_read_is_committed_when_the_service_is_stopped(beamline_on_disk):
    """Also what waits for more to be decoded with: Redis may trim it before the next one comes."""
    beamline = beamline_on_disk
    rarely = beamline.settings.store.model_copy(update={"flush_interval": 3600.0})
    beamline.settings = beamline.settings.model_copy(update={"store": rarely})
    scan = beamline.publisher.open_scan(scan_number=1, async_devices=["mcs"])
    for i in range(30):
        scan.add("mcs", "counts", i, max_shape=(None,))
    with watched() as passed, beamline.service():
        until(
            lambda: passed["ingest.queued"] >= 2, "the first message, then all others, to be read"
        )
    counts = open_scan(beamline.store(1)).devices["mcs"]["counts"]
    assert counts.value[:].tolist() == list(range(30))


def test_two_scans_at_once_are_two_stores(beamline):
    with beamline.service():
        first = beamline.publisher.open_scan(scan_number=1)
        second = beamline.publisher.open_scan(scan_number=2)
        for i in range(50):
            first.add("mcs", "counts", i, max_shape=(None,))
            second.add("mcs", "counts", -i, max_shape=(None,))
        second.close()
        first.close()
        assert beamline.written(1).devices["mcs"]["counts"].value[:].tolist() == list(range(50))
        assert beamline.written(2).devices["mcs"]["counts"].value[-1] == -49


def test_an_aborted_scan_keeps_what_came_even_after_its_end(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"], num_points=10)
        scan.point(0, point(1.0))
        scan.add("mcs", "counts", 1, max_shape=(None,))
        scan.close("aborted", "user")
        scan.add("mcs", "counts", 2, max_shape=(None,))
        scan.point(1, point(2.0))
        written = beamline.written(1)
    assert (written.status, written.verdict) == (ScanState.ABORTED, Verdict.ABORTED)
    assert written.devices["mcs"]["counts"].value[:].tolist() == [1, 2]
    assert written.devices["samx"]["samx"].value[:].tolist() == [1.0, 2.0]


def test_a_scan_ends_as_its_status_says(beamline):
    with beamline.service():
        for number, status in enumerate(("halted", "user_completed"), 1):
            scan = beamline.publisher.open_scan(scan_number=number)
            scan.add("mcs", "counts", 1, max_shape=(None,))
            scan.close(status)
            assert beamline.written(number).status == status
    assert beamline.written(1).verdict is Verdict.ABORTED
    assert beamline.written(2).verdict is Verdict.COMPLETE


def test_a_paused_scan_goes_on_when_it_is_resumed(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        scan.add("mcs", "counts", 1, max_shape=(None,))
        scan.pause()
        live = beamline.live(1)
        until(lambda: (live.refresh(), live.status)[1] is ScanState.PAUSED)
        scan.resume()
        until(lambda: live.refresh() and live.status is ScanState.OPEN)
        scan.add("mcs", "counts", 2, max_shape=(None,))
        scan.close()
        assert beamline.written(1).devices["mcs"]["counts"].value[:].tolist() == [1, 2]


def test_what_comes_before_the_scan_is_opened_is_not_lost(beamline):
    """A point that is published and not kept, and async data, ahead of the status."""
    fields = {"scan_id": "early", "point_id": 0, "data": point(4.0)}
    bundle = Message("BundleMessage", {"messages": [Message("ScanMessage", fields)]})
    update = Message(
        "DeviceMessage",
        {"signals": {"counts": {"value": 5, "timestamp": 1.0}}},
        {"async_update": {"type": "add", "max_shape": [None]}},
    )
    with beamline.service():
        beamline.redis("PUBLISH", keys.scan_segment(), encode(bundle))
        beamline.redis(
            "XADD", keys.async_signal("early", "mcs", "counts"), "*", "data", encode(update)
        )
        with beamline.publisher.open_scan(scan_number=1, scan_id="early", monitored=["samx"]):
            pass
        written = beamline.written(1)
    assert written.devices["samx"]["samx"].value[:].tolist() == [4.0]
    assert written.devices["mcs"]["counts"].value[:].tolist() == [5]


def test_lost_publishes_are_found_in_the_keys(beamline):
    """All that BEC also keeps as keys, put there without being published."""

    def status(state, points):
        fields = {
            "scan_id": "lost",
            "status": state,
            "scan_number": 1,
            "num_monitored_readouts": points,
            "scan_type": "step",
            "readout_priority": {"monitored": ["samx"]},
            "info": {"baseline_readout_requested": True},
            "timestamp": {"open": 1.0, "closed": 2.0}[state],
        }
        return encode(Message("ScanStatusMessage", fields))

    with beamline.service():
        beamline.redis("SET", keys.scan_info("lost"), status("open", 0))
        beamline.redis("PUBLISH", keys.scan_status(), status("open", 0))
        for i in range(600):
            raw = encode(
                Message("ScanMessage", {"scan_id": "lost", "point_id": i, "data": point(i)})
            )
            beamline.redis("SET", keys.scan_segment_point("lost", i), raw)
        baseline = Message("ScanBaselineMessage", {"scan_id": "lost", "data": point(-1.0)})
        beamline.redis("SET", keys.scan_baseline_of("lost"), encode(baseline))
        beamline.redis("SET", keys.scan_info("lost"), status("closed", 600))
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE
    assert written.devices["samx"]["samx"].value[:].tolist() == list(range(600))
    assert written.baseline["samx"]["samx"]["value"] == -1.0


def test_points_that_never_come_are_a_gap(beamline, caplog):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        for i in range(5):
            scan.point(i, point(i))
        for i in (1, 3):
            beamline.redis("DEL", keys.scan_segment_point(scan.scan_id, i))
        beamline.redis("DEL", keys.scan_info(scan.scan_id))
        status = Message(
            "ScanStatusMessage",
            {
                "scan_id": scan.scan_id,
                "status": "closed",
                "scan_number": 1,
                "num_monitored_readouts": 7,
                "scan_type": "step",
                "readout_priority": {"monitored": ["samx"]},
                "info": {},
            },
        )
        beamline.redis("PUBLISH", keys.scan_status(), encode(status))
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert written.devices["samx"]["samx"].value.shape == (5,)
    assert "2 of 7 points never came" in caplog.text
    ledger = written.devices["samx"]["samx"].ledger
    assert (ledger.expected, ledger.received, ledger.missing) == (7, 5, 2)
    assert written.gaps() == ["samx/samx: 2 missing", "2 of 7 points never came"]
    master = written.path.with_name("S00001_master.h5")
    assert f"{master}: samx/samx: 2 missing" in verify(master).gaps
    raw = beamline.redis("GET", keys.scan_file(scan.scan_id, "master"))
    assert decode(raw).metadata["gaps"]["samx/samx"]["missing"] == 2


def test_a_baseline_that_never_comes_is_a_gap(beamline, caplog):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, baseline=["samy"]):
            pass
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert written.gaps() == ["the baseline never came"]
    assert "the baseline never came" in caplog.text


def test_updates_that_were_trimmed_are_named(beamline, caplog):
    scan = beamline.publisher.open_scan(scan_number=1)
    for i in range(20):
        scan.add("mcs", "counts", i, max_shape=(None,))
    beamline.redis("XTRIM", keys.async_signal(scan.scan_id, "mcs", "counts"), "MAXLEN", "=", 5)
    with beamline.service():
        scan.close()
        written = beamline.written(1)
    ledger = written.devices["mcs"]["counts"].ledger
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert (ledger.expected, ledger.received, ledger.missing) == (20, 5, 15)
    assert ledger.missing_ranges == [[0, 14]]
    assert "15 of 20 updates never came" in caplog.text


def test_a_stream_that_is_gone_is_named(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        scan.add("mcs", "kept", 1, max_shape=(None,))
        with scan.batch():
            scan.add("mcs", "gone", 1, max_shape=(None,))
            scan._open_batch.delete(keys.async_signal(scan.scan_id, "mcs", "gone"))
        scan.close()
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert written.summary()["devices"]["mcs"]["gone"]["missing"] == 1


def test_a_scan_is_opened_and_finished_while_another_waits_for_its_last_data(beamline_on_disk):
    beamline_on_disk.settings = beamline_on_disk.settings.model_copy(
        update={"redis": beamline_on_disk.settings.redis.model_copy(update={"drain_timeout": 4.0})}
    )
    with beamline_on_disk.service():
        first = beamline_on_disk.publisher.open_scan(scan_number=1)
        first.add("mcs", "counts", 1, max_shape=(None,))
        beamline_on_disk.redis("DEL", keys.async_signal(first.scan_id, "mcs", "counts"))
        first.add("mcs", "counts", 2, max_shape=(None,))
        first.close("aborted")
        with beamline_on_disk.publisher.open_scan(scan_number=2) as second:
            second.add("mcs", "counts", 3, max_shape=(None,))
        assert beamline_on_disk.written(2).verdict is Verdict.COMPLETE
        assert not open_scan(beamline_on_disk.store(1)).finished
        assert beamline_on_disk.written(1).verdict is Verdict.ABORTED


def test_a_second_open_is_ignored_with_one_line(beamline, caplog):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, scan_id="twice", scan_name="first")
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.publisher.open_scan(scan_number=1, scan_id="twice", scan_name="second")
        until(lambda: "a second 'open' is ignored" in caplog.text)
        scan.add("mcs", "counts", 2, max_shape=(None,))
        scan.close()
        written = beamline.written(1)
    assert caplog.text.count("a second 'open' is ignored") == 1
    assert written.metadata["scan_name"] == "first"
    assert written.devices["mcs"]["counts"].value[:].tolist() == [1, 2]


def test_what_comes_after_the_scan_was_finished_is_refused_with_one_line(beamline, caplog):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        scan.point(0, point(0.0))
        scan.close()
        written = beamline.written(1)
        for i in range(1, 4):
            scan.point(i, point(1.0))
        until(lambda: "is done; a late segment is ignored" in caplog.text)
        with beamline.publisher.open_scan(scan_number=2):
            pass
        beamline.written(2)
    assert caplog.text.count("is done; a late") == 1
    assert written.devices["samx"]["samx"].value.shape == (1,)


@pytest.mark.parametrize("error", [None, OSError(errno.EIO, "once")], ids=repr)
@pytest.mark.parametrize(("points", "told"), [((0, 1, 2), 1), ((0,), 0)])
def test_what_comes_while_the_scan_is_being_finished_and_is_not_in_it_is_told_of(
    beamline, caplog, monkeypatch, points, told, error
):
    """Also if it takes two attempts."""
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        scan.point(0, point(0.0))

        def publish_more() -> None:
            for i in points:
                scan.point(i, point(1.0))
            beamline.publisher.open_scan(scan_number=2)
            until(beamline.store(2).exists)  # so what was published before that has been heard

        def open_once(path):
            monkeypatch.setattr(scan_run, "open_scan", open_scan)
            publish_more()
            if error:
                raise error
            return open_scan(path)

        monkeypatch.setattr(scan_run, "open_scan", open_once)
        scan.close()
        written = beamline.written(1)
    assert caplog.text.count("is done; a late segment is ignored") == told
    assert written.devices["samx"]["samx"].value[:].tolist() == [0.0]


def test_a_place_that_turns_out_to_be_another_scans_is_left_to_it(beamline, tmp_path, monkeypatch):
    """It could not be seen when the place was chosen: the disk or the bucket did not answer."""
    spool = SpoolSettings(folder=tmp_path / "another-spool")
    another = ScanWriter(beamline.store(1), scan_id="another", master=None, spool=spool)
    another.add("mcs", "counts", 7)
    another.flush()
    monkeypatch.setattr(paths, "_taken", lambda *_, **__: False)
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, scan_id="ours") as scan:
            scan.add("mcs", "counts", 1, max_shape=(None,))
        written = beamline.written(beamline.store(1).with_name("S00001_ours.zarr"))
    assert written.verdict is Verdict.COMPLETE
    another.add("mcs", "counts", 8)
    another.finish()
    another.close()
    assert open_scan(beamline.store(1)).devices["mcs"]["counts"].value[:].tolist() == [7, 8]


def test_a_scan_that_cannot_be_written_harms_no_other(beamline_on_disk, caplog):
    in_the_way = beamline_on_disk.root / "S00000-00999" / "S00001"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the scan's folder should be")
    with beamline_on_disk.service():
        with beamline_on_disk.publisher.open_scan(scan_number=1) as bad:
            bad.add("mcs", "counts", 1, max_shape=(None,))
        with beamline_on_disk.publisher.open_scan(scan_number=2) as good:
            good.add("mcs", "counts", 1, max_shape=(None,))
        assert beamline_on_disk.written(2).verdict is Verdict.COMPLETE
    assert "scan 1: it cannot be written" in caplog.text


def test_a_scan_that_no_thread_can_be_started_for_is_told_of_and_tried_again(
    beamline_on_disk, monkeypatch
):
    beamline, start = beamline_on_disk, threading.Thread.start
    none_left = threading.Event()
    none_left.set()

    def start_or_not(thread) -> None:
        if none_left.is_set() and thread.name.startswith("scan-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_or_not)
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        until(lambda: beamline.client.get(keys.alarms()), "the alarm")
        alarm = decode(beamline.client.get(keys.alarms()))
        none_left.clear()
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.redis("CLIENT", "KILL", "TYPE", "pubsub")
        beamline.live(1, rows=1)
        scan.close()
        assert beamline.written(1).verdict is Verdict.COMPLETE
    assert "cannot be opened: can't start new thread" in alarm.data["info"]["error_message"]


def test_rows_can_be_read_while_more_and_more_points_come(beamline_on_disk, monkeypatch):
    journal, enough = ControlMessages._journal, threading.Event()

    def journal_and_hear_again(control, kind, name, raw) -> None:
        journal(control, kind, name, raw)
        if kind == "segment" and not enough.is_set():
            control._inbox.hear(ControlEvent(kind, control._scan_id, name, raw))

    monkeypatch.setattr(ControlMessages, "_journal", journal_and_hear_again)
    with beamline_on_disk.service():
        with beamline_on_disk.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            scan.point(0, point(1.5))
            scan.add("mcs", "counts", 1, max_shape=(None,))
            try:
                beamline_on_disk.live(1, rows=1)
            finally:
                enough.set()
        written = beamline_on_disk.written(1)
    assert written.verdict is Verdict.COMPLETE
    assert written.devices["samx"]["samx"].value[:].tolist() == [1.5]


def test_scans_that_were_opened_before_the_service_started_are_written(beamline):
    open_one = beamline.publisher.open_scan(scan_number=1)
    open_one.add("mcs", "counts", 1, max_shape=(None,))
    with beamline.publisher.open_scan(scan_number=2) as ended:
        ended.add("mcs", "counts", 2, max_shape=(None,))
    with beamline.service():
        assert beamline.written(2).devices["mcs"]["counts"].value[:].tolist() == [2]
        open_one.add("mcs", "counts", 3, max_shape=(None,))
        open_one.close()
        assert beamline.written(1).devices["mcs"]["counts"].value[:].tolist() == [1, 3]


def test_a_scan_that_somebody_else_has_written_is_not_written_again(beamline):
    with beamline.publisher.open_scan(scan_number=1) as scan:
        scan.add("mcs", "counts", 1, max_shape=(None,))
    fields = {"file_path": "/elsewhere.h5", "done": True, "successful": True}
    key = keys.scan_file(scan.scan_id, "master")
    beamline.redis("SET", key, encode(Message("FileMessage", fields)))
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=2):
            pass
        beamline.written(2)
    assert not beamline.store(1).exists()


def test_beamline_states_are_those_at_the_beginning_and_all_changes(beamline):
    beamline.publisher.beamline_state("shutter", "invalid")
    beamline.publisher.beamline_state("shutter", "valid")
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        beamline.live(1)
        beamline.publisher.beamline_state("shutter", "warning")
        scan.close()
        written = beamline.written(1)
    assert [state.status for state in written.states["shutter"]] == ["valid", "warning"]


def test_beamline_states_that_change_before_the_service_starts_are_the_scans_too(beamline):
    beamline.publisher.beamline_state("shutter", "valid")
    scan = beamline.publisher.open_scan(scan_number=1)
    beamline.publisher.beamline_state("shutter", "warning")
    with beamline.service():
        scan.close()
        written = beamline.written(1)
    assert [state.status for state in written.states["shutter"]] == ["valid", "warning"]


def test_frames_come_through_a_small_queue_unchanged(beamline):
    beamline.settings = beamline.settings.model_copy(
        update={"redis": beamline.settings.redis.model_copy(update={"queue_bytes": 1024 * 1024})}
    )
    frames = np.random.default_rng(1).integers(0, 1000, (40, 256, 256), np.uint16)
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1) as scan:
            for frame in frames:
                scan.add("eiger", "image", frame, max_shape=(None, 256, 256))
        written = beamline.written(1)
    assert np.array_equal(written.devices["eiger"]["image"].value[:], frames)


def test_a_scan_is_in_the_catalog_as_soon_as_it_is_finished(beamline, tmp_path):
    table = str(tmp_path / "scans.parquet")
    if isinstance(beamline.root, ObjectPath):
        table = f"{beamline.root}/scans.parquet"
    beamline.settings = beamline.settings.model_copy(update={"catalog": table})
    for number in (1, 2):
        with beamline.service():
            with beamline.publisher.open_scan(scan_number=number) as scan:
                scan.add("mcs", "counts", number, max_shape=(None,))
            beamline.written(number)
        rows = pq.read_table(pa.BufferReader(place(table).read_bytes())).to_pylist()
        assert [row["scan_number"] for row in rows] == [1, 2][:number]
        assert [row["path"] for row in rows] == [str(beamline.store(n)) for n in (1, 2)[:number]]
        assert rows[-1]["verdict"] == "COMPLETE"
        assert rows[-1]["master"].endswith(f"S0000{number}_master.h5")


def test_a_catalog_that_cannot_be_written_harms_no_scan(beamline_on_disk, tmp_path, caplog):
    table = tmp_path / "scans.parquet"
    table.write_text("no table")
    beamline_on_disk.settings = beamline_on_disk.settings.model_copy(update={"catalog": table})
    with beamline_on_disk.service():
        with beamline_on_disk.publisher.open_scan(scan_number=1) as scan:
            scan.add("mcs", "counts", 1, max_shape=(None,))
        assert beamline_on_disk.written(1).verdict is Verdict.COMPLETE
    assert "is not in the catalog" in caplog.text
    assert table.read_text() == "no table"
