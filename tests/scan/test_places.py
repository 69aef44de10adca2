"""A scan in a bucket is whole at any moment, and in the end the one on a disk."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
import zarr

from tests.faults import workload
from zwriter import ScanWriter, open_scan, verify
from zwriter.model import ScanState
from zwriter.objects import AnyPath, ObjectPath, zarr_store
from zwriter.settings import SignalSettings, SpoolSettings, StoreSettings
from zwriter.testing.scans import names_in

STEPS = [3, 20, 42]  # in the third one scalars are promoted
RECORD = np.array((1, 2), "u1,f4")
VALUES = [1, [1.5, 2.5], np.zeros((2, 3), "<u2"), "text", np.arange(4), [], RECORD]


SIGNAL = SignalSettings(chunk_bytes=512, shard_bytes=3 * 512)
SETTINGS = StoreSettings(flush_interval=60, default=SIGNAL, durability="none")
LOOKED_AT = 3  # points: the second step


def write_step(writer: ScanWriter, step: int) -> None:
    """Something of everything that the scan has not yet."""
    workload.control_messages(writer, step + 1)
    for signal in workload.MODES:
        workload.send(writer, signal, STEPS[step] * (3 if signal == "scalars" else 1))
    for number in range(step * 2, step * 2 + 3):
        writer.replace("four", "any", VALUES[number], float(number) if number % 3 else None)
        writer.add("four", "record", np.array((number, number / 2), "<i4,<f8"))
        writer.add("four", "empty", np.zeros(0), max_shape=(None, None))
    writer.expect("four", "silent", 3)
    if step == 0:
        writer.apply([workload.undecodable(0)])
        writer._store.write_points()  # before all signals that are read at points push updates
        writer.point(9, {"late": {"late": {"value": 1, "timestamp": 1.0}}})
        writer._store.write_points()
    else:
        writer.add("late", "late", step)


def write(path: AnyPath, **options: Any) -> Iterator[ScanWriter]:
    """A scan that is closed and gone on with in the middle."""
    options |= {"scan_id": workload.SCAN_ID, "scan_number": 1, "settings": SETTINGS, "master": None}
    writer = ScanWriter(path, **options)
    for step in range(len(STEPS)):
        if step == 2:
            writer.close()
            writer = ScanWriter(path, **options)
        write_step(writer, step)
        writer.flush()
        yield writer
    writer.finish(ScanState.CLOSED)
    writer.close()


def files(store: AnyPath) -> set[str]:
    """The names of all that is in a store."""
    if isinstance(store, ObjectPath):
        return {url.removeprefix(f"{store}/") for url in store.sizes()}
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}


def nodes(store: AnyPath) -> dict[str, dict[str, Any]]:
    """All documents of a store."""
    folders = [
        name.removesuffix("zarr.json") for name in files(store) if name.endswith("zarr.json")
    ]
    return {name: json.loads((store / f"{name}zarr.json").read_bytes()) for name in sorted(folders)}


def shown(store: AnyPath) -> dict[str, Any]:
    """All that plain zarr sees of a finished store and that does not differ by nature."""
    found: dict[str, Any] = {}
    for name, document in nodes(store).items():
        attributes = document["attributes"]
        document.pop("consolidated_metadata", None)
        document.pop("chunk_key_encoding", None)  # tells apart values that replace each other
        document.pop("chunk_grid", None)  # is chosen by the rate
        document.pop("codecs", None)
        if document["node_type"] == "array" and "entry/zwriter" not in name:
            found[f"{name} value"] = repr(open_array(store, name)[...].tolist())
        elif "signals" in attributes.get("zwriter", {}):
            for signal, state in attributes["zwriter"]["signals"].items():
                shapes = {array: of_array["shape"] for array, of_array in state["arrays"].items()}
                found[f"{name}{signal} commit"] = {**state, "arrays": shapes}
            document["attributes"] = sorted(attributes)
        elif not name:
            own = attributes["zwriter"]
            document["attributes"] = {key: own[key] for key in own if "time" not in key}
        if "entry/zwriter" not in name:  # there are times
            found[name] = document
    scan = open_scan(store)
    found["scan"] = (scan.status, scan.verdict, scan.finished, scan.record.entries, scan.gaps())
    found["quarantine"] = [replace(entry, time=0.0) for entry in scan.quarantine]
    return found


def open_array(store: AnyPath, name: str) -> Any:
    return zarr.open_array(zarr_store(store / name), mode="r")


def check_hdf5(store: AnyPath) -> None:
    """Each shard that is there is an HDF5 file with the rows that it has as a shard."""
    for name, document in nodes(store).items():
        if document["node_type"] != "array" or document["codecs"][0]["name"] != "sharding_indexed":
            continue
        array = open_array(store, name)
        if document["data_type"] == "string":
            continue
        values = array[...]
        for first in range(0, array.shape[0], array.shards[0]):
            number = first // array.shards[0]
            key = array.metadata.chunk_key_encoding.encode_chunk_key(
                (number, *(0 for _ in array.shape[1:]))
            )
            try:
                shard = (store / f"{name}{key}").read_bytes()
            except FileNotFoundError:  # none of its rows has come yet
                assert not open_scan(store).finished
                continue
            rows = values[first : first + array.shards[0]]
            with h5py.File(io.BytesIO(shard)) as file:
                assert file["data"].shape[0] == len(rows), (name, key)
                assert file["data"][...].tobytes() == rows.tobytes(), (name, key)


@pytest.mark.slow
@pytest.mark.s3
def test_a_scan_in_a_bucket_is_whole_at_any_moment_and_in_the_end_the_one_on_a_disk(
    tmp_path: Path, bucket: str, s3_folder: Callable[[str], ObjectPath]
) -> None:
    there, here, spool = s3_folder(f"{bucket}/S1.zarr"), tmp_path / "S1.zarr", tmp_path / "spool"
    for writer in write(there, spool=SpoolSettings(folder=spool)):
        if len(writer.record.points) == LOOKED_AT:
            assert verify(there).problems == []
            check_hdf5(there)
    for _ in write(here):
        pass
    assert verify(there).problems == []
    check_hdf5(there)
    assert shown(there) == shown(here)
    assert names_in(there.parent) == ["S1.zarr"]
    assert list(spool.iterdir()) == []
