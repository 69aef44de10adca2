"""The root of all scans, on a disk or in a bucket, and the scans there that are not finished."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from socket import gethostname
from urllib.parse import urlsplit

from zwriter.errors import ServiceError
from zwriter.objects import AnyPath, ObjectPath, is_url, place
from zwriter.protocol import safe_name, safe_url
from zwriter.settings import Settings, SpoolSettings, StorageSettings
from zwriter.ship import Spool
from zwriter.store.disk import walk
from zwriter.store.epochs import living_writer
from zwriter.store.layout import FED_BY, own_attributes, read_file, side_folder

log = logging.getLogger(__name__)

_LONGEST_URL = 2048
_OPEN = ".zwriter/open"  # in the root, if that is in a bucket: an object for each scan that is open


def root_of(settings: Settings) -> AnyPath:
    """Where scans go. Raises UsageError if that cannot be used."""
    root = str(settings.root)
    return _in_bucket(root, settings.storage) if is_url(root) else Path(root).resolve()


@lru_cache(16)
def _in_bucket(root: str, storage: StorageSettings) -> AnyPath:
    return place(root, dict(storage))


def redis_name(url: str) -> str:
    """What tells a Redis from all others: one on this machine is not another machine's."""
    local = urlsplit(url).hostname in (None, "localhost", "127.0.0.1", "::1")
    return f"{safe_url(url)} on {gethostname()}" if local else safe_url(url)


def mark_as_fed(store: Path, redis: str) -> None:
    """Note that a service feeds this store from Redis. A program may write one without, and
    nobody but the program knows when that ends."""
    (side_folder(store) / FED_BY).write_text(f"{redis}\n")


def fed_from(store: AnyPath) -> str | None:
    """The Redis that a service feeds an unfinished store from; None if none does."""
    try:
        return read_file(side_folder(store) / FED_BY).decode().strip()
    except (FileNotFoundError, ValueError):
        return None


def id_name(scan_id: str) -> str:
    """The scan_id, or a digest of it where it is no good name for a file."""
    if len(scan_id) <= 64 and scan_id.isascii() and scan_id.replace("-", "").isalnum():
        return scan_id
    return hashlib.sha256(scan_id.encode()).hexdigest()[:32]


def register_of(root: ObjectPath, scan_id: str) -> ObjectPath:
    """The object that says that a scan is open: a listing of all scans would take too long."""
    return root / _OPEN / id_name(scan_id)


def find_unfinished(
    root: AnyPath, spool: SpoolSettings, redis: str, is_known: Callable[[str], bool]
) -> Iterator[AnyPath]:
    """The stores below the root that were fed by a service and are not finished: of the same Redis,
    or, on this machine, of one of another name if their writer is dead, and ours knows the scan.

    What was left of cleaning up behind a finished one is removed.
    """
    if isinstance(root, ObjectPath):
        yield from _unfinished_in_bucket(root, spool, redis, is_known)
    else:
        yield from _unfinished_on_disk(root, redis, is_known)


def _stores(root: Path, *of: str) -> Iterator[Path]:
    """The stores below a folder; of: suffixes of folders, one of which each has. No store is looked
    into."""
    for folder, names, _ in walk(root, _cannot_look):
        for stem in sorted({Path(name).stem for name in names if name.endswith(of)}):
            yield folder / f"{stem}.zarr"
        names[:] = [name for name in names if not name.endswith((".zarr", ".zwriter"))]


def _cannot_look(error: OSError) -> None:
    log.error("%s: scans that may be there are not found: %s", error.filename, error.strerror)


def spooled(root: ObjectPath, spool: SpoolSettings) -> Iterator[tuple[Path, ObjectPath]]:
    """The stores that this machine's spool has of a root, and where each is to go; also those of
    which something was removed already."""
    top = Spool(spool, root).store
    for store in _stores(top, ".zarr", ".zwriter"):
        yield store, root / store.relative_to(top).as_posix()


def _unfinished_on_disk(root: Path, redis: str, is_known: Callable[[str], bool]) -> Iterator[Path]:
    for store in _stores(root, ".zwriter"):
        side = side_folder(store)
        try:
            if (side / FED_BY).exists():
                if _is_left_to(redis, store, is_known):
                    yield store
            elif own_attributes(store).get("finished") and not living_writer(side):
                log.info("%s: what was left of it is removed, its scan is finished", side)
                shutil.rmtree(side, ignore_errors=True)
        except OSError as error:
            log.error("%s: cannot be looked into, and is left as it is: %s", side, error)


def _is_left_to(redis: str, store: Path, is_known: Callable[[str], bool]) -> bool:
    """Whether the service of a Redis goes on with a store that this machine has."""
    feeder = fed_from(store)
    if feeder == redis:
        return True
    if writer := living_writer(side_folder(store)):
        log.info("%s: is fed from %s, and left to %s", store, feeder, writer)
        return False
    own = own_attributes(store)
    if own.get("finished") or is_known(own.get("scan_id", "")):
        return True
    log.warning(
        "%s: was fed from %s, and our Redis does not know the scan; a service there goes on with"
        " it, `zwriter recover` ends it",
        store,
        feeder,
    )
    return False


def _unfinished_in_bucket(
    root: ObjectPath, spool: SpoolSettings, redis: str, is_known: Callable[[str], bool]
) -> Iterator[ObjectPath]:
    """Those in the spool of this machine, and those that any machine has registered."""
    found = set()
    for store, target in spooled(root, spool):
        try:
            if (side_folder(store) / FED_BY).exists():
                found.add(str(target))
                if _is_left_to(redis, store, is_known):
                    yield target
        except OSError as error:
            log.error("%s: cannot be looked into, and is left as it is: %s", store, error)
    try:
        for url, nbytes in (root / _OPEN).sizes().items():
            store_there = _registered(root, url.rpartition("/")[2], nbytes)
            if store_there is None or str(store_there) in found:
                continue
            feeder = fed_from(store_there)
            finished = feeder is None and own_attributes(store_there).get("finished")
            if feeder == redis or finished:  # perhaps but for its master file
                yield store_there
            else:
                log.info("%s: is fed from %s, and left to the service there", store_there, feeder)
    except ServiceError as error:
        log.warning("%s: scans that other machines have begun are not found: %s", root, error)


def _registered(root: ObjectPath, name: str, nbytes: int) -> ObjectPath | None:
    """The store that an object in the register says; None for what is no store below the root."""
    try:
        if nbytes > _LONGEST_URL:
            raise ValueError(f"{nbytes} bytes are no URL")
        url = (root / _OPEN / name).read_bytes().decode()
    except FileNotFoundError:
        return None  # its scan is finished now
    except (OSError, ValueError) as error:
        log.warning("%s/%s: cannot be read: %s", root / _OPEN, name, error)
        return None
    inside = url.removeprefix(f"{root}/")
    if inside == url or not url.endswith(".zarr") or not all(map(safe_name, inside.split("/"))):
        log.warning("%s/%s: names no store below the root: %.200r", root / _OPEN, name, url)
        return None
    return root / inside
