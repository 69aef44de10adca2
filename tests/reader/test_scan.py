"""open_scan on what ScanWriter writes, live and finished."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from zwriter.errors import StoreError, UsageError
from zwriter.model import Position, Rejected, Source, Verdict
from zwriter.reader import Quarantined, Scan, listing, open_scan
from zwriter.reader.arrays import NoHoles
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.testing.scans import ScanFolder

# chunks of a few rows, so that whole chunks, partial ones and several shards all occur
SMALL = StoreSettings(flush_interval=60, default=SignalSettings(chunk_bytes=64), durability="none")
RECORD = np.dtype([("a", "<i4"), ("b", "<f8")])


def write_all_kinds(writer: ScanWriter, begin: int, end: int) -> None:
    """Updates of every layout, each value telling its number."""
    for i in range(begin, end):
        writer.add("eiger", "image", np.full((4, 3), i, np.uint16), float(i))
        writer.add("mcs", "count", i if i < 300 else i + 0.5, float(i))
        writer.add("mcs", "short", np.arange(i % 3 + 1.0), max_shape=(None, 3))
        writer.add("mcs", "ragged", np.full(i % 5, i), max_shape=(None, None))
        writer.add("mcs", "text", f"number {i}")
        writer.add("mcs", "record", np.array((i, i / 2), RECORD))
        writer.add_slice("scope", "trace", i % 10, [i, i], max_shape=(None, 200))
        writer.add_slice("scope", "pieces", i % 10, [i] * (i % 3))
        writer.replace("cam", "roi", np.full((i % 3 + 1, 2), i), float(i))
        writer.replace("cam", "mean", i, float(i))


def check_all_kinds(scan: Scan, n: int) -> None:
    """What `write_all_kinds` wrote, n times, is there."""
    image = scan.devices["eiger"]["image"]
    assert image.value.shape == (n, 4, 3)
    np.testing.assert_array_equal(image.value[:, 1, 2], np.arange(n))
    np.testing.assert_array_equal(image.timestamp, np.arange(float(n)))
    mcs = scan.devices["mcs"]
    counts = np.arange(n) + np.where(np.arange(n) < 300, 0, 0.5)
    np.testing.assert_array_equal(mcs["count"].value, counts)
    assert [row.tolist() for row in mcs["short"].rows] == [list(range(i % 3 + 1)) for i in range(n)]
    assert [row.tolist() for row in mcs["ragged"].rows] == [[i] * (i % 5) for i in range(n)]
    assert list(mcs["text"].value) == [f"number {i}" for i in range(n)]
    np.testing.assert_array_equal(mcs["record"].value[-1], np.array((n - 1, (n - 1) / 2), RECORD))
    scope = scan.devices["scope"]
    assert [row.tolist() for row in scope["trace"].rows] == [
        [i for i in range(row, n, 10) for _ in (0, 1)] for row in range(10)
    ]
    assert [row.tolist() for row in scope["pieces"].rows] == [
        [i for i in range(row, n, 10) for _ in range(i % 3)] for row in range(10)
    ]
    cam = scan.devices["cam"]
    np.testing.assert_array_equal(cam["roi"].value, np.full(((n - 1) % 3 + 1, 2), n - 1))
    assert cam["mean"].value[...] == n - 1
    assert cam["mean"].timestamp is not None
    assert cam["mean"].timestamp[0] == n - 1


def test_every_layout_reads_the_same_live_and_finished(scans: ScanFolder):
    with scans.writer(scan_number=1, settings=SMALL, master=None) as writer:
        write_all_kinds(writer, 0, 200)
        writer.flush()
        scan = scans.open()
        check_all_kinds(scan, 200)
        write_all_kinds(writer, 200, 333)
        check_all_kinds(scans.open(), 200)
        writer.flush()
        assert scan.refresh()
        check_all_kinds(scan, 333)
        assert (scan.status, scan.verdict, scan.finished) == ("open", None, False)
    assert scan.refresh()
    check_all_kinds(scan, 333)
    assert (scan.status, scan.verdict, scan.finished) == ("closed", Verdict.COMPLETE, True)


def test_what_was_opened_live_can_be_read_when_the_scan_is_finished(scans: ScanFolder):
    """Old generations, partial chunks and the files beside the store are gone by then."""
    with scans.writer(settings=SMALL, master=None) as writer:
        write_all_kinds(writer, 0, 299)
        writer.flush()
        scan = scans.open()
        opened = [signal.value for device in scan.devices.values() for signal in device.values()]
        assert len(opened) == 10
        write_all_kinds(writer, 299, 333)
    np.testing.assert_array_equal(scan.devices["mcs"]["count"].value, np.arange(299))
    assert [row[0] for row in scan.devices["scope"]["trace"].rows] == list(range(10))
    assert scan.devices["cam"]["mean"].value[...] in (298, 332)


def test_a_shard_that_is_replaced_between_its_index_and_its_chunk_is_read_anew(
    scans: ScanFolder, monkeypatch
):
    """What was read of the index points to where nothing is any more: never fill values."""
    writer, replaced = scans.writer(settings=SMALL, master=None), []
    for i in range(7):
        writer.add("mcs", "count", i + 1)
        writer.flush()
    get = NoHoles.get

    def replace() -> None:
        writer.finish()
        writer.close()

    async def get_then_replace(self, key, prototype, byte_range=None):
        found = await get(self, key, prototype, byte_range)
        if not replaced:
            replaced.append(key)
            await asyncio.to_thread(replace)
        return found

    value = scans.open().devices["mcs"]["count"].value
    monkeypatch.setattr(NoHoles, "get", get_then_replace)
    np.testing.assert_array_equal(value, np.arange(1, 8))
    assert replaced == ["entry/collection/devices/mcs/count/value/c/0"]


def test_sync_data_baseline_and_metadata_are_there_live_and_finished(scans: ScanFolder):
    with scans.writer(scan_number=5, master=None) as writer:
        writer.status("open", sample="copper")
        writer.baseline({"samy": {"samy": {"value": 3.5, "timestamp": 1.0}}})
        for i in (1, 0, 2):
            writer.point(i, {"samx": {"samx": {"value": i / 2, "timestamp": float(i)}}})
        writer.flush()
        scan = scans.open()
        np.testing.assert_array_equal(scan.sync["samx"]["samx"].value, [0, 0.5, 1])
        assert scan.baseline["samy"]["samy"]["value"] == 3.5
        assert scan.metadata["sample"] == "copper"
    scan = scans.open()
    np.testing.assert_array_equal(scan.sync["samx"]["samx"].value, [0, 0.5, 1])
    assert scan.baseline["samy"]["samy"]["value"] == 3.5
    assert scan.metadata["sample"] == "copper"


def test_rows_of_different_lengths_at_scan_points_are_rows(scans: ScanFolder):
    with scans.writer(master=None) as writer:
        for i in range(3):
            writer.point(i, {"mca": {"mca": {"value": [i] * i, "timestamp": 1.0}}})
    rows = scans.open().devices["mca"]["mca"].rows
    assert [row.tolist() for row in rows] == [[], [1], [2, 2]]


def test_summary_is_json_with_the_counts_of_every_signal(scans: ScanFolder):
    with scans.writer(scan_number=5, settings=SMALL, master=None) as writer:
        write_all_kinds(writer, 0, 20)
        writer.add("mcs", "count", "not a number")
        writer.expect("mcs", "count", 25)
        writer.point(0, {"samx": {"samx": {"value": 1.5, "timestamp": 1.0}}})
    summary = json.loads(json.dumps(scans.open().summary()))
    assert summary["scan_number"] == 5
    assert summary["verdict"] == "COMPLETE_WITH_GAPS"
    count = summary["devices"]["mcs"]["count"]
    assert (count["shape"], count["dtype"], count["rows"]) == ([20], "int64", 20)
    assert (count["expected"], count["received"], count["written"]) == (25, 21, 20)
    assert (count["missing"], count["quarantined"]) == (4, 1)
    assert summary["devices"]["mcs"]["short"]["short"] == 14
    assert summary["devices"]["mcs"]["text"]["dtype"] == "string"
    assert summary["devices"]["samx"]["samx"]["shape"] == [1]


def test_a_signal_of_which_nothing_was_written_has_a_ledger_but_no_value(scans: ScanFolder):
    with scans.writer(master=None) as writer:
        writer.expect("mcs", "count", 3)
        writer.flush()
        scan = scans.open()
        assert scan.summary()["devices"]["mcs"]["count"]["missing"] == 3
        assert "no data" in repr(scan.devices["mcs"]["count"])
        assert list(scan.devices["mcs"].to_xarray()) == []
        with pytest.raises(StoreError, match="nothing was written"):
            scan.devices["mcs"]["count"].value  # noqa: B018


def test_follow_yields_each_commit_until_the_scan_is_finished(scans: ScanFolder):
    writer = scans.writer(settings=SMALL)
    writer.add("mcs", "count", 0)
    writer.flush()
    seen = []
    for scan in scans.open().follow(interval=0.001):
        seen.append(len(scan.devices["mcs"]["count"].rows))
        if len(seen) < 5:
            writer.add("mcs", "count", 1)
            writer.flush()
        elif not scan.finished:
            writer.finish()
            writer.close()
    assert seen[:5] == [1, 2, 3, 4, 5]
    assert scan.finished


def test_follow_ends_when_the_writer_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("zwriter.reader.scan._QUIET", 0.01)
    writer = ScanWriter(tmp_path / "S1.zarr")
    writer.add("d", "s", 1)
    writer.commit()
    scan = open_scan(writer.path)
    looks = scan.follow(interval=0.001)
    assert next(looks).abandoned is None
    writer.close()
    assert list(looks) == []
    assert scan.abandoned is not None


def test_an_unfinished_scan_that_was_copied_without_what_lay_beside_it_is_nobodys(tmp_path: Path):
    writer = ScanWriter(tmp_path / "S1.zarr")
    writer.add("d", "s", 1)
    writer.commit()
    copy = shutil.copytree(writer.path, tmp_path / "copy" / "S1.zarr")
    told = open_scan(copy).abandoned
    writer.close()
    assert told == "it is a copy, made before the scan was finished: S1.zwriter is not beside it"


def test_the_folder_one_is_in_is_a_scan_if_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with ScanWriter(tmp_path / "S1.zarr", master=None) as scan:
        scan.add("d", "s", 1)
    monkeypatch.chdir(tmp_path / "S1.zarr")
    assert open_scan(".").scan_id == open_scan(tmp_path / "S1.zarr").scan_id
    monkeypatch.chdir(tmp_path / "S1.zarr" / "entry")
    assert open_scan("..").scan_id == open_scan(tmp_path / "S1.zarr").scan_id
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="is no scan store"):
        open_scan(".")
    with pytest.raises(StoreError, match="a part of a scan store"):
        open_scan(tmp_path / "S1.zarr/entry/collection/devices/d")


def test_follow_gives_up_when_nothing_comes(scans: ScanFolder):
    with scans.writer(master=None) as writer:
        writer.flush()
        looks = list(scans.open().follow(interval=0.001, timeout=0.01))
    assert len(looks) == 1


def test_what_is_in_quarantine_can_be_read_live_and_finished(scans: ScanFolder):
    source = Source(b"raw", Position("stream", "1-0"))
    with scans.writer(master=None) as writer:
        writer.flush()
        assert list(scans.open().quarantine) == []
        writer.apply([Rejected("mcs", "counts", "no value", source, time=5.0)])
        writer.flush()
        live = list(scans.open().quarantine)
    assert live == [Quarantined(5.0, "mcs", "counts", "stream", "1-0", "no value", b"raw")]
    finished = scans.open()
    assert list(finished.quarantine) == live
    assert finished.gaps() == [
        "mcs/counts: 1 quarantined",
        "quarantined, 1 x mcs/counts: no value",
    ]


def test_listing_finds_the_stores_below_a_folder(tmp_path: Path, where):
    for number in (2, 1):
        folder = tmp_path / f"S{number:05d}"
        with ScanWriter(folder / "S.zarr", scan_number=number, master=None) as writer:
            for i in range(number):
                writer.add("mcs", "count", i)
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "zarr.json").write_text('{"attributes": {}}')
    lines = listing(where(tmp_path))
    assert [line.get("scan_number") for line in lines] == [1, 2, None]
    assert [line.get("rows") for line in lines] == [1, 2, None]
    assert "not a scan store" in lines[2]["error"]


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd", "zlib"])
def test_every_codec_can_be_read(scans: ScanFolder, codec: str):
    settings = StoreSettings(default=SignalSettings(codec=codec))
    with scans.writer(settings=settings, master=None) as writer:
        write_all_kinds(writer, 0, 50)
    check_all_kinds(scans.open(), 50)
