"""BEC's tree, as its own file writer (4.3.2) makes it, and what zwriter adds to it.

Added are: the default plot (`/entry/plot`), `/entry/zwriter`, `length` beside values with short
rows, `point_id` beside readings that do not cover all points, `<signal>_sync`, `target` attributes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

import zwriter
from zwriter.master.layouts.metadata import experiment, metadata, user
from zwriter.master.layouts.plot import add_default_plot
from zwriter.master.tree import (
    Dataset,
    ExternalLink,
    Group,
    Node,
    Rows,
    SoftLink,
    StoredArray,
    describe,
)
from zwriter.model import Ledger
from zwriter.protocol.messages import BeamlineState
from zwriter.reader import Device, Scan, Signal
from zwriter.settings import MasterSettings
from zwriter.store.columns import Column, column
from zwriter.store.record import Reading, ScanRecord, SyncSignal

DEVICES = "/entry/collection/devices"
_ROW_ARRAYS = ("value", "offsets", "row")  # what makes up rows of different lengths in the store
_PRIORITIES = ("baseline", "monitored", "async")


def reference_tree(scan: Scan, out: Path, settings: MasterSettings) -> Group:
    """The master file of `scan` when it lies at `out`."""
    record = scan.record
    root = Group({"NX_class": "NXroot", "default": "entry"})
    entry = root.group("entry", NX_class="NXentry", version=1.0)
    about = metadata(record)
    entry.attrs |= {k: about[k] for k in ("start_time", "end_time") if about[k] is not None}
    _add_facts(entry, scan.scan_id, record, about)

    collection = entry.group("collection", NX_class="NXcollection")
    devices = collection.group("devices", NX_class="NXcollection")
    _add_sync(devices, scan)
    _add_async(devices, scan)
    for name, content in (("metadata", about), ("configuration", record.configuration)):
        collection.put(name, describe(content))
        collection.group(name, NX_class="NXcollection")
    groups = collection.group("readout_groups", NX_class="NXcollection")
    for priority in _PRIORITIES:
        names = (record.info.get("readout_priority") or {}).get(priority)
        for device in names or ():
            groups.group(priority).put(device, SoftLink(f"{DEVICES}/{device}"))
        if names is not None:
            groups.group(priority, NX_class="NXcollection")
    _add_file_references(collection, record, out)
    states = collection.group("states", NX_class="NXcollection")
    for name, history in record.states.items():
        states.put(name, _state_table(history))

    entry.group("control", NX_class="NXmonitor").put("mode", Dataset("monitor"))
    sample = entry.group("sample", NX_class="NXsample")
    for name, device in (("name", "samplename"), ("description", "sample_description")):
        sample.put(name, devices.children.get(device))
    source = entry.group("instrument", NX_class="NXinstrument").group("source", NX_class="NXsource")
    for name, text in (
        ("type", settings.source_type),
        ("name", settings.facility),
        ("probe", settings.probe),
    ):
        source.put(name, Dataset(text))
    add_default_plot(root, record)
    _add_account_of_zwriter(entry, scan, out)
    return root


def _add_facts(
    entry: Group, scan_id: str | None, record: ScanRecord, about: dict[str, Any]
) -> None:
    facts = experiment(record)
    proposal_group = "Proposal group (pgroup) of the experiment"
    proposal_title = "Title of the experiment according to the proposal"
    for name, value, description in (
        ("start_time", about["start_time"], None),
        ("end_time", about["end_time"], None),
        ("title", about.get("title"), None),
        ("entry_identifier_uuid", scan_id, "Scan identifier (scan_id) used by BEC"),
        ("experiment_identifier", facts.get("pgroup"), proposal_group),
        ("experiment_description", facts.get("title"), proposal_title),
    ):
        node = describe(value or None)
        if isinstance(node, Dataset) and description:
            node.attrs["description"] = description
        entry.put(name, node)
    # BEC's version is not on the wire; the file says which program wrote it in BEC's place.
    entry.put("program_name", Dataset("BEC", {"version": f"zwriter {zwriter.__version__}"}))
    for name, text in user(facts).items():
        entry.group("user", NX_class="NXuser").put(name, Dataset(text))


def _add_sync(devices: Group, scan: Scan) -> None:
    """Baseline readings once, readings at scan points as columns."""
    record = scan.record
    points = np.array(sorted(record.points), np.int64)
    for device, signals in record.baseline.items():
        for signal, reading in signals.items():
            group = _sync_group(devices, scan, device, signal)
            for name, value in _reading(reading).items():
                group.put(name, value)
    for device, columns in record.sync_signals().items():
        for signal, of_signal in columns.items():
            group = _sync_group(devices, scan, device, signal)
            _put_columns(group, of_signal)
            if not np.array_equal(of_signal.point_ids, points):
                group.put("point_id", Dataset(of_signal.point_ids))


def _sync_group(devices: Group, scan: Scan, device: str, signal: str) -> Group:
    """Where sync readings go. One that is pushed asynchronously too keeps both."""
    pushed = signal in _async_signals(scan.devices.get(device))
    name = f"{signal}_sync" if pushed else signal
    nexus = {"NX_class": "NXdata", "signal": "value"} if signal == device else {}
    return devices.group(device).group(name, **nexus)


def _reading(reading: Reading) -> dict[str, Node | None]:
    nodes = {name: describe(value) for name, value in reading.items()}
    if reading.get("value") is None:
        nodes["value"] = Dataset(np.array(np.nan))
    return nodes


def _put_columns(group: Group, signal: SyncSignal) -> None:
    group.put("value", _column_node(signal.values))
    group.put("timestamp", _column_node(signal.timestamps))
    if isinstance(signal.values, list) and any(row.ndim > 1 for row in signal.values):
        shapes = column([np.array(row.shape, np.int64) for row in signal.values])
        group.put("shape", _column_node(shapes))


def _column_node(values: Column) -> Node:
    if isinstance(values, list):
        return Rows([row.ravel() for row in values], values[0].dtype)
    return Dataset(values)


def _async_signals(device: Device | None) -> dict[str, Signal]:
    """What a device pushed; the store also shows what was read at scan points."""
    if device is None:
        return {}
    return {name: signal for name, signal in device.items() if signal.layout != "points"}


def _add_async(devices: Group, scan: Scan) -> None:
    for device_name, device in scan.devices.items():
        for name, signal in _async_signals(device).items():
            group = devices.group(device_name).group(name, NX_class="NXdata", signal="value")
            folder = scan.path / DEVICES.strip("/") / device_name / name
            arrays = dict(signal.arrays)
            if signal.layout in ("ragged", "pieces"):
                group.put("value", Rows(signal.rows, signal.value.dtype))
                arrays = {n: a for n, a in arrays.items() if n not in _ROW_ARRAYS}
            for array_name, array in arrays.items():
                holes = signal.layout == "slices"
                group.put(array_name, StoredArray(folder / array_name, array, holes))


def _add_file_references(collection: Group, record: ScanRecord, out: Path) -> None:
    """Links to files that devices wrote. BEC leaves those out that are not there; here their
    group stays, empty, with the path that was announced."""
    group = collection.group("file_references", NX_class="NXcollection")
    for name, reference in record.file_references.items():
        if name == "master" or reference.is_master_file:
            continue
        announced = Path(reference.file_path)
        if not announced.exists():
            group.group(name, file_path=str(announced), found=False)
            continue
        relative = os.path.relpath(announced, out.parent)
        for link, target in (reference.hinted_h5_entries or {"data": "/"}).items():
            group.group(name).put(link, ExternalLink(relative, target))


def _state_table(history: list[BeamlineState]) -> Dataset:
    rows = [
        (state.label, state.status, np.nan if state.timestamp is None else state.timestamp)
        for state in history
    ]
    columns = [("label", object), ("status", object), ("timestamp", np.float64)]
    return Dataset(np.array(rows, dtype=columns), {"NX_class": "NXcollection"})


def _add_account_of_zwriter(entry: Group, scan: Scan, out: Path) -> None:
    """What is known of the data's completeness, as tables that any viewer shows."""
    group = entry.group("zwriter", NX_class="NXcollection", version=zwriter.__version__)
    group.put("verdict", describe(scan.verdict and str(scan.verdict)))
    group.put("store", Dataset(os.path.relpath(scan.path, out.parent)))
    ledgers = [
        (device_name, name, signal.ledger)
        for device_name, device in scan.devices.items()
        for name, signal in _async_signals(device).items()
    ]
    group.put("ledger", Dataset(_ledger_table(ledgers)))
    missing = [(d, s, *r) for d, s, ledger in ledgers for r in ledger.missing_ranges]
    columns = [("device", object), ("signal", object), ("first", np.int64), ("last", np.int64)]
    group.put("missing", Dataset(np.array(missing, dtype=columns)))


_COUNTS = ("received", "written", "missing", "short", "cut", "promoted", "quarantined")


def _ledger_table(ledgers: list[tuple[str, str, Ledger]]) -> np.ndarray[Any, np.dtype[Any]]:
    """One row a signal; `expected` is -1 where nobody said how many updates there are."""
    columns = [("device", object), ("signal", object), ("expected", np.int64)]
    columns += [(name, np.int64) for name in _COUNTS]
    rows = [
        (
            device,
            signal,
            -1 if ledger.expected is None else ledger.expected,
            *(getattr(ledger, name) for name in _COUNTS),
        )
        for device, signal, ledger in ledgers
    ]
    return np.array(rows, dtype=columns)
