"""An HDF5 master file: every link, every source, every value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the Blosc filter)

from zwriter.errors import StoreError, UsageError
from zwriter.model import Verdict
from zwriter.objects import AnyPath, ObjectPath, download, is_url, place
from zwriter.reader.gaps import gaps_of_signal
from zwriter.reader.lazy import BLOCK_BYTES
from zwriter.reader.location import Location
from zwriter.reader.scan import root_attributes
from zwriter.reader.verify.report import Report
from zwriter.reader.verify.sources import Source, object_problems, sources_of
from zwriter.store.layout import own_attributes

ACCOUNT = "entry/zwriter"  # what only our files have
VERDICT = f"{ACCOUNT}/verdict"
LEDGER = f"{ACCOUNT}/ledger"
STORE = f"{ACCOUNT}/store"
DEVICES = "/entry/collection/devices/"
ROWS_AT_ONCE = 256
READOUT_GROUPS = "/entry/collection/readout_groups/"


def is_ours(path: AnyPath) -> bool | None:
    """Whether an HDF5 file is a master file of zwriter; None if it is damaged, or no HDF5 file.
    Raises OSError if it cannot be opened."""
    with path.open("rb") as there:
        try:
            with h5py.File(there, "r") as file:
                return ACCOUNT in file
        except Exception:  # noqa: BLE001 - what is damaged can be anything
            return None


def verify_master(path: AnyPath, storage_options: Mapping[str, Any] | None = None) -> Report:
    """Check a master file and all that it points to; of arrays that it points to in a bucket, that
    they are there. storage_options: of that bucket, for a file on a disk."""
    if isinstance(path, Path):
        return _verified(path, path, storage_options)
    with TemporaryDirectory(prefix="zwriter-") as folder:
        here = Path(folder, path.name)
        download(path, here)
        return _verified(here, path, None)


def _verified(here: Path, path: AnyPath, options: Mapping[str, Any] | None) -> Report:
    """here: where the file can be opened; path: where it lies."""
    report = Report(str(path))
    try:
        with h5py.File(here, "r", locking=False) as file:
            if ACCOUNT not in file:
                report.problems.append(f"{path} is no master file of zwriter: no /{ACCOUNT} in it")
                return report
            report.verdict = _verdict(file)
            report.gaps += [f"{path}: {gap}" for gap in _gaps(file)]
            folder = _folder_of_links(file, path.parent, options)
            for problem in (
                *_problems(file, folder, report),
                *_store_problems(file, folder, report.verdict),
                *_name_problems(file, path),
            ):
                report.problems.append(f"{path}: {problem}")
    except (OSError, RuntimeError) as error:
        report.problems.append(f"{path} cannot be read: {error}")
    except Exception as error:  # noqa: BLE001 - what is damaged can be anything
        report.problems.append(f"{path} is damaged: {type(error).__name__}: {error}")
    if report.verdict is not Verdict.COMPLETE:
        report.gaps.append(f"{path}: {report.verdict or 'it does not tell whether it is complete'}")
    return report


def _folder_of_links(
    file: h5py.File, folder: AnyPath, options: Mapping[str, Any] | None
) -> AnyPath:
    """What links lead from: the folder of the file, or, as long as the store is not there, the one
    in the bucket that the store is in."""
    store = _store(file)
    url = file[STORE].attrs.get("url", "") if store else ""
    in_bucket = isinstance(folder, ObjectPath)
    if in_bucket or not url.endswith(f"/{store}") or (folder / str(store)).is_dir():
        return folder
    return place(url.removesuffix(f"/{store}"), options)


def _verdict(file: h5py.File) -> Verdict | None:
    try:
        return Verdict(file[VERDICT].asstr()[()])
    except (KeyError, ValueError):
        return None


def _gaps(file: h5py.File) -> Iterator[str]:
    if LEDGER not in file:
        return
    table = file[LEDGER][()]
    for row in table:
        known = dict(zip(table.dtype.names, row, strict=True))
        label = f"{known['device'].decode()}/{known['signal'].decode()}"
        yield from gaps_of_signal(label, known)


def _store(file: h5py.File) -> str | None:
    """The store that the file was written from, as it names it."""
    try:
        name: str = file[STORE].asstr()[()]
    except (KeyError, TypeError):
        return None
    return name


def _store_problems(file: h5py.File, folder: AnyPath, verdict: Verdict | None) -> Iterator[str]:
    """The store, if it is still there, is of the same scan, and ended in the same way."""
    store = _store(file)
    if store is None or is_url(store):
        return
    path = folder / store if not store.startswith("/") else Path(store)
    if not path.is_dir():
        return
    try:
        own = root_attributes(Location(path))
        scan_id = file["entry/entry_identifier_uuid"].asstr()[()]
    except (StoreError, UsageError, KeyError, TypeError) as error:
        yield f"cannot be compared with {store}: {error}"
        return
    if own.get("scan_id") != scan_id:
        yield f"{store} is of another scan, {own.get('scan_id')} instead of {scan_id}"
    elif own.get("verdict") != verdict:
        yield f"it says {verdict}, {store} says {own.get('verdict')}: write it again"


def _name_problems(file: h5py.File, path: AnyPath) -> Iterator[str]:
    """In the place of a store's master file is that of the same scan."""
    store = path.with_name(f"{path.name.rpartition('_master')[0]}.zarr")
    own = own_attributes(store)
    if store.name == _store(file) or not own.get("finished"):
        return
    scan_id = file["entry/entry_identifier_uuid"].asstr()[()]
    if own.get("scan_id") != scan_id:
        yield f"is of another scan, {scan_id}, than {store}, {own.get('scan_id')}"


