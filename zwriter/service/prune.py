"""What scans for a bucket have left behind: in the spool of this machine, and in the bucket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from zwriter.errors import UsageError
from zwriter.objects import ObjectPath
from zwriter.service.roots import root_of, spooled
from zwriter.settings import Settings
from zwriter.ship import folders_aside
from zwriter.store.disk import remove
from zwriter.store.epochs import living_writer
from zwriter.store.layout import FED_BY, own_attributes, side_folder

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Remainder:
    """place: a folder or an upload; what: what it is; `needed`: it is to stay."""

    place: str
    what: str
    needed: bool
    seconds: float
    folders: tuple[Path, ...] = ()
    upload: tuple[ObjectPath, str] | None = None

    def remove(self) -> None:
        """Raises UsageError if it is needed."""
        if self.needed:
            raise UsageError(f"{self.place} is needed: {self.what}")
        for folder in self.folders:
            remove(folder)
        if self.upload is not None:
            path, upload = self.upload
            path.abort_upload(upload)


def remainders(settings: Settings, older_than: float = 1.0) -> Iterator[Remainder]:
    """What there is of the root that the settings name: scans in the spool, what of them was put
    aside there, and uploads that were begun and not ended. older_than: days, for the latter two.

    Raises UsageError if the root is in no bucket, ServiceError if that cannot be reached.
    """
    root = root_of(settings)
    if not isinstance(root, ObjectPath):
        raise UsageError(f"{root} is no bucket, nothing is left there; see `zwriter recover`")
    for store, target in spooled(root, settings.spool):
        yield _spooled(store, target)
    yield from _put_aside(root, settings, older_than * _DAY)
    for path, upload, begun in root.unfinished_uploads():
        age = time.time() - begun
        if age >= older_than * _DAY:
            what = "an upload that was not ended"
            yield Remainder(str(path), what, False, age, upload=(path, upload))


def _spooled(store: Path, target: ObjectPath) -> Remainder:
    folders = tuple(folder for folder in (side_folder(store), store) if folder.exists())
    here, there = own_attributes(store), own_attributes(target)
    age = max((time.time() - folder.stat().st_mtime for folder in folders), default=0.0)
    if writer := living_writer(side_folder(store)):
        return Remainder(str(store), f"is being written by {writer}", True, age)
    if here.get("finished") and here == there:
        return Remainder(str(store), "the bucket has all of it", False, age, folders)
    if here.get("finished") and not side_folder(store).exists():
        what = f"finished here, not in {target}: move it to where it is to stay"
        return Remainder(str(store), what, True, age)
    ends = f"`zwriter finalize {quote(str(target))}` ends it"
    who = "`zwriter run`" if (side_folder(store) / FED_BY).exists() else "its program"
    return Remainder(str(store), f"waits for {target}: {who} goes on with it, {ends}", True, age)


def _put_aside(root: ObjectPath, settings: Settings, older_than: float) -> Iterator[Remainder]:
    for folder, url, endpoint in folders_aside(settings.spool):
        age = time.time() - folder.stat().st_mtime
        if url is None:
            what = "put aside, and nobody knows of which scan: look at it, and remove it by hand"
            yield Remainder(str(folder), what, True, age)
        elif (
            age >= older_than
            and url.startswith(f"{root}/")
            and endpoint in (None, root.storage.endpoint)
        ):
            what = "put aside, when its scan went on from the bucket"
            yield Remainder(str(folder), what, False, age, (folder,))
