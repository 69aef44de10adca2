"""BEC's tree, as its own file writer (4.3.2) makes it, and what zwriter adds to it.

Added are: the default plot (`/entry/plot`), `/entry/zwriter`, `length` beside values with short
rows, `point_id` beside readings that do not cover all points, `<signal>_sync`, `target` attributes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter._version import __version__
from zwriter.master.layouts.metadata import experiment, metadata, readout_priority, user
from zwriter.master.layouts.plot import add_default_plot
from zwriter.master.tree import (
    Dataset,
    ExternalLink,
    Group,
    Node,
    Rows,
    SoftLink,
    StoredArray,
    Table,
    collide,
    describe,
    describe_group,
    fits_groups,
)
from zwriter.objects import AnyPath, each, is_url
from zwriter.protocol.messages import BeamlineState
from zwriter.reader import Scan, Signal
from zwriter.reader.lazy import UNREADABLE
from zwriter.settings import MasterSettings
from zwriter.store.columns import Column, column
from zwriter.store.layout import sync_name
from zwriter.store.record import Reading, ScanRecord

log = logging.getLogger(__name__)

DEVICES = "/entry/collection/devices"
_LONGEST_PATH = 4096
_BEC_SOURCE = {
    "type": "Synchrotron X-ray Source",
    "name": "Swiss Light Source",
    "probe": "x-ray",
}
_PRIORITIES = ("baseline", "monitored", "async")
# what makes up rows of different lengths in the store
_ROW_ARRAYS = ("value", "offsets", "row")

# device -> signal, of what devices pushed
Pushed = dict[str, dict[str, Signal]]


def reference_tree(
    scan: Scan, out: AnyPath, folder: AnyPath | None, settings: MasterSettings
) -> Group:
    """The master file of `scan` when it lies at `out`. folder: what links into the store lead from,
    None if there are none."""
    record = scan.record
    pushed = {
        name: {key: signal for key, signal in device.items() if signal.layout != "points"}
        for name, device in scan.devices.items()
    }
    root = Group({"NX_class": "NXroot", "default": "entry"})
    entry = root.group("entry", NX_class="NXentry", version=1.0)
    about = metadata(record)
    entry.attrs |= {k: about[k] for k in ("start_time", "end_time") if about[k] is not None}
    _add_facts(entry, scan.scan_id, record, about)

    collection = entry.group("collection", NX_class="NXcollection")
    devices = collection.group("devices", NX_class="NXcollection")
    _add_sync(devices, record, pushed)
    _add_async(devices, scan.path, pushed)
    collection.put("metadata", describe_group(about))
    collection.group("metadata", NX_class="NXcollection")
    configuration = collection.group("configuration", NX_class="NXcollection")
    for device, signals in record.configuration.items():
        configuration.put(device, describe_group(signals))
    groups = collection.group("readout_groups", NX_class="NXcollection")
    for priority, names in readout_priority(record).items():
        if priority in _PRIORITIES:
            group = groups.group(priority, NX_class="NXcollection")
            for device in names:
                group.put(device, SoftLink(f"{DEVICES}/{device}"))
    _add_file_references(collection, record, out)
    states = collection.group("states", NX_class="NXcollection")
    for name, history in record.states.items():
        states.put(name, _state_table(history))

    entry.group("control", NX_class="NXmonitor").put("mode", Dataset("monitor"))
    sample = entry.group("sample", NX_class="NXsample")
    for name, device in (("name", "samplename"), ("description", "sample_description")):
        sample.put(name, devices.children.get(device))
    _add_source(entry, record, settings)
    add_default_plot(root, record)
    _add_account(entry, scan, record, folder)
    return root


def _is_of_bec(record: ScanRecord) -> bool:
    """Whether a scan server, or who speaks as one, has the scan; not a program that writes alone:
    that has no names for its scans."""
    status = record.status_message
    return "scan_name" in record.info or (status is not None and status.scan_name is not None)


def _add_source(entry: Group, record: ScanRecord, settings: MasterSettings) -> None:
    source = entry.group("instrument", NX_class="NXinstrument").group("source", NX_class="NXsource")
    said = {"type": settings.source_type, "name": settings.facility, "probe": settings.probe}
    known = _BEC_SOURCE if _is_of_bec(record) else {}
    for name, text in said.items():
        source.put(name, describe(known.get(name) if text is None else text))


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
        node = None if isinstance(value, str) and not value else describe(value)
        if isinstance(node, Dataset) and description:
            node.attrs["description"] = description
        entry.put(name, node)
    # BEC's version is not on the wire; the file says which program wrote it in BEC's place.
    program = "BEC" if _is_of_bec(record) else "zwriter"
    entry.put("program_name", Dataset(program, {"version": f"zwriter {__version__}"}))
    for name, text in user(facts).items():
        entry.group("user", NX_class="NXuser").put(name, Dataset(text))


def _add_sync(devices: Group, record: ScanRecord, pushed: Pushed) -> None:
    """Baseline readings once, readings at scan points as columns. A signal that is pushed too has
    them under `<signal>_sync`; the baseline of one that is read at points is `<signal>_baseline`.
    """

    read = record.sync_signals()

    def group_of(device: str, signal: str) -> Group:
        name = sync_name(signal, pushed.get(device, ()), read.get(device, ()))
        nexus = {"NX_class": "NXdata", "signal": "value"} if signal == device else {}
        return devices.group(device).group(name, **nexus)

    for device, signals in record.baseline.items():
        for signal, reading in signals.items():
            both = signal in read.get(device, ())
            group = group_of(device, f"{signal}_baseline" if both else signal)
            for name, value in _described(reading).items():
                group.put(name, value)
    points = np.array(sorted(record.points), np.int64)
    for device, columns in read.items():
        for signal, readings in columns.items():
            group = group_of(device, signal)
            group.put("value", _column_node(readings.values))
            group.put("timestamp", _column_node(readings.timestamps))
            group.put("shape", _shapes_node(readings.values))
            if not np.array_equal(readings.point_ids, points):
                group.put("point_id", Dataset(readings.point_ids))


def _described(reading: Reading) -> dict[str, Node | None]:
    nodes = {name: describe(value) for name, value in reading.items()}
    if reading.get("value") is None:
        nodes["value"] = Dataset(np.array(np.nan))
    return nodes


def _column_node(values: Column) -> Node:
    if isinstance(values, list):
        return Rows([row.ravel() for row in values], values[0].dtype)
    return Dataset(values)


def _shapes_node(values: Column) -> Node | None:
    """The shapes of rows that are not 1-D, and so had to be flattened."""
    if isinstance(values, list) and any(row.ndim > 1 for row in values):
        return _column_node(column([np.array(row.shape, np.int64) for row in values]))
    return None


def _add_async(devices: Group, store: AnyPath, pushed: Pushed) -> None:
    signals_of = [signal for signals in pushed.values() for signal in signals.values()]
    opened = iter(each(store, lambda signal: dict(signal.arrays), signals_of))
    for device, signals in pushed.items():
        for name, signal in signals.items():
            arrays = next(opened)
            failed = signal.ledger.failed
            if "value" not in arrays or (failed and not _can_be_read(signal)):
                continue  # nothing of it could be written, or it is damaged: the ledger tells
            group = devices.group(device).group(name, NX_class="NXdata", signal="value")
            if signal.layout in ("ragged", "pieces"):
                group.put("value", Rows(signal.rows, signal.value.dtype))
                arrays = {key: array for key, array in arrays.items() if key not in _ROW_ARRAYS}
            for key, array in arrays.items():
                folder = store / DEVICES.strip("/") / device / name / key
                holes = signal.layout == "slices"
                group.put(key, StoredArray(folder, array, holes=holes, linked=not failed))


def _can_be_read(signal: Signal) -> bool:
    """Whether all of a signal that has failed is there: if not, it must not cost the others their
    file."""
    try:
        for array in signal.arrays.values():
            for _ in array.blocks() if array.shape else (array[...],):
                pass
    except UNREADABLE as error:
        log.error("%s/%s: is not in the file: %s", signal.device, signal.name, error)
        return False
    return True


def _add_file_references(collection: Group, record: ScanRecord, out: AnyPath) -> None:
    """Links to files that devices wrote. BEC leaves those out that are not there; here their
    group stays, empty, with the path that was announced. Names that cannot all be links are JSON.
    """
    group = collection.group("file_references", NX_class="NXcollection")
    for name, reference in record.file_references.items():
        if name == "master" or reference.is_master_file:
            continue
        announced = reference.file_path
        if not _is_file(announced):
            group.put(name, Group({"file_path": announced[:_LONGEST_PATH], "found": False}))
            continue
        file = _relative(Path(announced), out.parent) if isinstance(out, Path) else announced
        wanted = reference.hinted_h5_entries or {"data": "/"}
        if collide(wanted) or not fits_groups(wanted):
            group.put(name, describe_group(wanted))
            continue
        links = Group()
        for link, target in wanted.items():
            links.put(link, ExternalLink(file, target[:_LONGEST_PATH] or "/"))
        group.put(name, links)


def _relative(file: Path, folder: Path) -> str:
    """From the folder to the file, by whatever links the one or the other was named."""
    return os.path.relpath(file.parent.resolve() / file.name, folder.resolve())


def _is_file(path: str) -> bool:
    """Whether there is a file to link to: nothing that would be waited for, like a pipe."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _state_table(history: list[BeamlineState]) -> Table:
    times = [np.nan if state.timestamp is None else state.timestamp for state in history]
    columns = {
        "label": _texts(state.label for state in history),
        "status": _texts(state.status for state in history),
        "timestamp": np.array(times),
    }
    return Table(columns, {"NX_class": "NXcollection"})


