"""The captured scan's master file against the one that BEC wrote of the same scan."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from zwriter.master import write_master

BEC = json.loads((Path(__file__).parents[1] / "data/bec_line_scan_add.master.json").read_text())
MODES = ("reference", "copy", "auto")
# zwriter writes times with their zone, and the paths of another machine are another machine's
OTHER_BYTES = {
    "entry/start_time",
    "entry/end_time",
    "entry/collection/metadata/start_time",
    "entry/collection/metadata/end_time",
    "entry/collection/metadata/bec/file_components",
}
OTHER_ATTRIBUTES = {"start_time", "end_time", "version"}


@pytest.fixture(params=MODES)
def master(request: pytest.FixtureRequest, captured_store: Path, tmp_path: Path) -> Path:
    out = tmp_path / f"{request.param}_master.h5"
    write_master(captured_store, out, mode=request.param)
    return out


def fingerprint(dataset: h5py.Dataset) -> str:
    """The hash of a dataset's values as the reference file has it."""
    value = np.asarray(dataset[()], dataset.dtype)
    texts = value.dtype.kind == "O"
    data = repr(value.ravel().tolist()).encode() if texts else value.tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def plain(attributes: h5py.AttributeManager) -> dict[str, Any]:
    return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in attributes.items()}


def described(file: h5py.File, path: str) -> dict[str, Any]:
    """A node in the form of the reference file."""
    link = file.get(path, getlink=True)
    if isinstance(link, h5py.SoftLink):
        return {"kind": "softlink", "target": link.path}
    node = file[path]
    if isinstance(node, h5py.Group):
        return {"kind": "group", "attrs": plain(node.attrs)}
    return {
        "kind": "dataset",
        "attrs": plain(node.attrs),
        "dtype": str(node.dtype),
        "shape": list(node.shape),
        "sha256": fingerprint(node),
    }


def test_every_group_dataset_and_link_of_becs_file_is_there_with_the_same_bytes(
    master: Path,
) -> None:
    with h5py.File(master) as file:
        for path, expected in BEC.items():
            found = described(file, path)
            attributes = found.pop("attrs", {})
            wanted = {k: v for k, v in expected.items() if k != "attrs"}
            if path in OTHER_BYTES:
                del found["sha256"], wanted["sha256"]
            assert found == wanted, path
            kept = expected.get("attrs", {}).items() - attributes.items()
            assert {name for name, _ in kept} <= OTHER_ATTRIBUTES, path


def test_times_are_becs_with_the_zone_added(master: Path) -> None:
    with h5py.File(master) as file:
        for name in ("start_time", "end_time"):
            bec = BEC["entry"]["attrs"][name]
            assert file["entry"].attrs[name] == f"{bec}+00:00"
            assert file[f"entry/{name}"].asstr()[()] == f"{bec}+00:00"


def test_the_file_opens_on_a_plot_of_a_detector_against_the_motor(master: Path) -> None:
    with h5py.File(master) as file:
        entry = file[file.attrs["default"]]
        plot = entry[entry.attrs["default"]]
        assert plot.attrs["NX_class"] == "NXdata"
        assert plot.attrs["signal"] == "bpm4i"
        assert list(plot.attrs["axes"]) == ["samx"]
        assert plot.attrs["samx_indices"] == 0
        assert plot["bpm4i"].shape == plot["samx"].shape == (10,)


def test_the_file_says_how_complete_it_is(master: Path) -> None:
    with h5py.File(master) as file:
        zwriter = file["entry/zwriter"]
        assert zwriter["verdict"].asstr()[()] == "COMPLETE"
        rows = {(row["device"], row["signal"]): row for row in zwriter["ledger"]}
        assert rows[b"gauss_async", b"gauss_async_data_x"]["written"] == 50
        assert len(zwriter["missing"]) == 0


def test_reference_mode_links_and_copy_mode_does_not(captured_store: Path, tmp_path: Path) -> None:
    value = "entry/collection/devices/gauss_async/gauss_async_data_x/value"
    kinds = {"reference": h5py.ExternalLink, "copy": h5py.HardLink}
    for mode, kind in kinds.items():
        write_master(captured_store, tmp_path / "out.h5", mode=mode)
        with h5py.File(tmp_path / "out.h5") as file:
            assert file.get(value, getlink=True, getclass=True) is kind


def test_a_store_and_its_master_can_be_moved_together(captured_store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(captured_store, tmp_path / "here" / "s.zarr")
    write_master(store, tmp_path / "here" / "out.h5", mode="reference")
    (tmp_path / "here").rename(tmp_path / "elsewhere")
    with h5py.File(tmp_path / "elsewhere/out.h5") as file:
        assert file["entry/collection/devices/waveform/waveform_data/value"].shape == (10000,)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_it_all(master: Path) -> None:
    environment = os.environ | {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    dump = subprocess.run(
        ["h5dump", master.name], cwd=master.parent, env=environment, capture_output=True, check=True
    )
    assert b"gauss_async_data_intensity" in dump.stdout
    assert b"error" not in dump.stderr.lower()
