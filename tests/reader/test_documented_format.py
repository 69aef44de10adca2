"""The reader on a store that was made by hand from docs/format.md."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
import zarr

from zwriter.errors import StoreError, UsageError
from zwriter.reader import open_scan

FRAMES = np.arange(12 * 4 * 3, dtype=np.uint16).reshape(12, 4, 3)


def commit_of(rows: np.ndarray, count: int | None = None, generation: int = 0) -> dict[str, Any]:
    shape = list(rows.shape) if count is None else [count, *rows.shape[1:]]
    return {"shape": shape, "dtype": rows.dtype.str, "generation": generation, "open": []}


def signal(layout: str, rows: int, **arrays: dict[str, Any]) -> dict[str, Any]:
    return {"layout": layout, "rows": rows, "arrays": arrays}


def point(point_id: int, value: Any) -> bytes:
    """A journal record of one scan point, its message in BEC's encoding."""
    readings = {"samx": {"samx": {"value": value, "timestamp": float(point_id)}}}
    data = {"metadata": {}, "point_id": point_id, "scan_id": "abc", "data": readings}
    message = {"encoder_name": "BECMessage", "type_name": "ScanMessage", "data": data}
    raw = msgpack.packb({"__bec_codec__": message})
    packed: bytes = msgpack.packb([1.7e9, "segment", str(point_id), raw])
    return packed


def test_a_store_without_devices_is_a_scan(handmade, where):
    scan = open_scan(where(handmade.path))
    assert (scan.scan_id, scan.scan_number, scan.status) == ("abc", 7, "open")
    assert scan.verdict is None
    assert not scan.finished
    assert dict(scan.devices) == {}


def test_a_folder_that_is_no_store_is_refused(tmp_path, where):
    (tmp_path / "S1.zarr").mkdir()
    (tmp_path / "S1.zarr" / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="is no scan store"):
        open_scan(where(tmp_path))
    with pytest.raises(StoreError, match="not a scan store"):
        open_scan(where(tmp_path / "S1.zarr"))
    with pytest.raises(UsageError, match="no such scan store"):
        open_scan(where(tmp_path / "nowhere.zarr"))


def test_a_store_of_a_later_format_is_refused(handmade, where):
    handmade.root(format=2)
    with pytest.raises(StoreError, match="format 2"):
        open_scan(where(handmade.path))


def test_rows_beyond_the_commit_are_not_shown(handmade, where):
    handmade.growing("eiger/image/value", FRAMES, 2, ["image_row", "image_1", "image_2"])
    handmade.growing("eiger/image/timestamp", np.arange(12.0), 4, ["image_row"])
    arrays = {"value": commit_of(FRAMES, 9), "timestamp": commit_of(np.arange(12.0), 9)}
    handmade.commit("eiger", 1, image=signal("rows", 9, **arrays))

    image = open_scan(where(handmade.path)).devices["eiger"]["image"]

    assert image.value.shape == (9, 4, 3)
    assert len(image.timestamp) == len(image.rows) == 9
    np.testing.assert_array_equal(image.value, FRAMES[:9])
    np.testing.assert_array_equal(image.value[-1], FRAMES[8])
    with pytest.raises(IndexError):
        image.value[9]


def test_a_commit_of_more_rows_than_there_are_is_an_error(handmade, where):
    handmade.growing("eiger/image/value", FRAMES, 2, ["image_row", "image_1", "image_2"])
    handmade.commit("eiger", 1, image=signal("rows", 13, value=commit_of(FRAMES, 13)))
    image = open_scan(where(handmade.path)).devices["eiger"]["image"]
    with pytest.raises(StoreError, match="committed"):
        image.value  # noqa: B018


def test_refresh_shows_the_next_commit_and_leaves_what_was_taken_before(handmade, where):
    handmade.growing("eiger/image/value", FRAMES, 2, ["image_row", "image_1", "image_2"])
    handmade.commit("eiger", 1, image=signal("rows", 5, value=commit_of(FRAMES, 5)))
    scan = open_scan(where(handmade.path))
    before = scan.devices["eiger"]["image"]

    assert not scan.refresh()
    handmade.commit("eiger", 2, image=signal("rows", 12, value=commit_of(FRAMES, 12)))
    where(handmade.path)
    assert scan.refresh()

    assert len(scan.devices["eiger"]["image"].rows) == 12
    assert len(before.rows) == 5


def test_a_shard_that_is_not_there_is_an_error_and_not_zeros(handmade, where):
    handmade.growing("eiger/image/value", FRAMES, 2, ["image_row", "image_1", "image_2"])
    handmade.commit("eiger", 1, image=signal("rows", 12, value=commit_of(FRAMES)))
    (handmade.path / "entry/collection/devices/eiger/image/value/c/1/0/0").unlink()

    value = open_scan(where(handmade.path)).devices["eiger"]["image"].value

    np.testing.assert_array_equal(value[:10], FRAMES[:10])
    with pytest.raises(StoreError, match="missing"):
        value[11]


