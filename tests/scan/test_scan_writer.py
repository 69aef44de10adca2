"""ScanWriter: what a program that acquires in Python gets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from zwriter import ScanWriter, open_scan, verify
from zwriter.errors import Fenced, UsageError
from zwriter.master import write_master
from zwriter.model import Add, Rejected, Source, Update, Verdict
from zwriter.objects import ObjectPath, contents
from zwriter.service.finalize import finalize
from zwriter.settings import Settings, SignalRule, SignalSettings, StoreSettings
from zwriter.testing.failpoints import at_pass, enospc, failing
from zwriter.testing.scans import ScanFolder, remove

DEVICES = "entry/collection/devices"


def test_a_with_block_leaves_a_finished_store(scans: ScanFolder) -> None:
    frames = np.arange(5 * 4 * 3, dtype="<u2").reshape(5, 4, 3)
    with scans.writer(scan_number=1) as scan:
        for frame in frames:
            scan.add("eiger", "image", frame, timestamp=1.0)
        scan.point(0, {"samx": {"samx": {"value": 0.5, "timestamp": 1.0}}})
    np.testing.assert_array_equal(scans.array("eiger/image/value")[...], frames)
    assert scans.array("samx/samx/value")[...].tolist() == [0.5]
    assert "S1.zwriter" not in scans.names()
    assert scan.verdict is Verdict.COMPLETE
    assert scans.open().verdict is Verdict.COMPLETE


def test_a_with_block_leaves_a_master_file(tmp_path: Path) -> None:
    with ScanWriter(tmp_path / "S1.zarr", scan_number=1) as scan:
        for number in range(3):
            scan.add("cnt", "cnt", number)
        scan.point(0, {"samx": {"samx": {"value": 0.5, "timestamp": 1.0}}})
    with h5py.File(tmp_path / "S1_master.h5") as file:
        assert file[f"{DEVICES}/cnt/cnt/value"][...].tolist() == [0, 1, 2]
        assert file[f"{DEVICES}/samx/samx/value"][...].tolist() == [0.5]


def test_a_mode_that_no_master_file_there_has_is_refused_before_anything_is_written(
    scans: ScanFolder,
) -> None:
    mode = "reference" if isinstance(scans.path, ObjectPath) else "link"
    with pytest.raises(UsageError, match=f"have mode .*, not {mode}"):
        scans.writer(master=mode)
    assert scans.names() == []


def test_an_exception_ends_the_scan_as_aborted_with_what_there_is(scans: ScanFolder) -> None:
    def acquire() -> None:
        with scans.writer() as scan:
            scan.add("cnt", "cnt", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        acquire()
    assert scans.array("cnt/cnt/value")[...].tolist() == [1]
    assert scans.open().verdict is Verdict.ABORTED


def test_committed_rows_are_visible_to_plain_zarr_while_the_scan_runs(scans: ScanFolder) -> None:
    scan = scans.writer()
    for number in range(10):
        scan.add("cnt", "cnt", number)
        scan.flush()
        array = scans.array("cnt/cnt/value")
        assert array[...].tolist() == list(range(number + 1))
    scan.close()


def test_value_and_timestamp_share_a_dimension_when_they_correspond(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("a", "a", 1.0, 1.0)
        scan.add("b", "b", [1.0, 2.0], 1.0, max_shape=(None,))
    dims = {
        (name, array): scans.array(f"{name}/{name}/{array}").metadata.dimension_names
        for name in "ab"
        for array in ("value", "timestamp")
    }
    assert dims["a", "value"] == dims["a", "timestamp"]
    assert dims["b", "value"] != dims["b", "timestamp"]


def test_a_signal_has_the_codec_that_the_settings_give_it(scans: ScanFolder) -> None:
    rules = (
        SignalRule(match="raw/*", codec="none"),
        SignalRule(match="*/zstd", codec="zstd", chunk_bytes=80),
    )
    with scans.writer(settings=StoreSettings(signals=rules), master=None) as scan:
        for device, signal in (("raw", "a"), ("b", "zstd"), ("c", "c")):
            for number in range(20):
                scan.add(device, signal, number)
    codecs = {}
    for device, signal in (("raw", "a"), ("b", "zstd"), ("c", "c")):
        path = scans / "S1.zarr" / f"{DEVICES}/{device}/{signal}/value/zarr.json"
        inner = json.loads(path.read_bytes())["codecs"][0]["configuration"]
        codecs[device] = [
            c.get("configuration", {}).get("cname", c["name"]) for c in inner["codecs"]
        ]
        if device == "b":
            assert inner["chunk_shape"] == [10]
    assert codecs["raw"] == ["bytes", "crc32c"]
    assert codecs["b"] == ["bytes", "zstd", "crc32c"]
    assert codecs["c"] == ["bytes", "lz4", "crc32c"]


def test_what_does_not_fit_goes_to_quarantine_raw_and_the_rest_goes_on(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("eiger", "image", np.zeros((4, 3)))
        scan.add("eiger", "image", np.ones((2, 2)), max_shape=(None, 4, 3))
        scan.add("eiger", "image", "text", max_shape=(None, 4, 3))
        scan.add("eiger", "image", np.ones((4, 3)))
        scan.add("../evil", "image", 1)
        scan.apply([Rejected("eiger", "image", "cannot be decoded", Source(b"\x00raw"))])
    array = scans.array("eiger/image/value")
    assert array.shape == (2, 4, 3)
    assert scan.ledgers["eiger"]["image"].quarantined == 3
    assert scan.verdict is Verdict.COMPLETE_WITH_GAPS
    path = scans / "S1.zarr" / "entry/zwriter/quarantine/value"
    kept = bytes(zarr.open_array(str(path))[...])
    assert b"cannot be decoded" in kept
    assert b"\x00raw" in kept
    assert np.ones((2, 2)).tobytes() in kept
    assert scans.names() == ["S1.zarr"]


def test_a_change_of_shape_or_mode_in_mid_scan_is_refused(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("mca", "s", np.zeros(4))
        scan.add("mca", "s", np.zeros(5), max_shape=(None, 5))
        scan.replace("mca", "s", 1)
        scan.add("mca", "s", np.zeros(4))
    assert scans.array("mca/s/value").shape == (2, 4)
    assert scan.ledgers["mca"]["s"].quarantined == 2


def test_the_first_update_that_can_be_written_decides_what_a_signal_is(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("mca", "s", "nonsense", max_shape=(None, 4))
        scan.add("mca", "s", np.zeros(5))
    assert scans.array("mca/s/value").shape == (1, 5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 1.5, 2.75], [1, 1.5, 2.75]),
        ([np.uint8(255), np.int32(-1), np.int32(300)], [255, -1, 300]),
        ([np.uint8(1), np.uint16(2), np.float32(0.5), np.float64(0.1)], [1, 2, 0.5, 0.1]),
        ([True, 2], [1, 2]),
        (["a", "longer"], ["a", "longer"]),
    ],
)
def test_dtypes_that_differ_are_promoted_without_loss(
    scans: ScanFolder, values: list[Any], expected: list[Any]
) -> None:
    with scans.writer(master=None) as scan:
        for value in values:
            scan.add("d", "s", value)
            scan.flush()
    assert scans.array("d/s/value")[...].tolist() == expected
    assert scan.verdict is Verdict.COMPLETE


def test_what_cannot_be_promoted_without_loss_is_quarantined(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("d", "s", 2**60 + 1)
        scan.add("d", "s", 0.5)
        scan.add("d", "s", "text")
        scan.add("d", "s", 7)
    assert scans.array("d/s/value")[...].tolist() == [2**60 + 1, 7]
    assert scan.ledgers["d"]["s"].quarantined == 2


def test_slices_of_no_values_change_nothing_where_a_row_is_full(scans: ScanFolder) -> None:
    settings = StoreSettings(default=SignalSettings(codec="none", chunk_bytes=64, shard_bytes=128))
    with scans.writer(settings=settings) as scan:
        for row, values in (0, np.arange(8.0)), (1, np.arange(4.0)):
            scan.add_slice("mcs", "map", row, values, max_shape=(None, 8))
        for _ in range(4):
            scan.add_slice("mcs", "map", 0, [], max_shape=(None, 8))
            scan.commit()
        scan.flush()
        rows = scans.open().devices["mcs"]["map"].rows
        assert [row.tolist() for row in rows] == [list(range(8)), list(range(4))]
    assert verify(scans.path).problems == []


def test_chunks_that_leave_memory_full_are_in_shards_that_are_sealed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.store.placed.CACHE_BYTES", 128)
    settings = StoreSettings(default=SignalSettings(codec="none", chunk_bytes=64, shard_bytes=128))
    with ScanWriter(tmp_path / "S1.zarr", settings=settings, master=None) as scan:
        for row in range(9):
            scan.add_slice("mcs", "map", row, np.arange(8.0) + row, max_shape=(None, 8))
        scan.commit()
        arrays = open_scan(scan.path).commits["mcs"].signals["map"].arrays
        assert set(arrays["value"].sealed) == {0, 1, 2, 3}
    rows = open_scan(scan.path).devices["mcs"]["map"].rows
    assert [row[0] for row in rows] == list(range(9))
    assert verify(scan.path).problems == []


def test_replace_keeps_the_last_value_whatever_its_shape_and_type(scans: ScanFolder) -> None:
    scan = scans.writer(master=None)
    for value in (1, [1.5, 2.5], np.zeros((2, 3), "<u2"), "text", np.arange(4)):
        scan.replace("d", "s", value, 2.0)
        scan.flush()
        np.testing.assert_array_equal(scans.array("d/s/value")[...], np.asarray(value))
    scan.finish()
    scan.close()
    np.testing.assert_array_equal(scans.array("d/s/value")[...], np.arange(4))


def test_a_replaced_value_may_change_dimensions_and_lose_its_timestamp(
    scans: ScanFolder,
) -> None:
    with scans.writer(master=None) as scan:
        for value, stamp in (([1, 2], 5.0), (3, 6.0), ([[1]], 7.0), ([4], None)):
            scan.replace("d", "s", value, stamp)
            scan.flush()
            got = scans.array("d/s/value")[...]
            np.testing.assert_array_equal(got, np.asarray(value))
    assert np.isnan(scans.array("d/s/timestamp")[...]).all()


def test_ragged_rows_with_timestamps_a_sample_open_in_plain_xarray(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        for n in range(4):
            scan.add("d", "s", np.arange(n), list(map(float, range(n))), max_shape=(None, None))
    data = scans.dataset("d/s")
    assert data["timestamp"].values.tolist() == [0, 0, 1, 0, 1, 2]


def test_a_second_writer_fences_the_first(scans: ScanFolder) -> None:
    first = scans.writer(scan_id="one")
    first.add("d", "s", 1)
    first.commit()
    second = scans.writer(scan_id="one")
    first.add("d", "s", 2)
    with pytest.raises(Fenced):
        first.commit()
    second.add("d", "s", 3)
    second.finish()
    second.close()
    with pytest.raises(Fenced):
        first.close()
    assert scans.array("d/s/value")[...].tolist() == [1, 3]


def test_what_was_added_before_close_is_there_when_the_scan_goes_on(scans: ScanFolder) -> None:
    scan = scans.writer(scan_id="one")
    scan.add("d", "s", 1)
    scan.replace("d", "last", 1)
    scan.close()
    with scans.writer(scan_id="one", master=None) as scan:
        scan.add("d", "s", 2)
    assert scans.array("d/s/value")[...].tolist() == [1, 2]
    assert scans.array("d/last/value")[...] == 1


@pytest.mark.parametrize("how", ["finished", "closed"])
def test_nothing_can_be_added_to_a_scan_that_is_over(scans: ScanFolder, how: str) -> None:
    scan = scans.writer(master=None)
    scan.add("d", "s", 1)
    if how == "finished":
        scan.finish()
    else:
        scan.close()
    reading = {"samx": {"samx": {"value": 1}}}
    for attempt in (
        lambda: scan.add("d", "s", 2),
        lambda: scan.add("d", "s", np.zeros(3)),
        lambda: scan.add_slice("d", "rows", 0, [1]),
        lambda: scan.replace("d", "last", 2),
        lambda: scan.expect("d", "s", 9),
        lambda: scan.apply([Update("d", "s", Add((None,)), 2)]),
        lambda: scan.point(0, reading),
        lambda: scan.baseline(reading),
    ):
        with pytest.raises(UsageError, match=f"the scan is {how}, nothing can be added"):
            attempt()
    scan.close()
    if how == "closed":
        with scans.writer(scan_id=scan.scan_id, master=None):
            pass
    assert scans.array("d/s/value")[...].tolist() == [1]
    assert scans.open().verdict is Verdict.COMPLETE
    assert verify(scans.path).problems == []


@pytest.mark.parametrize(
    "names",
    [{"scan_number": -7}, {"scan_number": "7"}, {"scan_number": 1.5}, {"scan_id": 7}],
    ids=str,
)
def test_what_is_no_name_of_a_scan_is_refused_before_anything_is_written(
    scans: ScanFolder, names: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="give a "):
        scans.writer(**names)
    assert scans.names() == []


def test_numbers_may_be_those_of_numpy(scans: ScanFolder) -> None:
    with scans.writer(scan_number=np.int64(7), master=None) as scan:
        scan.add_slice("d", "rows", np.int64(1), [1.0], max_shape=(None, np.int64(3)))
        scan.add("d", "s", np.zeros(3), max_shape=[None, np.int32(3)])
        scan.add("d", "other", 1)
    assert scans.open().scan_number == 7
    assert scans.open().verdict is Verdict.COMPLETE


def test_a_scan_that_is_continued_keeps_its_number_also_if_that_is_0(scans: ScanFolder) -> None:
    for number in (0, None, 5):
        scans.writer(scan_id="one", scan_number=number, master=None).close()
        assert scans.open().scan_number == 0


def test_what_is_no_index_and_what_is_no_value_harm_only_themselves(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add_slice("d", "rows", 1.5, [1.0])
        scan.add("d", "list", [1, [2]])
        scan.add("d", "s", 1)
        with pytest.raises(UsageError, match="max_shape 2: give a shape"):
            scan.add("d", "s", 1, max_shape=2)
    reasons = [entry.reason for entry in scans.open().quarantine]
    assert reasons == [
        "index 1.5 is no number of a row",
        "a list whose parts have different lengths or types",
    ]
    assert scans.array("d/s/value")[...].tolist() == [1]


def test_ctrl_c_while_the_disk_refuses_leaves_the_scan_as_it_was_committed(tmp_path: Path) -> None:
    class Interrupted:
        def refused(self, error: OSError) -> None:
            raise KeyboardInterrupt

        def accepted(self) -> None: ...

    def write() -> None:
        with ScanWriter(path, scan_id="one", patience=Interrupted()) as scan:
            for number in range(3):
                scan.add("d", "s", number)
                scan.commit()

    path = tmp_path / "S1.zarr"
    with failing("commit.linking", at_pass(enospc, 3)), pytest.raises(KeyboardInterrupt):
        write()
    assert not open_scan(path).finished
    with ScanWriter(path, scan_id="one"):
        pass
    assert open_scan(path).devices["d"]["s"].value[:].tolist() == [0]


@pytest.mark.parametrize("mode", ["foo", False, "Copy"])
def test_a_mode_that_there_is_not_is_refused(scans: ScanFolder, mode: Any) -> None:
    with pytest.raises(UsageError, match="there are reference, link, copy, auto"):
        scans.writer(master=mode)
    assert scans.names() == []


def test_a_tuple_of_arrays_is_kept_as_it_was(scans: ScanFolder) -> None:
    array = np.zeros(2, np.int64)
    with scans.writer(master=None) as scan:
        scan.replace("d", "last", (array, array))
        array[:] = 99
    assert scans.array("d/last/value")[...].tolist() == [[0, 0], [0, 0]]


def test_frames_may_be_smaller_than_max_shape_says_as_long_as_they_are_alike(
    scans: ScanFolder,
) -> None:
    """The largest frame that the detector can have, as BEC sends it; a region of it comes."""
    frame = np.arange(24, dtype="<u2").reshape(4, 6)
    with scans.writer(scan_id="one", master=None) as scan:
        scan.add("cam", "image", np.zeros((0, 4, 6), "<u2"), max_shape=[None, 8, 8])
        scan.add("cam", "image", frame, max_shape=[None, 8, 8])
        scan.commit()
        scan.add("cam", "image", np.stack([frame, frame]), max_shape=[None, 8, 8])
        scan.add("cam", "image", frame[:3], max_shape=[None, 8, 8])
        scan.close()
    with scans.writer(scan_id="one", master=None) as scan:
        scan.add("cam", "image", frame, max_shape=[None, 8, 8])
        scan.add("cam", "image", np.zeros((8, 8), "<u2"), max_shape=[None, 8, 8])
        scan.add("cam", "wide", np.zeros((4, 9)), max_shape=[None, 8, 8])
    np.testing.assert_array_equal(scans.array("cam/image/value")[...], [frame] * 4)
    reasons = {entry.reason for entry in scans.open().quarantine}
    assert reasons == {
        "rows of shape (3, 6) where (4, 6) are expected",
        "rows of shape (8, 8) where (4, 6) are expected",
        "rows of shape (4, 9) where (8, 8) are expected",
    }


def test_a_short_row_may_be_much_shorter_than_the_longest(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("dig", "trace", np.arange(1000.0), max_shape=[None, 100_000])
    trace = scans.array("dig/trace/value")
    assert trace.shape == (1, 100_000)
    np.testing.assert_array_equal(trace[0, :1000], np.arange(1000.0))
    assert scans.array("dig/trace/length")[...].tolist() == [1000]


def test_what_is_missing_among_integers_is_nan_once_they_are_floats(scans: ScanFolder) -> None:
    nan = np.nan

    def update(signal: str, number: int, value: Any, mode: Any) -> Update:
        return Update("d", signal, mode, value, 1.0, number)

    with scans.writer(master=None) as scan:
        for number, value in ((0, 1), (3, 4), (4, 5.5)):
            scan.apply([update("scalars", number, value, Add((None,)))])
            scan.commit()
        for number, row in ((0, [1, 2, 3]), (1, [4]), (3, [0, 6, 7]), (4, [8.5, 9, 9])):
            scan.apply([update("rows", number, row, Add((None, 3)))])
        for index, piece in ((0, [1, 0]), (2, [3]), (0, [4.5])):
            scan.add_slice("d", "slices", index, piece, max_shape=(None, 3))
            scan.commit()
    found = {name: scans.array(f"d/{name}/value")[...] for name in ("scalars", "rows", "slices")}
    np.testing.assert_array_equal(found["scalars"], [1, nan, nan, 4, 5.5])
    rows = [[1, 2, 3], [4, nan, nan], [nan] * 3, [0, 6, 7], [8.5, 9, 9]]
    np.testing.assert_array_equal(found["rows"], rows)
    np.testing.assert_array_equal(found["slices"], [[1, 0, 4.5], [nan] * 3, [3, nan, nan]])


def test_how_many_rows_there_may_be_can_change(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        for most in (2, None, 5):
            scan.add("d", "rows", np.zeros((2, 3)), max_shape=[most, 3])
            scan.commit()
        scan.add_slice("d", "slices", 0, [1.0], max_shape=[1, 3])
        scan.add_slice("d", "slices", 1, [2.0], max_shape=[2, 3])
        scan.add("d", "rows", np.zeros((2, 4)), max_shape=[None, 4])
    assert scans.array("d/rows/value").shape == (5, 3)
    assert scans.array("d/slices/value").shape == (2, 3)
    (cut, changed) = scans.open().quarantine
    assert cut.reason == "only 1 of 2 rows fit into max_shape [5, 3]"
    assert "mode changed from add [5, 3] to add [None, 4]" in changed.reason


def test_another_scan_does_not_get_into_a_store(scans: ScanFolder) -> None:
    scan = scans.writer(scan_id="one")
    scan.add("d", "s", 1)
    scan.flush()
    scan.close()
    with pytest.raises(UsageError, match="another scan"):
        scans.writer(scan_id="two")
    with scans.writer(scan_id="one", master=None) as scan:
        scan.add("d", "s", 2)
    assert scans.open().devices["d"]["s"].value[:].tolist() == [1, 2]


def test_a_new_scan_is_not_put_behind_one_that_was_not_finished(scans: ScanFolder) -> None:
    """A program that died and is started again: it means a new scan, and rows are lost between."""
    first = scans.writer(scan_number=1)
    first.add("d", "s", 1)
    first.flush()
    first.close(keep=True)
    with pytest.raises(UsageError, match=f"has scan {first.scan_id}, which is not finished"):
        scans.writer(scan_number=2)
    assert scans.open().devices["d"]["s"].value[:].tolist() == [1]
    verdict, _ = finalize(scans / "S1.zarr", Settings(spool=scans.spool))  # as the message says
    assert verdict is Verdict.ABORTED
    with pytest.raises(UsageError, match="is finished"):
        scans.writer()


@pytest.mark.parametrize("root", [None, b"{"], ids=["no root document", "a torn one"])
def test_it_is_not_either_if_the_power_failed_while_that_one_was_described(
    tmp_path: Path, root: bytes | None
) -> None:
    path = tmp_path / "S1.zarr"
    first = ScanWriter(path, master=None)
    first.status("open")
    first.add("d", "s", 1)
    first.commit()
    first.close(keep=True)
    (path / "zarr.json").unlink()
    if root is not None:
        (path / "zarr.json").write_bytes(root)
    with pytest.raises(UsageError, match="has a scan, which is not finished"):
        ScanWriter(path, master=None)
    verdict, _ = finalize(path, Settings())
    assert verdict is Verdict.ABORTED
    assert open_scan(path).scan_id == first.scan_id
    assert open_scan(path).devices["d"]["s"].value[:].tolist() == [1]


def test_two_programs_that_begin_at_the_same_moment_do_not_take_it_from_each_other(
    tmp_path: Path,
) -> None:
    begun: list[ScanWriter] = []
    begin = at_pass(lambda: begun.append(ScanWriter(tmp_path / "S1.zarr", master=None)), 1)
    with failing("epoch.claiming", begin), pytest.raises(UsageError, match="choose another path"):
        ScanWriter(tmp_path / "S1.zarr", master=None)
    begun[0].add("d", "s", 1)
    begun[0].finish()
    begun[0].close()


def test_a_program_that_is_started_twice_does_not_take_the_scan_from_itself(
    scans: ScanFolder,
) -> None:
    with scans.writer(master=None) as scan:
        scan.add("d", "s", 1)
        scan.flush()
        with pytest.raises(UsageError, match="which is not finished"):
            scans.writer()
        scan.add("d", "s", 2)
    assert scans.open().devices["d"]["s"].value[:].tolist() == [1, 2]


def test_a_scan_that_an_earlier_version_began_is_gone_on_with(scans: ScanFolder) -> None:
    """Its commits were no documents of groups, but what these carry."""
    first = scans.writer(scan_id="one", master=None)
    first.add("cnt", "cnt", 1)
    first.flush()
    first.close()
    if not isinstance(scans.path, Path):
        shutil.rmtree(scans.spool.folder)
    folder = scans / "S1.zwriter" / "commits" / "cnt"
    for name in contents(folder):
        text = (folder / name).read_bytes()
        remove(folder / name)  # on a disk it is the device's document, too
        commit = json.loads(text)["attributes"]["zwriter"]
        (folder / name).write_bytes(json.dumps(commit).encode())
    with scans.writer(scan_id="one", master=None) as second:
        second.add("cnt", "cnt", 2)
    assert scans.array("cnt/cnt/value")[...].tolist() == [1, 2]
    assert verify(scans / "S1.zarr").problems == []


def test_a_finished_store_is_not_opened_again(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.add("d", "s", 1)
    with pytest.raises(UsageError, match="is finished"):
        scans.writer()
    with pytest.raises(UsageError, match=r"\.zarr"):
        scans.writer("S1")


def numbered(numbers: list[int], values: Any = None, shape: Any = (None,)) -> list[Update]:
    """Updates with producer numbers, whose value is the number unless `values` has another."""
    made = values or (lambda n: n)
    return [
        Update("d", "s", Add(shape), made(n), float(n), n, Source(f"message {n}".encode()))
        for n in numbers
    ]


def test_rows_keep_their_numbers_where_updates_are_missing(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([0, 1, 2, 7, 8], float))
        scan.expect("d", "s", 10)
    ledger = scan.ledgers["d"]["s"]
    assert ledger.missing_ranges == [[3, 6], [9, 9]]
    assert ledger.missing_rows == [[3, 6]]
    assert ledger.missing == 5
    assert scan.verdict is Verdict.COMPLETE_WITH_GAPS
    expected = [0, 1, 2, *[np.nan] * 4, 7, 8]
    for name in ("value", "timestamp"):
        np.testing.assert_array_equal(scans.array(f"d/s/{name}")[...], expected)


def test_room_is_left_for_updates_missing_at_the_beginning(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([3, 4], lambda n: np.full((2, 4), n), (None, 4)))
    value = scans.array("d/s/value")[...]
    assert value[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 3, 3, 4, 4]
    length = scans.array("d/s/length")[...]
    assert length.tolist() == [0, 0, 0, 0, 0, 0, 4, 4, 4, 4]
    assert scan.ledgers["d"]["s"].missing_rows == [[0, 5]]


def test_missing_ragged_rows_are_empty(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([0, 2], lambda n: np.arange(n + 1), (None, None)))
    rows = scans.open().devices["d"]["s"].rows
    assert [row.tolist() for row in rows] == [[0], [], [0, 1, 2]]


def test_updates_of_one_reading_are_put_in_order(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([1, 0, 3, 2]))
    assert scans.array("d/s/value")[...].tolist() == [0, 1, 2, 3]
    assert scan.verdict is Verdict.COMPLETE


def test_an_update_that_comes_too_late_is_quarantined(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([0, 2]))
        scan.apply(numbered([1]))
    assert scans.array("d/s/value")[...].tolist() == [0, 0, 2]
    assert scan.ledgers["d"]["s"].quarantined == 1


def test_an_update_that_was_sent_twice_is_written_once(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([0, 1]))
        scan.apply(numbered([1]))
        scan.apply(numbered([2, 2, 3]))
    assert scans.array("d/s/value")[...].tolist() == [0, 1, 2, 3]
    assert scan.ledgers["d"]["s"].repeated == 2


def test_a_producer_that_was_restarted_goes_on_behind_its_rows(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([0, 1, 2]))
        scan.apply(numbered([0, 1], lambda n: n + 10))
    assert scans.array("d/s/value")[...].tolist() == [0, 1, 2, 10, 11]
    assert scan.ledgers["d"]["s"].restarts == 1


def test_a_number_far_ahead_leaves_no_room_that_would_not_fit(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        scan.apply(numbered([0, 2**60]))
    assert scans.array("d/s/value")[...].tolist() == [0, 2**60]
    assert scan.ledgers["d"]["s"].missing_ranges == [[1, 2**60 - 1]]


def test_data_of_a_scan_can_be_opened_as_one_xarray_tree(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        for number in range(5):
            scan.add("mca", "spectrum", np.arange(3) + number, float(number))
    data = scans.dataset("mca/spectrum")
    assert data["value"].dims == ("spectrum_row", "spectrum_1")
    assert data["timestamp"].values.tolist() == [0, 1, 2, 3, 4]


def test_the_room_has_as_many_timestamps_as_the_updates(scans: ScanFolder) -> None:
    updates = [
        Update("d", "s", Add((None,)), [n, n], [float(n), n + 0.5], n, Source(b"%d" % n))
        for n in (2, 3)
    ]
    with scans.writer(master=None) as scan:
        scan.apply(updates)
    timestamp = scans.array("d/s/timestamp")[...]
    np.testing.assert_array_equal(timestamp, [*[np.nan] * 4, 2, 2.5, 3, 3.5])


def test_a_finished_store_that_was_not_cleaned_up_stays_as_it_is(scans: ScanFolder) -> None:
    scan = scans.writer(master=None)
    scan.add("d", "s", 1)

    def die() -> None:
        raise KeyboardInterrupt

    with failing("finish.finished", die), pytest.raises(KeyboardInterrupt):
        scan.finish()
    with scans.writer(scan_id=scan.scan_id, master=None) as again:
        assert again.finished
    assert scans.names() == ["S1.zarr"]
    assert verify(scans / "S1.zarr").problems == []


def test_a_signal_read_at_points_before_it_pushed_updates_has_both(
    scans: ScanFolder,
) -> None:
    with scans.writer(master=None) as scan:
        scan.point(0, {"mcs": {"counts": {"value": 0.5, "timestamp": 1.0}}})
        scan._store.write_points()
        for number in range(3):
            scan.add("mcs", "counts", number)
    counts = scans / "S1.zarr" / f"{DEVICES}/mcs/counts"
    assert [name for name, is_folder in contents(counts).items() if is_folder] == ["value"]
    assert scans.array("mcs/counts/value")[...].tolist() == [0, 1, 2]
    assert scans.array("mcs/counts_sync/value")[...].tolist() == [0.5]


def test_a_single_record_is_replaced_and_read(scans: ScanFolder, tmp_path: Path) -> None:
    dtype = np.dtype([("x", "<f4"), ("n", "<i2")])
    with scans.writer(master=None) as scan:
        for n in range(3):
            scan.replace("det", "last", np.array((n / 2, n), dtype))
    assert scan.verdict is Verdict.COMPLETE
    value = scans.open().devices["det"]["last"].value
    assert (value.shape, value.dtype) == ((), dtype)
    assert value[()].tolist() == (1.0, 2)
    write_master(scans / "S1.zarr", tmp_path / "S1_master.h5")
    with h5py.File(tmp_path / "S1_master.h5") as file:
        assert file[f"{DEVICES}/det/last/value"][()].tolist() == (1.0, 2)
    assert verify(scans / "S1.zarr").problems == []


def test_a_program_that_closes_nothing_comes_to_its_end(scans: ScanFolder) -> None:
    program = f"""
from zwriter import ScanWriter
from zwriter.settings import SpoolSettings
spool = SpoolSettings(folder={str(scans.spool.folder)!r})
scan = ScanWriter({str(scans / "S1.zarr")!r}, spool=spool, scan_id="one")
scan.add("d", "s", 1)
scan.flush()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with scans.writer(scan_id="one", master=None) as scan:
        scan.add("d", "s", 2)
    assert scans.array("d/s/value")[...].tolist() == [1, 2]


def test_readings_at_points_take_no_name_that_pushed_data_have(scans: ScanFolder) -> None:
    with scans.writer(master=None) as scan:
        for number in range(3):
            scan.add("dev", "a", number)
            scan.add("dev", "a_sync", 10 + number)
        scan.point(0, {"dev": {"a": {"value": 7.0, "timestamp": 1.0}}})
    device = scans.open().devices["dev"]
    found = {name: signal.value[:].tolist() for name, signal in device.items()}
    assert found == {"a": [0, 1, 2], "a_sync": [10, 11, 12], "a_sync_sync": [7.0]}
    assert verify(scans / "S1.zarr").problems == []
