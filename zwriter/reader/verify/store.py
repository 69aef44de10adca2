"""A scan store: documents, commits, every chunk, journal and quarantine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.model import Verdict
from zwriter.objects import AnyPath, contents, each
from zwriter.reader.arrays import open_array
from zwriter.reader.commits import ArrayCommit, parse_commit
from zwriter.reader.devices import Device
from zwriter.reader.journal import JOURNAL, stored_payloads
from zwriter.reader.lazy import UNREADABLE, InStore, LazyArray
from zwriter.reader.location import Location
from zwriter.reader.quarantine import QUARANTINE
from zwriter.reader.scan import Scan
from zwriter.reader.signals import Signal
from zwriter.reader.verify.relations import relation_problems
from zwriter.reader.verify.report import Report
from zwriter.reader.verify.shards import ShardedArray, verify_shards
from zwriter.store.array_state import dtype_from_json
from zwriter.store.codecs import CRC_BYTES
from zwriter.store.commits import commit_of
from zwriter.store.layout import DEVICES
from zwriter.store.zarr_json import chunk_key, generation_of, stored_shape

LOOKS = 3


def verify_store(path: AnyPath) -> Report:
    """Check a store; of one that is being written, what is committed."""
    report = Report(str(path))
    try:
        location = Location(path)
        scan = Scan(location)
        for _ in range(LOOKS):  # what looks wrong may have changed while we looked
            report = _look(scan, location)
            if not report.problems or not scan.refresh():
                break
    except StoreError as error:
        report.problems.append(str(error))
    except OSError as error:
        report.problems.append(f"{path} cannot be read: {error}")
    except Exception as error:  # noqa: BLE001 - what is damaged can be anything
        report.problems.append(f"{path} is damaged: {type(error).__name__}: {error}")
    return report


def _look(scan: Scan, location: Location) -> Report:
    report = Report(str(scan.path), verdict=scan.verdict)
    if not scan.finished:
        report.gaps.append(f"{scan.path}: the scan is not finished")
    elif scan.verdict is not Verdict.COMPLETE:
        report.gaps.append(f"{scan.path}: the scan is {scan.verdict}")
    for name in scan.commits:
        if not scan.finished:  # then the copies are the truth, and what lies beside them is left
            report.problems += _commit_problems(scan, location, name)
    devices = scan.devices
    signals = [
        (devices[name], signal) for name in scan.commits for signal in scan.commits[name].signals
    ]
    for part in each(location.path, lambda item: _signal_report(scan, location, *item), signals):
        report.include(part)
    report.problems += [f"{scan.path}: {entry}" for entry in scan.record.unreadable]
    try:
        report.gaps += [f"{scan.path}: {gap}" for gap in scan.gaps()]
    except UNREADABLE as error:
        report.problems.append(str(error))
    if scan.finished:
        report.problems += _finished_problems(scan, location)
    return report


def _commit_problems(scan: Scan, location: Location, device: str) -> Iterator[str]:
    """The device's copy is the commit that counts, or one that it has just followed."""
    folder = location.beside / "commits" / device
    numbers = [name for name in contents(folder) if name.isdigit()]
    if not numbers:
        yield f"{folder}: the commits are missing"
        return
    latest = folder / max(numbers, key=int)
    try:
        truth = parse_commit(commit_of(latest.read_bytes()) or {}, str(latest))
    except StoreError as error:
        yield str(error)
        return
    copy = scan.commits[device]
    if copy.seq > truth.seq or (copy.seq == truth.seq and copy != truth):
        yield f"{location}/{DEVICES}/{device}/zarr.json: commit {copy.seq} is not that of {latest}"


def _signal_report(scan: Scan, location: Location, device: Device, name: str) -> Report:
    signal, commit = device[name], scan.commits[device.name].signals[name]
    where = f"{location}/{DEVICES}/{device.name}/{name}"
    report = Report(where)
    try:
        if commit.layout == "replace" and not scan.finished:
            report.chunks += len([np.asarray(array) for array in signal.arrays.values()])
            return report
        for array, committed in commit.arrays.items():
            _verify_array(scan, location, signal, array, committed, report)
        if not report.problems:
            report.problems += [f"{where}: {p}" for p in relation_problems(signal, commit)]
    except UNREADABLE as error:
        report.problems.append(str(error))
    return report