def test_ragged_rows_are_rows(handmade, where):
    flat, offsets = np.arange(10.0), np.array([0, 3, 3, 4, 10])
    handmade.growing("mcs/wave/value", flat, 4, ["wave_value"])
    handmade.growing("mcs/wave/offsets", offsets, 2, ["wave_offset"])
    arrays = {"value": commit_of(flat, 4), "offsets": commit_of(offsets, 4)}
    handmade.commit("mcs", 1, wave=signal("ragged", 3, **arrays))

    rows = open_scan(where(handmade.path)).devices["mcs"]["wave"].rows

    assert [row.tolist() for row in rows] == [[0, 1, 2], [], [3]]


def test_pieces_of_a_row_are_joined_in_the_order_they_came(handmade, where):
    flat, offsets = np.arange(7), np.array([0, 2, 3, 3, 7])
    row = np.array([1, 0, 1, 1])
    handmade.growing("mcs/wave/value", flat, 4, ["wave_value"])
    handmade.growing("mcs/wave/offsets", offsets, 2, ["wave_offset"])
    handmade.growing("mcs/wave/row", row, 2, ["wave_update"])
    arrays = {"value": commit_of(flat), "offsets": commit_of(offsets), "row": commit_of(row)}
    handmade.commit("mcs", 1, wave=signal("pieces", 2, **arrays))

    rows = open_scan(where(handmade.path)).devices["mcs"]["wave"].rows

    assert [row.tolist() for row in rows] == [[2], [0, 1, 3, 4, 5, 6]]


@pytest.mark.parametrize("generation", range(4))
def test_a_replaced_value_is_read_in_any_generation(handmade, generation, where):
    value = np.arange(generation, 5)
    handmade.whole("cam/roi/value", value, generation)
    handmade.commit("cam", 1, roi=signal("replace", 1, value=commit_of(value, None, generation)))
    roi = open_scan(where(handmade.path)).devices["cam"]["roi"]
    np.testing.assert_array_equal(roi.value, value)


def test_a_value_that_was_replaced_but_not_committed_is_not_shown(handmade, where):
    """As a writer leaves it that dies between zarr.json and commit: other shape, other dtype."""
    handmade.whole("cam/roi/value", np.arange(5), 0)
    handmade.commit("cam", 1, roi=signal("replace", 1, value=commit_of(np.arange(5))))
    handmade.whole("cam/roi/value", np.ones((2, 2)), 1)

    roi = open_scan(where(handmade.path)).devices["cam"]["roi"]

    np.testing.assert_array_equal(roi.value, np.arange(5))


def test_sync_data_come_from_the_journal_as_it_grows(handmade, where):
    handmade.journal(point(1, 0.5), point(0, 0.25))
    scan = open_scan(where(handmade.path))
    samx = scan.sync["samx"]["samx"]
    np.testing.assert_array_equal(samx.value, [0.25, 0.5])
    np.testing.assert_array_equal(samx.point_id, [0, 1])
    np.testing.assert_array_equal(samx.timestamp, [0.0, 1.0])

    handmade.journal(point(2, 0.75))
    where(handmade.path)

    assert scan.refresh()
    assert scan.sync["samx"]["samx"].rows[-1] == 0.75
    assert scan.record.entries == 3


def test_a_torn_record_at_the_end_of_the_journal_does_not_exist(handmade, where):
    handmade.journal(point(0, 0.25), point(1, 0.5))
    journal = handmade.beside / "journal"
    journal.write_bytes(journal.read_bytes()[:-3])
    np.testing.assert_array_equal(
        open_scan(where(handmade.path)).sync["samx"]["samx"].value, [0.25]
    )


def test_a_signal_that_is_also_read_at_scan_points_is_there_twice(handmade, where):
    counts = np.arange(8)
    handmade.growing("samx/samx/value", counts, 4, ["samx_row"])
    handmade.commit("samx", 1, samx=signal("rows", 8, value=commit_of(counts)))
    handmade.journal(point(0, 0.25))
    samx = open_scan(where(handmade.path)).devices["samx"]
    assert {name: signal.layout for name, signal in samx.items()} == {
        "samx": "rows",
        "samx_sync": "points",
    }


def test_the_reader_and_zarr_python_see_the_same_bytes(handmade, where):
    handmade.growing("eiger/image/value", FRAMES, 2, ["image_row", "image_1", "image_2"])
    handmade.commit("eiger", 1, image=signal("rows", 12, value=commit_of(FRAMES)))
    plain = zarr.open_array(handmade.path / "entry/collection/devices/eiger/image/value", mode="r")
    ours = open_scan(where(handmade.path)).devices["eiger"]["image"].value
    np.testing.assert_array_equal(plain[...], ours)
