"""The default plot: a detector against the scan's motor, so that viewers open the file on it.

BEC's `/entry/data` has the motor itself as its signal; it stays as it is, and is the default when
there is nothing better.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from zwriter.master.layouts.metadata import motors, readout_priority
from zwriter.master.tree import Attributes, Dataset, Group, Node, SoftLink, StoredArray
from zwriter.store.record import ScanRecord

DEVICES = "/entry/collection/devices"


def add_default_plot(root: Group, record: ScanRecord) -> None:
    """Add `/entry/data` as BEC has it, `/entry/plot` if there is a detector, and the default."""
    entry = root.group("entry")
    moved = motors(record)
    data = entry.group("data", NX_class="NXdata")
    if moved:
        data.attrs["signal"] = moved[0]
        shown = [moved[0], *(m for m in moved[1:] if _same_shape(root, moved[0], m))]
        if shown[1:]:
            data.attrs["auxiliary_signals"] = shown[1:]
        for motor in shown:
            if _values(root, motor, motor) is not None:
                _link(data, motor, root, f"{DEVICES}/{motor}/{motor}/value")
    if data.children:
        entry.attrs["default"] = "data"
    for path, signal in sorted(_detectors(root, record, moved), key=_says_nothing):
        if _add_plot(root, moved, path, signal):
            entry.attrs["default"] = "plot"
            return


def _detectors(root: Group, record: ScanRecord, moved: list[str]) -> Iterator[tuple[str, Node]]:
    """Candidates, best first: what is monitored besides the motors, then what was pushed, then
    what nobody has named: a program that writes without BEC need not."""
    priority = readout_priority(record)
    named = [*priority.get("monitored", ()), *priority.get("async", ())]
    devices = root.find(DEVICES)
    others = sorted(devices.children.keys() - {*named}) if isinstance(devices, Group) else []
    for device in [*named, *others]:
        signals = root.find(f"{DEVICES}/{device}")
        if device in moved or not isinstance(signals, Group):
            continue
        # the sort is stable: a device's main signal first, the others as they are
        for name in sorted(signals.children, key=lambda name: name != device):
            path = f"{DEVICES}/{device}/{name}/value"
            node = root.find(path)
            if node is not None:
                yield path, node


def _says_nothing(candidate: tuple[str, Node]) -> bool:
    """Whether a signal is the same at each point, as a motor is that stands still."""
    node = candidate[1]
    if not isinstance(node, Dataset) or isinstance(node.data, str) or not node.data.size:
        return False
    return bool((node.data == node.data.flat[0]).all())


def _add_plot(root: Group, moved: list[str], path: str, signal: Node) -> bool:
    """Make the NXdata group for a detector's values; False if they cannot be plotted."""
    shape = _shape(signal)
    if not shape or 0 in shape:
        return False
    device, name = path.split("/")[-3:-1]
    label = name if device == name else f"{device}/{name}"
    coordinates = [m for m in moved if m != name and _shape(_values(root, m, m)) == shape[:1]]
    attrs: Attributes = {"NX_class": "NXdata", "signal": name}
    attrs["axes"] = [coordinates[0] if coordinates else ".", *("." for _ in shape[1:])]
    attrs |= {f"{motor}_indices": np.int64(0) for motor in coordinates}
    plot = root.group("entry").group("plot", **attrs)
    _link(plot, name, root, path)
    for motor in coordinates:
        _link(plot, motor, root, f"{DEVICES}/{motor}/{motor}/value")
    if "title" not in plot.children:  # a signal may be called so
        plot.put("title", Dataset(f"{label} against {coordinates[0]}" if coordinates else label))
    return True


def _link(group: Group, name: str, root: Group, target: str) -> None:
    group.put(name, SoftLink(target))
    node = root.find(target)
    if isinstance(node, Dataset):
        node.attrs["target"] = target


def _values(root: Group, device: str, signal: str) -> Node | None:
    return root.find(f"{DEVICES}/{device}/{signal}/value")


def _same_shape(root: Group, first: str, second: str) -> bool:
    shapes = [_shape(_values(root, device, device)) for device in (first, second)]
    return shapes[0] is not None and shapes[0] == shapes[1]


def _shape(node: Node | None) -> tuple[int, ...] | None:
    """The shape of a dataset of numbers, None for anything else."""
    if isinstance(node, Dataset) and not isinstance(node.data, str):
        return node.data.shape if node.data.dtype.kind in "biuf" else None
    if isinstance(node, StoredArray):
        return node.array.shape if node.array.dtype.kind in "biuf" else None
    return None