def _verify_array(
    scan: Scan,
    location: Location,
    signal: Signal,
    name: str,
    commit: ArrayCommit,
    report: Report,
) -> None:
    node = f"{DEVICES}/{signal.device}/{signal.name}/{name}"
    document = location.metadata(node)
    if document is None:
        report.problems.append(f"{location}/{node}: the array is missing")
        return
    if scan.finished:
        problems = list(_document_problems(document, commit))
        dtype = None if problems else signal.arrays[name].dtype
        if dtype not in (None, dtype_from_json(commit.dtype)):
            problems.append(f"dtype {dtype}, the commit has {dtype_from_json(commit.dtype)}")
        report.problems += [f"{location}/{node}/zarr.json: {problem}" for problem in problems]
        if problems:
            return
    if document["codecs"][0]["name"] != "sharding_indexed":
        report.bytes += np.asarray(signal.arrays[name]).nbytes
        report.chunks += 1
        if not _is_value_of(location.path / node, document, commit):
            report.problems.append(f"{location}/{node}: not the value that was committed")
        return
    chunk_rows = document["codecs"][0]["configuration"]["chunk_shape"][0]
    in_place = signal.layout == "slices" and name != "timestamp"
    lengths = _filled(scan, location, signal) if in_place else None

    def needed(chunk: int, is_sealed: bool) -> bool:
        """Rows of which nothing ever came need no chunk."""
        if lengths is None:
            return True
        return bool(np.any(lengths[is_sealed][chunk * chunk_rows : (chunk + 1) * chunk_rows]))

    folder = location.path / node
    verify_shards(ShardedArray(folder, document, commit, scan.finished, needed), report)
    if commit.in_shards is not None:
        for _ in signal.arrays[name].blocks(0 if in_place else commit.in_shards):
            pass  # what is in pieces is read


def _filled(
    scan: Scan, location: Location, signal: Signal
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How far rows are filled in place: in shards that grow, which lack what is in pieces, and in
    those that are sealed."""
    all_of_it = np.asarray(signal.arrays["length"])
    in_shards = scan.commits[signal.device].signals[signal.name].arrays["length"].in_shards
    if in_shards is None:
        return all_of_it, all_of_it
    node = f"{DEVICES}/{signal.device}/{signal.name}/length"
    return _stored(location, node, (in_shards,), holes=True)[...], all_of_it


def _stored(
    location: Location, node: str, *shape: tuple[int, ...], holes: bool = False
) -> LazyArray:
    return LazyArray(InStore(node, lambda: open_array(location, node, *shape, holes=holes)))


def _is_value_of(folder: AnyPath, document: dict[str, Any], commit: ArrayCommit) -> bool:
    """Whether a replaced array of a finished scan ends with the checksum in its commit."""
    if commit.crc is None:
        return True
    ndim = len(stored_shape(commit.shape, dtype_from_json(commit.dtype)))
    stored = (folder / chunk_key(generation_of(document), ndim, 0)).read_bytes()
    return stored[-CRC_BYTES:] == commit.crc.to_bytes(CRC_BYTES, "little")


def _document_problems(document: dict[str, Any], commit: ArrayCommit) -> Iterator[str]:
    if tuple(document["shape"]) != stored_shape(commit.shape, dtype_from_json(commit.dtype)):
        yield f"shape {document['shape']}, the commit has {list(commit.shape)}"
    if generation_of(document) != commit.generation % 3:
        yield f"generation {generation_of(document)}, the commit has {commit.generation % 3}"


def _finished_problems(scan: Scan, location: Location) -> Iterator[str]:
    """What finalizing adds: journal, quarantine, the arrays of sync data, consolidated metadata."""
    for node in (JOURNAL, QUARANTINE):
        try:
            if location.metadata(node) is None:
                yield f"{location}/{node} is missing"
                continue
            deque(stored_payloads(location, node), maxlen=0)
            _stored(location, f"{node}/offsets")[...]  # the one that is there when nothing else is
        except UNREADABLE as error:
            yield f"{location}/{node}: {error}"
    if scan.record.scan_id not in ("", scan.scan_id):
        yield f"{location}/{JOURNAL}: of another scan, {scan.record.scan_id}"
    for device, signals in scan.sync.items():
        for signal in signals.values():
            yield from _points_problems(location, f"{DEVICES}/{device}/{signal.name}", signal)
    root = location.metadata("") or {}
    consolidated = (root.get("consolidated_metadata") or {}).get("metadata")
    if consolidated is None:
        yield f"{location}/zarr.json: no consolidated metadata"
        return
    for node, known in consolidated.items():
        document = location.metadata(node)
        if document is None or _plain(document) != _plain(known):
            yield f"{location}/{node}/zarr.json: not what the consolidated metadata says"


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "consolidated_metadata"}


def _points_problems(location: Location, node: str, signal: Signal) -> Iterator[str]:
    """The arrays of sync data say what the journal says; readings without a shape have none."""
    if "offsets" in signal.arrays or signal.timestamp is None:
        return
    for name, expected in signal.arrays.items():
        try:
            stored = _stored(location, f"{node}/{name}")[...]
        except UNREADABLE as error:
            yield f"{location}/{node}/{name} cannot be read: {error}"
            continue
        if not _same(stored, np.asarray(expected)):
            yield f"{location}/{node}/{name}: not what the journal says"


def _same(stored: NDArray[Any], expected: NDArray[Any]) -> bool:
    if expected.dtype.kind == "V":  # NaN in a record is equal to nothing
        return stored.tobytes() == expected.tobytes()
    return np.array_equal(stored, expected, equal_nan=expected.dtype.kind in "fc")
