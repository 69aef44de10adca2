"""A scan whose writer is dead gets its end, and its master file, without it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from zwriter.errors import BeingWritten, StoreError, UsageError
from zwriter.master import write_master
from zwriter.model import Verdict
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.service.paths import ScanPaths
from zwriter.settings import Settings, StoreSettings
from zwriter.store.epochs import living_writer
from zwriter.store.scan_store import side_folder

REASON = (
    "its writer died before the scan was finished: it has what was committed, not what was lost"
    " with the writer or is still in Redis"
)


def finalize(store: Path, settings: Settings) -> tuple[Verdict, Path]:
    """Finish the scan in `store`, a `<base>.zarr`, and write its master file; its verdict, and
    where the file is. Can be repeated, whatever happened to the attempt before.

    A scan that was not finished goes back to its commits. Redis is not read: nobody knows what else
    there was, so the scan is never COMPLETE, and ABORTED if its end was not heard. Of a finished
    scan only the master file is written, in place of one that is there.

    Raises BeingWritten while a writer that is alive has the scan, UsageError if there is none,
    StoreError if it is damaged or the disk refuses.
    """
    side = side_folder(store)
    if not store.is_dir() and not side.is_dir():
        raise UsageError(f"{store}: no such scan store; give the path of a <base>.zarr folder")
    writer = living_writer(side)
    if writer:
        raise BeingWritten(f"{store} is being written by {writer}: let it finish, or end it first")
    try:
        if side.exists() or not open_scan(store).finished:
            _finish(store, settings.store)
        scan = open_scan(store)
        master = ScanPaths.of_store(store, scan.record.status_message, settings).master
        write_master(store, master, settings=settings.master)
    except OSError as error:
        raise StoreError(
            f"{store} cannot be finalized: {error}; do it again when it can"
        ) from error
    assert scan.verdict is not None
    return scan.verdict, master


def _finish(store: Path, settings: StoreSettings) -> None:
    writer = ScanWriter(store, settings=settings, master=None, patience=_Impatience())
    with closing(writer):
        if not writer.finished:
            writer.give_up(REASON)
            assert writer.record.status is not None
            writer.finish(writer.record.status)


class _Impatience:
    """Somebody waits: what the disk refuses is told at once."""

    def refused(self, error: OSError) -> None:
        raise error

    def accepted(self) -> None:
        """Never comes about."""