def _add_account(entry: Group, scan: Scan, record: ScanRecord, folder: AnyPath | None) -> None:
    """`/entry/zwriter`: what is known of the data's completeness, as tables that any viewer shows.

    `ledger` has one row a signal; `expected` is -1 where nobody said how many updates there are.
    `missing` has the first and last number of updates that never came, inclusive. `unreadable` is
    there if control messages could not be read.
    """
    group = entry.group("zwriter", NX_class="NXcollection", version=__version__)
    group.put("verdict", describe(scan.verdict and str(scan.verdict)))
    path = str(scan.path)
    store = Dataset(os.path.relpath(path, str(folder)) if folder else path)
    if is_url(path):
        store.attrs["url"] = path
    group.put("store", store)
    if record.unreadable:
        group.put("unreadable", Dataset(_texts(record.unreadable)))
    ledgers = [(d, s, signal.ledger) for d, of in scan.devices.items() for s, signal in of.items()]
    counts = {
        "expected": [-1 if entry.expected is None else entry.expected for *_, entry in ledgers],
        **{name: [getattr(entry, name) for *_, entry in ledgers] for name in _COUNTS},
    }
    group.put("ledger", _table_of_signals([(d, s) for d, s, _ in ledgers], counts))
    gaps = [(d, s, gap) for d, s, ledger in ledgers for gap in ledger.missing_ranges]
    bounds = {"first": [gap[0] for *_, gap in gaps], "last": [gap[1] for *_, gap in gaps]}
    group.put("missing", _table_of_signals([(d, s) for d, s, _ in gaps], bounds))


_COUNTS = (
    *("received", "written", "missing", "short", "cut", "promoted", "quarantined"),
    *("repeated", "restarts", "unlisted"),
)


def _table_of_signals(names: list[tuple[str, str]], numbers: dict[str, list[int]]) -> Table:
    columns = {
        "device": _texts(device for device, _ in names),
        "signal": _texts(signal for _, signal in names),
    }
    return Table(columns | {key: np.array(values, np.int64) for key, values in numbers.items()})


def _texts(values: Iterable[str]) -> NDArray[Any]:
    return np.array(list(values), np.dtypes.StringDType())
