"""A scan whose writer is dead gets its end, and its master file, without it."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from uuid import uuid4

from zwriter.errors import BeingWritten, StoreError, UsageError
from zwriter.master import check_mode, write_master
from zwriter.model import ScanState, Verdict
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.service.paths import ScanPaths
from zwriter.service.roots import register_of, root_of
from zwriter.settings import Settings
from zwriter.ship import Shipment, bucket_has_some
from zwriter.store.epochs import claimed_id, living_writer
from zwriter.store.layout import own_attributes, side_folder

_PATIENCE = 5.0  # seconds, with an object store that answers no request
REASON = (
    "its writer died before the scan was finished: it has what was committed, not what was lost"
    " with the writer or is still in Redis"
)


def finalize(path: str | AnyPath, settings: Settings) -> tuple[Verdict, AnyPath]:
    """Finish the scan in a store, a `<base>.zarr`, and write its master file; its verdict, and
    where the file is. Can be repeated, whatever happened to the attempt before.

    A scan that was not finished goes back to its commits; one for a bucket to what is in the spool,
    if this machine began it, else to what is in the bucket. Redis is not read: nobody knows what
    else there was, so the scan is never COMPLETE, and ABORTED if its end was not heard. Of a
    finished scan only the master file is written, in place of one that is there.

    Raises BeingWritten while a writer that is alive has the scan, UsageError if there is none or
    there can be no such master file, StoreError if it is damaged or the disk refuses, ServiceError
    if the object store does.
    """
    store = place(path, dict(settings.storage)) if isinstance(path, str) else path
    check_mode(store, settings.master.mode)
    try:
        if isinstance(store, ObjectPath):
            _finish_in_bucket(store, settings)
        else:
            _finish_on_disk(store, settings)
        scan = open_scan(store)
        master = ScanPaths.of_store(store, scan.record.status_message, settings).master
        write_master(store, master, settings=settings.master)
    except OSError as error:
        raise StoreError(
            f"{store} cannot be finalized: {error}; do it again when it can"
        ) from error
    assert scan.verdict is not None
    return scan.verdict, master


def _finish_on_disk(store: Path, settings: Settings) -> None:
    side = side_folder(store)
    if not store.is_dir() and not side.is_dir():
        raise UsageError(f"{store}: no such scan store; give the path of a <base>.zarr folder")
    _refuse_living(store, living_writer(side))
    if url := bucket_has_some(store):
        raise UsageError(f"{store} is what the spool has of {url}: finalize that")
    if side.exists() or not open_scan(store).finished:
        _finish(store, _known_id(store), settings, None)


def _finish_in_bucket(store: ObjectPath, settings: Settings) -> None:
    spool = settings.spool.model_copy(update={"limit": sys.maxsize})  # it is to become less
    shipment = Shipment(store, spool, interval=1.0, patience=_PATIENCE)  # somebody waits
    there = own_attributes(store)
    if shipment.spool.id is None and not there:
        raise UsageError(f"{store}: no such scan store; give the URL of a <base>.zarr")
    if shipment.is_finished():
        shipment.clear_beside()
        scan_id = there["scan_id"]
    else:
        _refuse_living(store, shipment.living_writer())
        known = _known_id(shipment.path) or there.get("scan_id")
        scan_id = _finish(store, known, settings, shipment)
    root = root_of(settings)
    if isinstance(root, ObjectPath) and str(store).startswith(f"{root}/"):
        register_of(root, scan_id).delete()


def _refuse_living(store: AnyPath, writer: str | None) -> None:
    if writer:
        raise BeingWritten(f"{store} is being written by {writer}: let it finish, or end it first")


def _finish(
    store: AnyPath, scan_id: str | None, settings: Settings, shipment: Shipment | None
) -> str:
    """The scan's id; scan_id: as far as it is known before. If it is not, that is of the journal,
    or there was none yet."""
    writer = ScanWriter(
        store,
        scan_id=scan_id or str(uuid4()),
        settings=settings.store,
        master=None,
        patience=_Impatience(),
        shipment=shipment,
    )
    with closing(writer):
        if not writer.finished:
            writer.give_up(REASON)
        writer.finish(writer.record.status or ScanState.ABORTED)
        return writer.record.scan_id or ""


def _known_id(store: Path) -> str | None:
    scan_id: str | None = own_attributes(store).get("scan_id")
    return scan_id or claimed_id(side_folder(store))


class _Impatience:
    """Somebody waits: what the disk refuses is told at once."""

    def refused(self, error: OSError) -> None:
        raise error

    def accepted(self) -> None:
        """Never comes about."""
