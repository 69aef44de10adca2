"""A service that dies or stops, and another that goes on."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from tests.service.disturbed import SERVICE, arrays, push
from zwriter.ingest import connect
from zwriter.model import ScanState, Verdict
from zwriter.protocol import keys
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import RedisSettings
from zwriter.testing.waiting import until


@contextlib.contextmanager
def service_to_kill(beamline) -> Iterator[subprocess.Popen]:
    """A service in a process of its own, which is killed with -9 when the block is left."""
    settings = beamline.settings.model_dump(mode="json")
    settings["redis"]["url"] = beamline.url  # model_dump hides it
    command = [sys.executable, "-c", SERVICE, json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_service_that_is_killed_in_mid_scan_and_started_again_writes_the_same(
    beamline_anywhere,
):
    beamline = beamline_anywhere
    disturbed = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    for begin in (0, 20, 40, 60):
        with service_to_kill(beamline):
            push(disturbed, range(begin, begin + 13))
            beamline.live(1, rows=begin + 1)
            push(disturbed, range(begin + 13, begin + 20))
    undisturbed = beamline.publisher.open_scan(scan_number=2, monitored=["samx"])
    with beamline.service():
        push(undisturbed, range(80))
        disturbed.close()
        undisturbed.close()
        first, second = beamline.written(1), beamline.written(2)
    assert first.verdict is Verdict.COMPLETE
    assert arrays(first) == arrays(second)
    assert len(first.devices["mcs"]["counts"].rows) == 80


def test_a_scan_that_is_closed_while_nobody_listens_is_finished_at_the_next_start(beamline):
    scan = beamline.publisher.open_scan(scan_number=1)
    with service_to_kill(beamline):
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1)
    scan.add("mcs", "counts", 2, max_shape=(None,))
    scan.close()
    with beamline.service():
        written = beamline.written(1)
    assert (written.status, written.verdict) == (ScanState.CLOSED, Verdict.COMPLETE)
    assert written.devices["mcs"]["counts"].value[:].tolist() == [1, 2]


def test_a_service_that_is_stopped_leaves_its_scans_to_the_next(beamline):
    scan = beamline.publisher.open_scan(scan_number=1)
    for i in range(3):
        with beamline.service():
            scan.add("mcs", "counts", i, max_shape=(None,))
            beamline.live(1)
        assert not open_scan(beamline.store(1)).finished
    with beamline.service():
        scan.close()
        assert beamline.written(1).devices["mcs"]["counts"].value[:].tolist() == [0, 1, 2]


def test_a_scan_that_redis_knows_no_more_ends_as_aborted_when_nothing_comes_for_long(beamline):
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1, rows=1)
    beamline.redis("FLUSHALL")
    quick = beamline.settings.redis.model_copy(update={"drain_timeout": 0.2})
    beamline.settings = beamline.settings.model_copy(update={"redis": quick})
    with beamline.service():
        written = beamline.written(1)
    assert (written.status, written.verdict) == (ScanState.ABORTED, Verdict.ABORTED)
    assert "nobody to end it" in written.record.reason
    assert written.devices["mcs"]["counts"].value[:].tolist() == [1]


def test_an_open_scan_that_redis_knows_stays_open_however_long_nothing_comes(beamline):
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        beamline.live(1)
    quick = beamline.settings.redis.model_copy(update={"drain_timeout": 0.0})
    beamline.settings = beamline.settings.model_copy(update={"redis": quick})
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=2):
            pass
        beamline.written(2)
        assert not open_scan(beamline.store(1)).finished
        scan.close()
        assert beamline.written(1).status is ScanState.CLOSED


def test_a_master_file_that_a_killed_service_did_not_write_is_written(beamline):
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1)
    writer = ScanWriter(beamline.store(1), scan_id=scan.scan_id, master=None)
    writer.finish(ScanState.CLOSED)  # and dies here
    del writer
    master = beamline.store(1).with_name("S00001_master.h5")
    assert not master.exists()
    with beamline.service():
        beamline.written(1)
    assert master.exists()


def test_what_a_service_that_was_killed_while_it_cleaned_up_has_left_is_removed(beamline):
    with beamline.service(), beamline.publisher.open_scan(scan_number=1) as scan:
        scan.add("mcs", "counts", 1, max_shape=(None,))
    with beamline.service():
        beamline.written(1)
    side = beamline.store(1).with_suffix(".zwriter")
    (side / "commits" / "mcs").mkdir(parents=True)
    with beamline.service():
        until(lambda: not side.exists(), "the rest to be removed")
    assert open_scan(beamline.store(1)).verdict is Verdict.COMPLETE


def test_a_store_that_a_program_writes_without_redis_is_left_alone(beamline):
    store = beamline.root / "own.zarr"
    beamline.root.mkdir()
    with ScanWriter(store, master=None) as writer:
        writer.add("cam", "image", np.zeros((4, 4)))
        writer.commit()
        with beamline.service():
            with beamline.publisher.open_scan(scan_number=1):
                pass
            beamline.written(1)
        writer.add("cam", "image", np.ones((4, 4)))
    assert open_scan(store).devices["cam"]["image"].value.shape == (2, 4, 4)


def test_a_lost_connection_loses_nothing(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        for i in range(30):
            scan.add("mcs", "counts", i, max_shape=(None,))
            scan.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
            if i % 10 == 5:
                beamline.redis("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                beamline.redis("CLIENT", "KILL", "TYPE", "pubsub")
        scan.close()
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(30))
    assert written.devices["samx"]["samx"].value[:].tolist() == list(range(30))


def test_the_last_entry_that_was_written_is_where_reading_goes_on(beamline):
    """What was read before is not read again, even if Redis still holds it."""
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        for i in range(5):
            scan.add("mcs", "counts", i, max_shape=(None,))
        beamline.live(1, rows=5)
    stream = keys.async_signal(scan.scan_id, "mcs", "counts")
    with connect(RedisSettings(url=beamline.url)) as client:
        last = client.xrevrange(stream, count=1)[0][0].decode()
    writer = ScanWriter(beamline.store(1), scan_id=scan.scan_id, master=None)
    positions = writer.positions
    writer.close()
    assert positions == {stream: last}


def test_a_store_that_was_only_begun_when_the_service_died_is_continued(beamline):
    store = beamline.store(1)
    (store / "entry").mkdir(parents=True)
    (store / "entry" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (store.with_suffix(".zwriter") / "commits").mkdir(parents=True)
    with beamline.publisher.open_scan(scan_number=1) as scan:
        scan.add("mcs", "counts", 1, max_shape=(None,))
    with beamline.service():
        assert beamline.written(1).devices["mcs"]["counts"].value[:].tolist() == [1]


def test_a_scan_whose_journal_is_damaged_is_left_as_it_is(beamline, caplog):
    beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        beamline.live(1)
    journal = beamline.store(1).with_suffix(".zwriter") / "journal"
    raw = bytearray(journal.read_bytes())
    raw[20] ^= 255
    journal.write_bytes(raw + raw)
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=2):
            pass
        beamline.written(2)
    assert "its journal cannot be read" in caplog.text
    assert not open_scan(beamline.store(1)).finished


def test_of_two_services_at_one_redis_and_root_one_writes_each_scan(beamline):
    with beamline.service(), beamline.service():
        for number in (1, 2, 3):
            with beamline.publisher.open_scan(scan_number=number) as scan:
                for i in range(20):
                    scan.add("mcs", "counts", i, max_shape=(None,))
            written = beamline.written(number)
            assert written.verdict is Verdict.COMPLETE
            assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(20))


def test_that_a_scan_was_finalized_while_it_runs_is_told_by_the_service(beamline, caplog):
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1)
    finalize(beamline.store(1), beamline.settings)
    with beamline.service(), beamline.publisher.open_scan(scan_number=2):
        until(lambda: "was finished while it runs" in caplog.text)
