"""What must be true of a finished scan, whatever was done to its writer.

Every update that was acknowledged is in the store once and at its place, or its number is in the
ledger; `verify` says the same; the master file holds what the store holds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np

from tests.soak.load import Load, Pushed
from zwriter import open_scan, verify
from zwriter.model import Add, AddSlice, Verdict
from zwriter.reader import Scan, Signal
from zwriter.sim.devices import Device, Push


@dataclass
class Finding:
    """Counts of updates (one a signal), and what is not as promised."""

    acknowledged: int = 0
    stored: int = 0
    missing: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)


def judge(store: Path, load: Load, lossy: bool) -> Finding:
    """Look at a finished scan. lossy: Redis was made to lose what it had acknowledged."""
    finding = Finding()
    scan = open_scan(store)
    pushed = Pushed.read(Path(load.log))
    for device in load.devices.values():
        for signal, runs in _numbered(device, load, pushed).items():
            name = f"{device.name}/{signal}"
            try:
                _judge_signal(scan, device, load, signal, runs, lossy, finding)
            except AssertionError as error:
                text = " ".join(str(error).split())
                finding.problems.append(f"{name}: {text[:300]}")
            except Exception as error:  # noqa: BLE001 - what cannot be read is a finding
                finding.problems.append(f"{name}: {error!r}"[:400])
    finding.problems += _points(scan, pushed, lossy)
    finding.problems += _verdict(scan, finding, store)
    return finding


@dataclass
class _Run:
    """The pushes of one signal by one run of the load, in order: their place is their number."""

    pushes: list[int]
    doubtful: list[int]  # begun and never acknowledged: there or not


def _numbered(device: Device, load: Load, pushed: Pushed) -> dict[str, list[_Run]]:
    found: dict[str, list[_Run]] = {}
    for number, (begun, done) in enumerate(zip(pushed.begun, pushed.acknowledged, strict=True)):
        for n in begun.get(device.name, []):
            for signal in device.push(n, load.start).readings:
                runs = found.setdefault(signal, [_Run([], []) for _ in pushed.begun])
                runs[number].pushes.append(n)
                if n not in done.get(device.name, ()):
                    runs[number].doubtful.append(n)
    return found


def _judge_signal(
    scan: Scan,
    device: Device,
    load: Load,
    name: str,
    runs: list[_Run],
    lossy: bool,
    finding: Finding,
) -> None:
    doubtful = [n for run in runs for n in run.doubtful]
    sent = [n for run in runs for n in run.pushes]
    finding.acknowledged += len(sent) - len(doubtful)
    assert name in scan.devices.get(device.name, {}), "is not there at all"
    signal = scan.devices[device.name][name]
    ledger = signal.ledger
    finding.repeated += ledger.repeated
    finding.missing += ledger.missing
    finding.stored += ledger.written
    assert not ledger.failed, ledger.failed
    assert not ledger.quarantined, f"{ledger.quarantined} quarantined"
    gaps = {n for first, last in ledger.missing_ranges for n in range(first, last + 1)}
    if not lossy:
        assert not ledger.missing, f"missing {ledger.missing_ranges} of {ledger.expected}"
    assert not (gaps and len(runs) > 1), "gaps and restarts in one scan: this campaign does not"
    for present in _choices(doubtful):
        left_out = set(doubtful) - set(present)
        order = [None if i in gaps else n for i, n in enumerate(sent) if n not in left_out]
        written = sum(n is not None for n in order)
        try:  # of values that were replaced, the ledger alone says whether one was there
            assert ledger.written == written, f"written {ledger.written}, there are {written}"
            _compare(
                signal, [None if n is None else device.push(n, load.start) for n in order], name
            )
        except AssertionError:
            if len(present) == len(doubtful):
                raise
            continue
        assert ledger.missing == len(order) - written, f"missing says {ledger.missing}"
        return


def _choices(doubtful: list[int]) -> Iterator[tuple[int, ...]]:
    for size in range(len(doubtful) + 1):
        yield from itertools.combinations(doubtful, size)


def _compare(signal: Signal, pushes: list[Push | None], name: str) -> None:
    """`pushes` is what must be there, in order; None: room for what is known to be missing."""
    while pushes and pushes[-1] is None:
        pushes = pushes[:-1]  # nothing came behind it, so no room was left
    there = [push for push in pushes if push is not None]
    if not there:
        assert "value" not in signal.arrays, "has values, all of which should be missing"
        return
    values = [np.asarray(push.readings[name]["value"]) for push in there]
    stamps = [np.atleast_1d(push.readings[name]["timestamp"]) for push in there]
    mode = there[0].mode
    if not isinstance(mode, Add | AddSlice):
        np.testing.assert_array_equal(signal.value[...], values[-1], strict=True)
        return
    _compare_times(signal, pushes, stamps)
    each, no_times = iter(values), _fill(values[0])
    match mode:
        case Add(max_shape=(None, None)):
            rows = [no_times[:0] if push is None else next(each) for push in pushes]
            _compare_rows(signal, rows)
        case Add(max_shape=(None, *row)):
            blocks = [no_times if push is None else next(each) for push in pushes]
            wanted = np.concatenate([block.reshape(-1, *row) for block in blocks])
            np.testing.assert_array_equal(signal.value[...], wanted, strict=True)
        case AddSlice(max_shape=(_, width)):
            pieces: dict[int, list[np.ndarray]] = {}
            for push, value in zip(there, values, strict=True):
                assert isinstance(push.mode, AddSlice)
                pieces.setdefault(push.mode.index, []).append(value)
            nothing = [values[0][:0]]
            rows = [np.concatenate(pieces.get(i, nothing)) for i in range(max(pieces) + 1)]
            _compare_rows(signal, rows)
            assert width is None or signal.value.shape[1] == width


def _fill(value: np.ndarray) -> np.ndarray:
    return np.full_like(value, np.nan if value.dtype.kind == "f" else 0)


def _compare_times(signal: Signal, pushes: list[Push | None], stamps: list[np.ndarray]) -> None:
    each = iter(stamps)
    wanted = [np.full(len(stamps[0]), np.nan) if push is None else next(each) for push in pushes]
    assert signal.timestamp is not None
    np.testing.assert_array_equal(np.ravel(signal.timestamp[...]), np.concatenate(wanted))


def _compare_rows(signal: Signal, wanted: list[np.ndarray]) -> None:
    lengths = [len(row) for row in signal.rows]
    assert lengths == [len(row) for row in wanted], f"lengths {lengths[:20]}.. {len(lengths)} rows"
    for i, (row, other) in enumerate(zip(signal.rows, wanted, strict=True)):
        np.testing.assert_array_equal(row, other, f"row {i}", strict=True)


def _points(scan: Scan, pushed: Pushed, lossy: bool) -> list[str]:
    lost = pushed.points - set(scan.record.points)
    if lost and not lossy:
        return [f"points {sorted(lost)[:10]} of {len(pushed.points)} are not there"]
    return []


def _verdict(scan: Scan, finding: Finding, store: Path) -> list[str]:
    """`verify` and the verdict say what the ledgers say."""
    problems = []
    report = verify(store)
    problems += [f"verify: {problem}" for problem in report.problems]
    complete = scan.verdict is Verdict.COMPLETE
    if complete and finding.missing:
        problems.append(f"COMPLETE, with {finding.missing} updates missing")
    if complete != (report.exit_code == 0):
        problems.append(f"verdict {scan.verdict}, verify says {report.exit_code} {report.gaps}")
    named = " ".join(report.gaps)
    for device, signals in scan.devices.items():
        for name, signal in signals.items():
            if signal.ledger.missing and f"{device}/{name}: " not in named:
                problems.append(f"{device}/{name}: verify does not name its gaps")
    return problems


def judge_master(store: Path, master: Path) -> list[str]:
    """The master file is undamaged and holds what the store holds, value by value."""
    report = verify(master)
    problems = [f"{master.name}: verify: {problem}" for problem in report.problems]
    with h5py.File(master, locking=False) as file:
        for device, signals in open_scan(store).devices.items():
            for name, signal in signals.items():
                if signal.layout == "points" or "value" not in signal.arrays:
                    continue
                group = file[f"entry/collection/devices/{device}/{name}"]
                try:
                    _compare_group(group, signal)
                except AssertionError as error:
                    text = " ".join(str(error).split())
                    problems.append(f"{master.name}: {device}/{name}: {text[:300]}")
    return problems


def _compare_group(group: h5py.Group, signal: Signal) -> None:
    if signal.layout in ("ragged", "pieces"):
        for mine, stored in zip(group["value"][()], signal.rows, strict=True):
            np.testing.assert_array_equal(mine, stored)
        return
    for key, array in signal.arrays.items():
        np.testing.assert_array_equal(group[key][()], np.asarray(array), key, strict=True)
