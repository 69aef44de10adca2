"""Sync data and metadata in the master file: BEC's tree, without what BEC's writer gets wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zwriter.master import write_master
from zwriter.protocol import Message, encode
from zwriter.scan import ScanWriter
from zwriter.testing.scans import ScanFolder

# what is alike once it is read
on_a_disk = pytest.mark.parametrize("scans", ["disk"], indirect=True)


@pytest.fixture
def scan(scans: ScanFolder) -> ScanWriter:
    return scans.writer(scan_number=1, master=None)


@pytest.fixture
def finished(scan: ScanWriter, tmp_path: Path) -> Callable[[], h5py.Group]:
    """Finish the scan and open `/entry` of its master file."""

    def finish() -> h5py.Group:
        with scan:
            pass
        write_master(scan.path, tmp_path / "out.h5", mode="copy")
        return h5py.File(tmp_path / "out.h5")["entry"]

    return finish


def add_points(scan: ScanWriter, device: str, values: list[Any]) -> None:
    for i, value in enumerate(values):
        scan.point(i, {device: {device: {"value": value, "timestamp": float(i)}}})


def message(scan: ScanWriter, kind: str, **fields: Any) -> bytes:
    return encode(Message(kind, fields, {}))


@on_a_disk
@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([1, None, 3], [1, np.nan, 3]),
        ([None, None], [np.nan, np.nan]),
        ([[1, 2], None], [[1, 2], [np.nan, np.nan]]),
    ],
)
def test_numbers_stay_numbers(
    scan: ScanWriter, finished: Callable[[], h5py.Group], values: list[Any], stored: list[Any]
) -> None:
    add_points(scan, "diode", values)
    value = finished()["collection/devices/diode/diode/value"]
    assert value.dtype == np.float64
    np.testing.assert_array_equal(value[()], stored)


def test_rows_of_different_lengths_are_kept(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    add_points(scan, "mca", [[1, 2, 3], [4], [5, 6]])
    value = finished()["collection/devices/mca/mca/value"][()]
    assert [row.tolist() for row in value] == [[1, 2, 3], [4], [5, 6]]


def test_images_of_different_shapes_are_kept_flat_with_their_shapes(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    add_points(scan, "roi", [np.ones((2, 3)), np.zeros((1, 2))])
    group = finished()["collection/devices/roi/roi"]
    assert group["shape"][()].tolist() == [[2, 3], [1, 2]]
    assert [row.size for row in group["value"][()]] == [6, 2]


def test_points_are_in_order_and_those_without_a_reading_are_named(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    for point in (2, 0, 1):
        readings = {"samx": {"samx": {"value": float(point), "timestamp": 0.0}}}
        if point != 1:
            readings["diode"] = {"diode": {"value": 10 * point, "timestamp": 0.0}}
        scan.point(point, readings)
    devices = finished()["collection/devices"]
    assert devices["samx/samx/value"][()].tolist() == [0, 1, 2]
    assert "point_id" not in devices["samx/samx"]
    assert devices["diode/diode/value"][()].tolist() == [0, 20]
    assert devices["diode/diode/point_id"][()].tolist() == [0, 2]


def test_a_signal_that_is_read_and_pushed_keeps_both(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    add_points(scan, "eiger", [1.0, 2.0])
    scan.add("eiger", "eiger", 7)
    devices = finished()["collection/devices/eiger"]
    assert devices["eiger/value"][()].tolist() == [7]
    assert devices["eiger_sync/value"][()].tolist() == [1.0, 2.0]


def test_baseline_readings_are_scalars(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    reading = {"value": 3, "timestamp": 5.0}
    scan.baseline({"samy": {"samy": reading, "samy_label": {"value": None, "timestamp": 5.0}}})
    devices = finished()["collection/devices/samy"]
    assert devices["samy/value"][()] == 3
    assert devices["samy/value"].dtype == np.int64
    assert np.isnan(devices["samy_label/value"][()])


def test_metadata_is_a_tree(scan: ScanWriter, finished: Callable[[], h5py.Group]) -> None:
    inputs = {"arg_bundle": ["samx", -1, 1], "kwargs": {"steps": 10, "note": None}}
    scan.status(
        "open",
        scan_name="line_scan",
        request_inputs=inputs,
        DIID=3,
        user_metadata={"title": "Gold", "sample/name": "A\0B", "": 1, "bec": "mine"},
        positions=[[0.0], [1.0]],
        ragged=[[1, 2], [3]],
        maps=[{"a": 1}],
    )
    entry = finished()
    metadata = entry["collection/metadata"]
    bec = metadata["bec"]
    assert bec["scan_cli_input"].asstr()[()] == (
        "scans.line_scan('samx', -1, 1, steps=10, note=None)"
    )
    assert bec["status"].asstr()[()] == "closed"
    assert "DIID" not in bec
    assert "note" not in bec["request_inputs/kwargs"]
    assert bec["positions"][()].tolist() == [[0], [1]]
    assert bec["ragged"].asstr()[()] == "[[1, 2], [3]]"
    assert bec["maps"].asstr()[()] == '[{"a": 1}]'
    assert entry["title"].asstr()[()] == metadata["title"].asstr()[()] == "Gold"
    assert metadata["sample/name"].asstr()[()] == "A\\0B"


def test_metadata_that_is_not_what_bec_sends_does_not_stop_the_file(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    scan.status(
        "open",
        readout_priority=["samx"],
        scan_report_devices="samx",
        request_inputs=7,
        metadata=[1],
        user_metadata=3,
    )
    assert finished()["collection/metadata/bec/request_inputs"][()] == 7


def test_configuration_states_and_experiment_are_there(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    scan.status("open")
    signals = {"eiger_exposure": {"value": 0.1, "timestamp": 1.0}}
    scan.journal("config", "eiger", message(scan, "DeviceMessage", signals=signals))
    for status, when in (("valid", 1.0), ("invalid", 2.0)):
        state = message(
            scan,
            "BeamlineStateMessage",
            name="shutter",
            status=status,
            label=f"is {status}",
            timestamp=when,
        )
        scan.journal("state", "shutter", state)
    experiment = Message(
        "ExperimentInfoMessage",
        {"pgroup": "p12345", "title": "Gold", "firstname": "Ada", "lastname": "L."},
    )
    session = Message("SessionInfoMessage", {"name": "s", "experiment": experiment})
    deployment = message(scan, "DeploymentInfoMessage", name="x", active_session=session)
    scan.journal("deployment", "", deployment)
    entry = finished()
    assert entry["collection/configuration/eiger/eiger_exposure/value"][()] == 0.1
    states = entry["collection/states/shutter"]
    assert states["status"].tolist() == [b"valid", b"invalid"]
    assert states["timestamp"].tolist() == [1.0, 2.0]
    assert entry["experiment_identifier"].asstr()[()] == "p12345"
    assert entry["user/name"].asstr()[()] == "Ada L."
    assert entry["user/role"].asstr()[()] == "proposer"


def test_the_configuration_of_very_many_devices_is_a_tree(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    scan.status("open")
    for number in range(400):
        signals = {f"signal_{n}": {"value": n, "timestamp": 1.0} for n in range(10)}
        raw = message(scan, "DeviceMessage", signals=signals)
        scan.journal("config", f"device{number}", raw)
    configuration = finished()["collection/configuration"]
    assert len(configuration) == 400
    assert configuration["device399/signal_9/value"][()] == 9


def test_files_of_devices_are_linked_and_lost_ones_are_named(
    scan: ScanWriter, finished: Callable[[], h5py.Group], tmp_path: Path
) -> None:
    with h5py.File(tmp_path / "eiger.h5", "w") as file:
        file["entry/data"] = [1, 2, 3]
    scan.status("open")
    for name, path, hints in (
        ("eiger", tmp_path / "eiger.h5", {"data": "/entry/data"}),
        ("pilatus", tmp_path / "gone.h5", None),
    ):
        fields = {"file_path": str(path), "done": True, "successful": True}
        hinted = message(scan, "FileMessage", **fields, hinted_h5_entries=hints)
        scan.journal("file", name, hinted)
    references = finished()["collection/file_references"]
    assert references["eiger/data"][()].tolist() == [1, 2, 3]
    assert references["eiger"].get("data", getlink=True).filename == "eiger.h5"
    assert not references["pilatus"].attrs["found"]


@pytest.mark.parametrize(
    ("hints", "link", "target"),
    [
        ({"data": ""}, "data", "/"),
        ({"data": "/nowhere"}, "data", "/nowhere"),
        ({"a\0b": "x\0y"}, "a_b", "x\\0y"),
    ],
)
def test_files_of_devices_are_linked_whatever_is_hinted(
    scan: ScanWriter,
    finished: Callable[[], h5py.Group],
    tmp_path: Path,
    hints: dict[str, str],
    link: str,
    target: str,
) -> None:
    refer(scan, tmp_path / "eiger.h5", hints)
    references = finished()["collection/file_references/eiger"]
    assert references.get(link, getlink=True).path == target


def test_hinted_links_that_cannot_all_be_there_are_json(
    scan: ScanWriter, finished: Callable[[], h5py.Group], tmp_path: Path
) -> None:
    refer(scan, tmp_path / "eiger.h5", {"a": "/x", "a/b": "/y"})
    told = finished()["collection/file_references/eiger/json"].asstr()[()]
    assert json.loads(told) == {"a": "/x", "a/b": "/y"}


def refer(scan: ScanWriter, path: Path, hints: dict[str, str]) -> None:
    """A device `eiger` says that it wrote a file, with hints what is where in it."""
    h5py.File(path, "w").close()
    fields = {"file_path": str(path), "done": True, "successful": True}
    scan.status("open")
    scan.journal("file", "eiger", message(scan, "FileMessage", **fields, hinted_h5_entries=hints))


@on_a_disk
def test_a_detector_may_have_a_signal_called_as_the_motor_or_the_title(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    priority = {"monitored": ["det"]}
    scan.status("open", scan_report_devices=["samx", "title"], readout_priority=priority)
    for i in range(4):
        reading = {"value": float(i), "timestamp": 0.0}
        signals = {"samx": {"value": 10 * i, "timestamp": 0.0}}
        scan.point(i, {"samx": {"samx": reading}, "title": {"title": reading}, "det": signals})
    plot = finished()["plot"]
    assert plot[plot.attrs["signal"]][()].tolist() == [0, 10, 20, 30]
    assert list(plot.attrs["axes"]) == ["title"]
    assert plot["title"][()].tolist() == [0, 1, 2, 3]


@on_a_disk
def test_a_scan_of_two_motors_has_both_beside_the_detector(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    priority = {"monitored": ["samx", "samy", "diode"], "baseline": [], "async": []}
    scan.status("open", scan_report_devices=["samx", "samy"], readout_priority=priority)
    for i in range(4):
        values = {"samx": i % 2, "samy": i // 2, "diode": 10 * i}
        scan.point(i, {d: {d: {"value": v, "timestamp": 0.0}} for d, v in values.items()})
    entry = finished()
    assert entry["data"].attrs["signal"] == "samx"
    assert list(entry["data"].attrs["auxiliary_signals"]) == ["samy"]
    plot = entry["plot"]
    assert list(plot.attrs["axes"]) == ["samx"]
    assert (plot.attrs["samx_indices"], plot.attrs["samy_indices"]) == (0, 0)
    assert plot["diode"][()].tolist() == [0, 10, 20, 30]


@on_a_disk
def test_what_no_readout_priority_names_is_plotted_if_there_is_nothing_else(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    for _ in range(2):
        scan.add("eiger", "image", np.ones((3, 4)))
    entry = finished()
    assert entry.attrs["default"] == "plot"
    assert entry["plot"].attrs["signal"] == "image"
    assert entry["plot/image"].shape == (2, 3, 4)


@on_a_disk
def test_without_monitored_detectors_what_was_pushed_is_plotted(
    scan: ScanWriter, finished: Callable[[], h5py.Group]
) -> None:
    priority = {"monitored": ["samx"], "async": ["eiger"]}
    scan.status("open", scan_report_devices=["samx"], readout_priority=priority)
    add_points(scan, "samx", [0.0, 1.0])
    for _ in range(2):
        scan.add("eiger", "image", np.ones((3, 4)))
    plot = finished()["plot"]
    assert plot.attrs["signal"] == "image"
    assert list(plot.attrs["axes"]) == ["samx", ".", "."]
