"""What is read at scan points, whatever it is called and however it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import pytest
import zarr

from zwriter import ScanWriter, open_scan, verify
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.testing.failpoints import failing, fault

DEVICES = "entry/collection/devices"


def reading(value: Any, time: float = 1.0) -> dict[str, Any]:
    return {"value": value, "timestamp": time}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "S1.zarr"


def in_file(path: Path, name: str) -> Any:
    with h5py.File(path.with_name("S1_master.h5")) as file:
        value = file[name][()]
    return value.tolist() if hasattr(value, "tolist") else value


def test_a_point_that_comes_in_parts_has_all_of_them(path: Path) -> None:
    with ScanWriter(path) as scan:
        scan.point(0, {"a": {"x": reading(1)}, "b": {"x": reading(2)}})
        scan.point(0, {"a": {"y": reading(3)}})
        scan.point(0, {"b": {"x": reading(4)}})
    assert in_file(path, f"{DEVICES}/a/x/value") == [1]
    assert in_file(path, f"{DEVICES}/a/y/value") == [3]
    assert in_file(path, f"{DEVICES}/b/x/value") == [4]


def test_arrays_do_not_stay_as_they_were_when_readings_get_other_shapes(path: Path) -> None:
    with ScanWriter(path) as scan:
        scan.point(0, {"a": {"x": reading([1.0, 2.0])}})
        scan._store.write_points()
        assert zarr.open_array(path / DEVICES / "a/x/value", mode="r").shape == (1, 2)
        scan.point(1, {"a": {"x": reading([1.0])}})
    assert "x" not in zarr.open_group(path, mode="r")[f"{DEVICES}/a"]
    assert [row.tolist() for row in open_scan(path).devices["a"]["x"].rows] == [[1.0, 2.0], [1.0]]
    assert verify(path).problems == []


def test_signals_that_are_pushed_and_read_and_called_alike_are_all_there(path: Path) -> None:
    with ScanWriter(path) as scan:
        scan.add("d", "x", 1)
        scan.point(0, {"d": {"x": reading(2), "x_sync": reading(3)}})
    names = {"x": 1, "x_sync": 3, "x_sync_sync": 2}
    scan = open_scan(path)
    assert {name: scan.devices["d"][name].value[0] for name in scan.devices["d"]} == names
    assert {name: in_file(path, f"{DEVICES}/d/{name}/value")[0] for name in names} == names
    group = zarr.open_group(path, mode="r")[f"{DEVICES}/d"]
    assert {name: group[f"{name}/value"][0] for name in names} == names


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "read at points"])
def test_a_signal_that_is_called_as_what_belongs_to_another_is_a_variable(
    path: Path, pushed: bool
) -> None:
    values = {"x": 1.0, "x_timestamp": 7.0, "point_id": 5.0}
    with ScanWriter(path) as scan:
        for number in range(2):
            if pushed:
                for name, value in values.items():
                    scan.add("d", name, value, float(number))
            else:
                scan.point(number, {"d": {name: reading(v) for name, v in values.items()}})
    found = open_scan(path).devices["d"].to_xarray()
    assert found["x"].values.tolist() == [1.0, 1.0]
    assert found["x_timestamp"].values.tolist() == [7.0, 7.0]
    assert found["x_timestamp_"].attrs["units"].startswith("seconds")
    assert found["point_id" if pushed else "point_id_"].values.tolist() == [5.0, 5.0]


def test_the_baseline_of_what_is_read_at_points_is_beside_it(path: Path) -> None:
    with ScanWriter(path) as scan:
        scan.baseline({"d": {"x": reading(3.0), "y": reading(4.0)}})
        scan.point(0, {"d": {"x": reading(1.0)}})
    assert in_file(path, f"{DEVICES}/d/x/value") == [1.0]
    assert in_file(path, f"{DEVICES}/d/x_baseline/value") == 3.0
    assert in_file(path, f"{DEVICES}/d/y/value") == 4.0


def test_a_text_that_is_not_read_at_each_point_is_empty_there(path: Path) -> None:
    with ScanWriter(path) as scan:
        scan.point(0, {"d": {"x": reading(1.5), "name": reading("a")}})
        scan.point(1, {"d": {"x": reading(2.5)}})
    found = open_scan(path).devices["d"].to_xarray()
    assert found["x"].values.tolist() == [1.5, 2.5]
    assert found["name"].values.tolist() == ["a", ""]


def test_metadata_of_names_that_would_be_one_place_are_all_there(path: Path) -> None:
    with ScanWriter(path) as scan:
        scan.status("open", sample={"a": 1, "a/b": 2}, other={"c/d": 1, "c//d": 2}, plain={"e": 3})
    about = "entry/collection/metadata/bec"
    assert in_file(path, f"{about}/sample") == b'{"a": 1, "a/b": 2}'
    assert in_file(path, f"{about}/other") == b'{"c/d": 1, "c//d": 2}'
    assert in_file(path, f"{about}/plain/e") == 3


@pytest.mark.parametrize(("before", "after"), [("none", "lz4"), ("lz4", "none"), ("lz4", "zstd")])
def test_a_replaced_value_outlives_another_codec_in_the_settings(
    path: Path, before: str, after: str
) -> None:
    """A writer dies between showing a value and its commit; who goes on has another codec."""

    def settings(codec: Any) -> StoreSettings:
        return StoreSettings(flush_interval=60, default=SignalSettings(codec=codec))

    scan = ScanWriter(path, settings=settings(before), master=None)
    scan.replace("d", "last", [1, 2, 3])
    scan.commit()
    scan.replace("d", "last", [4, 5, 6])
    with failing("commit.linking", fault), pytest.raises(RuntimeError):
        scan.commit()
    scan.close(keep=True)
    with ScanWriter(path, settings=settings(after)) as scan:
        pass
    assert open_scan(path).devices["d"]["last"].value[:].tolist() == [1, 2, 3]
    assert zarr.open_array(path / DEVICES / "d/last/value", mode="r")[:].tolist() == [1, 2, 3]
    assert verify(path.parent).problems == []