def _problems(group: h5py.Group, folder: AnyPath, report: Report) -> Iterator[str]:
    for name in group:
        link = group.get(name, getlink=True)
        where = f"{group.name.rstrip('/')}/{name}"
        if isinstance(link, h5py.ExternalLink):
            yield from _target_problems(where, link.filename, _store(group.file))
            if isinstance(folder, ObjectPath) and where.startswith(DEVICES):
                source = Source(where, link.filename, link.path, None)
                yield from object_problems(folder, [source])
                continue
        try:
            node = group[name]
        except (KeyError, OSError) as error:
            if isinstance(link, h5py.SoftLink) and _may_dangle(group, where, link, folder):
                continue
            target = link.filename if isinstance(link, h5py.ExternalLink) else "its target"
            yield f"{where}: {target} cannot be opened: {error}"
            continue
        if isinstance(link, h5py.SoftLink):
            continue  # what it points to is visited at its own place
        if isinstance(node, h5py.Group) and isinstance(link, h5py.HardLink):
            yield from _problems(node, folder, report)
        elif isinstance(node, h5py.Dataset):
            yield from (
                f"{where}: {problem}" for problem in _dataset_problems(node, folder, report)
            )
            if node.is_virtual:
                for source in sources_of(node):
                    yield from _target_problems(where, source.file, _store(group.file))


def _may_dangle(group: h5py.Group, where: str, link: h5py.SoftLink, folder: AnyPath) -> bool:
    """As in BEC's file: a device that should have been read, and was not. And what is in a bucket
    cannot be opened."""
    if where.startswith(READOUT_GROUPS):
        return True
    target = group.get(link.path, getlink=True)
    return isinstance(folder, ObjectPath) and isinstance(target, h5py.ExternalLink)


def _target_problems(where: str, target: str, store: str | None) -> Iterator[str]:
    """Arrays of devices have the same place in the store as in the file."""
    if store and where.startswith(DEVICES) and not target.startswith(f"{store}{where}/"):
        yield f"{where}: refers to {target}, which is another array's"


def _dataset_problems(dataset: h5py.Dataset, folder: AnyPath, report: Report) -> Iterator[str]:
    if dataset.is_virtual and isinstance(folder, ObjectPath):
        yield from object_problems(folder, list(sources_of(dataset)))
        return
    if dataset.is_virtual and isinstance(folder, Path):
        yield from _source_problems(dataset, folder)
    for name, _, size in dataset.external or ():
        if not Path(name).exists() or Path(name).stat().st_size < size:
            yield f"{name} is missing or too short; HDF5 reads zeros there"
    try:
        report.chunks += dataset.id.get_num_chunks() if dataset.chunks else 1
        report.bytes += dataset.nbytes
        _read(dataset)
    except (OSError, RuntimeError, ValueError) as error:
        yield f"cannot be read: {error}"


def _source_problems(dataset: h5py.Dataset, folder: Path) -> Iterator[str]:
    """What HDF5 hides: it reads fill values where a source of a virtual dataset is missing."""
    for source in sources_of(dataset):
        try:
            with h5py.File(folder / source.file, "r", locking=False) as file:
                there = file[source.dataset].shape
                if there != source.shape:
                    yield f"{source.file} has shape {there} instead of {source.shape}"
        except (OSError, KeyError) as error:
            yield f"its source {source.file} cannot be opened: {error}"


def _read(dataset: h5py.Dataset) -> None:
    if dataset.shape is None or not dataset.shape:
        dataset[()]
        return
    row = max(1, dataset.nbytes // max(1, len(dataset)))
    chunk = dataset.chunks[0] if dataset.chunks else 1
    step = chunk * max(1, BLOCK_BYTES // (row * chunk))
    if h5py.check_vlen_dtype(dataset.dtype):
        step = ROWS_AT_ONCE  # nobody knows how long each is
    for start in range(0, len(dataset), step):
        dataset[start : start + step]
