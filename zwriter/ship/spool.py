"""Where a scan for a bucket is written: a folder on this machine, as on a disk."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from zwriter.errors import UsageError
from zwriter.objects import ObjectPath
from zwriter.settings import SpoolSettings
from zwriter.store.disk import check_folder, make_folder, remove, replace_file
from zwriter.store.layout import side_folder
from zwriter.store.shard_index import FIRST_CHUNK

log = logging.getLogger(__name__)

_MARK = "spool"
_ASIDE = re.compile(r"aside-[0-9a-f]{32}")
_LOOK = 0.5  # seconds between two looks at what it takes


def check_spool(settings: SpoolSettings) -> None:
    """Make its folder. Raises UsageError if it cannot be written."""
    try:
        folder = settings.folder.expanduser()
    except RuntimeError as error:
        raise UsageError(f"spool.folder {settings.folder} cannot be used: {error}") from error
    check_folder("spool.folder", folder)


class Spool:
    """The spool of one scan. store: where its store lies in it."""

    def __init__(self, settings: SpoolSettings, target: ObjectPath) -> None:
        if any(part in ("", ".", "..") for part in str(target).split("/")[2:]):
            raise UsageError(f"{target}: give a path without empty parts, . and ..")
        if "\\" in str(target) or not str(target).isprintable():  # servers change such names
            raise UsageError(f"{str(target)!r}: give a path without \\ and control characters")
        self.limit = settings.limit
        self.folder = settings.folder.expanduser()
        self.store = self.folder / target.bucket / target.key
        self.side = side_folder(self.store)
        self._looked, self._taken = 0.0, 0
        self._kept = 0  # bytes that could not be freed, when all was sent
        self._target = {"url": str(target), "endpoint": target.storage.endpoint}

    @property
    def id(self) -> str | None:
        """Tells this spool from that of any other writer; None if there is none yet.

        Raises UsageError if it is of another object store that has something of it.
        """
        mark = self.mark
        if mark and {key: mark.get(key) for key in self._target} != self._target:
            if mark.get("claimed") or mark.get("url") != self._target["url"]:
                raise UsageError(
                    f"{self.side} has a scan for {mark.get('url')} at {mark.get('endpoint')}, which"
                    " is another one: bring that to its end, with that endpoint, or move it and"
                    f" {self.store.name} elsewhere"
                )
            self.note(**self._target)  # nothing was ever sent: the endpoint was mended
        return str(mark["id"]) if mark else None

    @property
    def mark(self) -> dict[str, Any]:
        """What is noted of it; empty if there is none yet."""
        return _mark_of(self.side)

    def begin(self, folder: Path | None = None) -> str:
        """Make it ours: its id. folder: in place of the one beside the store."""
        folder = folder or self.side
        make_folder(folder, sync=True)
        mark = {"id": uuid4().hex, **self._target}
        replace_file(folder / _MARK, json.dumps(mark).encode(), sync=True)
        return str(mark["id"])

    def note(self, **facts: Any) -> None:
        """Note something of it that is to outlast this process."""
        mark = self.mark
        if mark and not facts.items() <= mark.items():
            replace_file(self.side / _MARK, json.dumps(mark | facts).encode(), sync=True)

    def put_aside(self) -> Path | None:
        """Keep what it has where nobody goes on with it; None if it has nothing."""
        if not self.store.exists() and not self.side.exists():
            return None
        aside = self.folder / f"aside-{uuid4().hex}"
        aside.mkdir(parents=True)
        for folder in (self.side, self.store):
            if folder.exists():
                folder.rename(aside / folder.name)
        return aside

    def remove(self) -> None:
        """Remove the scan from the spool, and folders that are empty then."""
        for folder in (self.side, self.store):
            if folder.exists():
                remove(folder)
        for folder in self.store.parents:
            if folder == self.folder:
                break
            with suppress(OSError):
                folder.rmdir()

    @property
    def full(self) -> bool:
        """Whether all spools of the folder take as much as they may, as of a moment ago.

        What cannot be freed counts, but never stops a scan for good: beyond it there is room for a
        quarter of the limit.
        """
        return self._taken_lately() >= max(self.limit, self._kept + self.limit // 4)

    def free(
        self, sealed: dict[Path, str], is_there: Callable[[Path, str], bool], *, all_sent: bool
    ) -> None:
        """Let go of the chunks of shard files that the bucket has for good, once the spool is half
        full, or the disk. What is left of them is the head, which says what they were.

        sealed: the files, and their keys in the bucket; is_there: whether it has one as it is here.
        """
        shards = [path for path in sealed if _has_chunks(path)]
        if shards or all_sent:
            self._looked = 0.0
            taken = self._taken_lately()
            enough = min(self.limit, taken + _room_on_disk(self.folder)) // 2
            for path in shards:
                if taken < enough:
                    break
                if not is_there(path, sealed[path]):
                    continue
                with suppress(OSError):  # else the next time
                    taken -= _cut(path)
            self._taken = taken
        if all_sent:
            self._keep()

    def _keep(self) -> None:
        """Know what is left when nothing waits for the object store."""
        if self._kept < self.limit <= self._taken:
            log.warning(
                "the spool %s holds %d bytes that cannot leave it, more than its limit of %d"
                " (spool.limit): scans that are not at their end, what was put aside (zwriter"
                " prune)",
                *(self.folder, self._taken, self.limit),
            )
        self._kept = self._taken

    def _taken_lately(self) -> int:
        if time.monotonic() - self._looked >= _LOOK:
            self._looked, self._taken = time.monotonic(), _taken(self.folder)
        return self._taken


def bucket_has_some(store: Path) -> str | None:
    """The URL of the scan whose store in a spool this is, if the bucket has something of it."""
    mark = _mark_of(side_folder(store))
    return str(mark["url"]) if mark.get("claimed") and not mark.get("removed") else None


def folders_aside(settings: SpoolSettings) -> Iterator[tuple[Path, str | None, str | None]]:
    """The folders that were put aside, with the URLs of their scans, and the endpoints of these,
    where they are known."""
    for folder in sorted(settings.folder.expanduser().glob("aside-*")):
        if not _ASIDE.fullmatch(folder.name):
            continue  # a bucket's name may begin so
        marks = [mark for side in folder.glob("*.zwriter") if (mark := _mark_of(side))]
        mark = marks[0] if marks else {}
        yield folder, mark.get("url"), mark.get("endpoint")


def _mark_of(side: Path) -> dict[str, Any]:
    try:
        mark = json.loads((side / _MARK).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return mark if isinstance(mark, dict) and "id" in mark else {}


def _has_chunks(shard: Path) -> bool:
    try:
        return shard.stat().st_size > FIRST_CHUNK
    except FileNotFoundError:
        return False


def _cut(shard: Path) -> int:
    """Cut a shard file off behind its head; how many bytes that frees."""
    taken = shard.stat().st_blocks * 512
    os.truncate(shard, FIRST_CHUNK)
    return taken - FIRST_CHUNK


def _room_on_disk(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _taken(folder: Path) -> int:
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:  # gone, or not ours: lost+found
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _taken(Path(entry.path))
            else:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
