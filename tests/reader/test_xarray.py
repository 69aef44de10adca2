"""A device as an xarray Dataset."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray

from zwriter.reader import LazyArray
from zwriter.scan import ScanWriter
from zwriter.testing.scans import ScanFolder


@pytest.fixture(params=["live", "finished"])
def device(request, scans: ScanFolder):
    """A device of every layout, and what it is read from."""
    with scans.writer(master=None) as writer:
        for i in range(10):
            writer.add("det", "image", np.full((4, 3), i, np.uint16), 1.7e9 + i)
            writer.add("det", "count", i)
            writer.add("det", "short", np.arange(i % 2 + 1.0), max_shape=(None, 2))
            writer.add("det", "ragged", np.arange(i), 1.7e9, max_shape=(None, None))
            writer.add_slice("det", "pieces", i % 2, [i], 1.7e9)
            writer.replace("det", "roi", np.arange(i), 1.7e9)
            writer.add("det", "text", str(i))
        for i in range(4):
            readings = {"x": {"value": i / 2, "timestamp": 1.7e9}}
            readings["mca"] = {"value": [i] * i, "timestamp": 1.7e9}
            if i != 2:
                readings["count"] = {"value": i, "timestamp": 1.7e9}
            writer.point(i, {"det": readings})
        writer.flush()
        if request.param == "live":
            yield scans.open().devices["det"]
    if request.param == "finished":
        yield scans.open().devices["det"]


def test_values_are_variables_and_timestamps_of_rows_are_coordinates(device):
    ds = device.to_xarray()
    assert ds.image.dims == ("image_row", "image_1", "image_2")
    np.testing.assert_array_equal(ds.image[3, 1:, 2], [3, 3, 3])
    assert "image_timestamp" in ds.image.coords
    np.testing.assert_array_equal(ds.short_length, [1, 2] * 5)
    assert ds.text[3].item() == "3"


def test_nothing_is_read_before_it_is_used(device, monkeypatch):
    reads = []
    read = LazyArray.__getitem__
    ds = device.to_xarray()
    monkeypatch.setattr(LazyArray, "__getitem__", lambda a, k: (reads.append(a), read(a, k))[1])
    part = ds.image.isel(image_row=slice(2, 4))
    assert reads == []
    assert part.values.shape == (2, 4, 3)
    assert len(reads) == 1


def test_indexing_is_that_of_xarray(device):
    image = device.to_xarray().image
    loaded = image.load().copy()
    for index in (
        {"image_row": [3, 1]},
        {"image_row": slice(None, None, -2)},
        {"image_row": -1, "image_2": [0, 2]},
        {
            "image_row": xarray.DataArray([0, 1], dims="p"),
            "image_1": xarray.DataArray([2, 3], dims="p"),
        },
    ):
        xarray.testing.assert_equal(device.to_xarray().image.isel(index), loaded.isel(index))


def test_rows_of_different_lengths_are_flat_with_offsets(device):
    ds = device.to_xarray()
    rows = np.split(ds.ragged.values, ds.ragged_offsets.values[1:-1])
    assert [row.tolist() for row in rows] == [list(range(i)) for i in range(10)]
    np.testing.assert_array_equal(ds.pieces_row, [0, 1] * 5)


def test_scan_points_are_an_index_that_signals_share(device):
    ds = device.to_xarray()
    assert ds.x.sel(point_id=2) == 1.0
    assert np.isnan(ds.count_sync.sel(point_id=2))
    assert ds.count_sync.sel(point_id=3) == 3


def test_rows_of_different_lengths_at_scan_points_are_flat_too(device):
    ds = device.to_xarray()
    assert ds.mca_point_id.dims == ds.mca_timestamp.dims == ("mca_point",)
    rows = np.split(ds.mca.values, ds.mca_offsets.values[1:-1])
    assert [row.tolist() for row in rows] == [[], [1], [2, 2], [3, 3, 3]]


def test_timestamps_decode_to_dates(device):
    ds = xarray.decode_cf(device.to_xarray())
    assert ds.image_timestamp.values[0] == np.datetime64("2023-11-14T22:13:20")


def device_of(scans: ScanFolder, write: Callable[[ScanWriter], None]) -> xarray.Dataset:
    with scans.writer(master=None) as writer:
        write(writer)
    return scans.open().devices["mca"].to_xarray()


def test_a_signal_may_be_called_as_the_dimension_of_another(scans: ScanFolder):
    def write(writer: ScanWriter) -> None:
        for i in range(3):
            writer.add("mca", "mca", np.arange(i), 1.7e9, max_shape=(None, None))
            writer.add("mca", "roi", np.arange(2), 1.7e9)
            readings = {"mca_value": i, "roi_row": i, "point_id": i, "point_id_": 7}
            writer.point(i, {"mca": {k: {"value": v} for k, v in readings.items()}})

    ds = device_of(scans, write)
    assert ds.mca.values.tolist() == [0, 0, 1]
    assert ds.mca_value.values.tolist() == ds.roi_row.values.tolist() == [0, 1, 2]
    assert ds.roi_timestamp.dims == ds.roi.dims[:1]
    assert "roi_timestamp" in ds.coords
    assert ds["point_id_"].values.tolist() == [7, 7, 7]
    assert ds["point_id__"].values.tolist() == [0, 1, 2]


def test_what_nan_would_change_has_points_of_its_own(scans: ScanFolder):
    record = np.array((1, 2.5), [("n", "<i2"), ("x", "<f4")])

    def write(writer: ScanWriter) -> None:
        for i in range(4):
            readings = {"x": 1, "hit": record, "pulse": 2**60 + i}
            kept = list(readings)[: 1 if i == 2 else 3]
            writer.point(i, {"mca": {k: {"value": readings[k]} for k in kept}})

    ds = device_of(scans, write)
    assert ds.x.sel(point_id=2) == 1
    assert ds.hit.values.tolist() == [record.item()] * 3
    assert ds.pulse.values.tolist() == [2**60 + i for i in (0, 1, 3)]
    assert ds.pulse_point_id.values.tolist() == [0, 1, 3]
