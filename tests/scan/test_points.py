"""What is read at scan points, whatever it is called and however it comes."""

from __future__ import annotations

import io
from typing import Any

import h5py
import pytest
import zarr

from zwriter import verify
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.scans import ScanFolder

DEVICES = "entry/collection/devices"


def reading(value: Any, time: float = 1.0) -> dict[str, Any]:
    return {"value": value, "timestamp": time}


def group(scans: ScanFolder, device: str) -> Any:
    return zarr.open_group(f"{scans / 'S1.zarr'}/{DEVICES}/{device}", mode="r")


def in_file(scans: ScanFolder, name: str) -> Any:
    with h5py.File(io.BytesIO((scans / "S1_master.h5").read_bytes())) as file:
        value = file[name][()]
    return value.tolist() if hasattr(value, "tolist") else value


def test_a_point_that_comes_in_parts_has_all_of_them(scans: ScanFolder) -> None:
    with scans.writer() as scan:
        scan.point(0, {"a": {"x": reading(1)}, "b": {"x": reading(2)}})
        scan.point(0, {"a": {"y": reading(3)}})
        scan.point(0, {"b": {"x": reading(4)}})
    assert in_file(scans, f"{DEVICES}/a/x/value") == [1]
    assert in_file(scans, f"{DEVICES}/a/y/value") == [3]
    assert in_file(scans, f"{DEVICES}/b/x/value") == [4]


def test_arrays_do_not_stay_as_they_were_when_readings_get_other_shapes(scans: ScanFolder) -> None:
    with scans.writer() as scan:
        scan.point(0, {"a": {"x": reading([1.0, 2.0])}})
        scan._store.write_points()
        scan.flush()
        assert scans.array("a/x/value").shape == (1, 2)
        scan.point(1, {"a": {"x": reading([1.0])}})
    assert "x" not in group(scans, "a")
    assert [row.tolist() for row in scans.open().devices["a"]["x"].rows] == [[1.0, 2.0], [1.0]]
    assert verify(scans / "S1.zarr").problems == []


def test_signals_that_are_pushed_and_read_and_called_alike_are_all_there(scans: ScanFolder) -> None:
    with scans.writer() as scan:
        scan.add("d", "x", 1)
        scan.point(0, {"d": {"x": reading(2), "x_sync": reading(3)}})
    names = {"x": 1, "x_sync": 3, "x_sync_sync": 2}
    scan = scans.open()
    assert {name: scan.devices["d"][name].value[0] for name in scan.devices["d"]} == names
    assert {name: in_file(scans, f"{DEVICES}/d/{name}/value")[0] for name in names} == names
    plain = group(scans, "d")
    assert {name: plain[f"{name}/value"][0] for name in names} == names


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "read at points"])
def test_a_signal_that_is_called_as_what_belongs_to_another_is_a_variable(
    scans: ScanFolder, pushed: bool
) -> None:
    values = {"x": 1.0, "x_timestamp": 7.0, "point_id": 5.0}
    with scans.writer() as scan:
        for number in range(2):
            if pushed:
                for name, value in values.items():
                    scan.add("d", name, value, float(number))
            else:
                scan.point(number, {"d": {name: reading(v) for name, v in values.items()}})
    found = scans.open().devices["d"].to_xarray()
    assert found["x"].values.tolist() == [1.0, 1.0]
    assert found["x_timestamp"].values.tolist() == [7.0, 7.0]
    assert found["x_timestamp_"].attrs["units"].startswith("seconds")
    assert found["point_id" if pushed else "point_id_"].values.tolist() == [5.0, 5.0]


def test_the_baseline_of_what_is_read_at_points_is_beside_it(scans: ScanFolder) -> None:
    with scans.writer() as scan:
        scan.baseline({"d": {"x": reading(3.0), "y": reading(4.0)}})
        scan.point(0, {"d": {"x": reading(1.0)}})
    assert in_file(scans, f"{DEVICES}/d/x/value") == [1.0]
    assert in_file(scans, f"{DEVICES}/d/x_baseline/value") == 3.0
    assert in_file(scans, f"{DEVICES}/d/y/value") == 4.0


def test_a_text_that_is_not_read_at_each_point_is_empty_there(scans: ScanFolder) -> None:
    with scans.writer() as scan:
        scan.point(0, {"d": {"x": reading(1.5), "name": reading("a")}})
        scan.point(1, {"d": {"x": reading(2.5)}})
    found = scans.open().devices["d"].to_xarray()
    assert found["x"].values.tolist() == [1.5, 2.5]
    assert found["name"].values.tolist() == ["a", ""]


def test_metadata_of_names_that_would_be_one_place_are_all_there(scans: ScanFolder) -> None:
    with scans.writer() as scan:
        scan.status("open", sample={"a": 1, "a/b": 2}, other={"c/d": 1, "c//d": 2}, plain={"e": 3})
    about = "entry/collection/metadata/bec"
    assert in_file(scans, f"{about}/sample") == b'{"a": 1, "a/b": 2}'
    assert in_file(scans, f"{about}/other") == b'{"c/d": 1, "c//d": 2}'
    assert in_file(scans, f"{about}/plain/e") == 3


@pytest.mark.parametrize(("before", "after"), [("none", "lz4"), ("lz4", "none"), ("lz4", "zstd")])
def test_a_replaced_value_outlives_another_codec_in_the_settings(
    scans: ScanFolder, before: str, after: str
) -> None:
    """A writer dies between showing a value and its commit; who goes on has another codec."""

    def settings(codec: Any) -> StoreSettings:
        return StoreSettings(flush_interval=60, default=SignalSettings(codec=codec))

    scan = scans.writer(scan_id="one", settings=settings(before), master=None)
    scan.replace("d", "last", [1, 2, 3])
    scan.commit()
    scan.replace("d", "last", [4, 5, 6])
    with failing("commit.linking", fault), pytest.raises(RuntimeError):
        scan.commit()
    scan.close(keep=True)
    with scans.writer(scan_id="one", settings=settings(after)) as scan:
        pass
    assert scans.open().devices["d"]["last"].value[:].tolist() == [1, 2, 3]
    assert scans.array("d/last/value")[:].tolist() == [1, 2, 3]
    assert verify(scans.path).problems == []
