"""Where a scan for a bucket is written: a folder on this machine, as on a disk."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from zwriter.errors import UsageError
from zwriter.objects import ObjectPath
from zwriter.settings import SpoolSettings
from zwriter.store.disk import make_folder, remove, replace_file
from zwriter.store.scan_store import side_folder
from zwriter.store.shard import FIRST_CHUNK

_MARK = "spool"
_LOOK = 0.5  # seconds between two looks at what it takes


class Spool:
    """The spool of one scan. store: where its store lies in it."""

    def __init__(self, settings: SpoolSettings, target: ObjectPath) -> None:
        if any(part in ("", ".", "..") for part in str(target).split("/")[2:]):
            raise UsageError(f"{target}: give a path without empty parts, . and ..")
        self.limit = settings.limit
        self.folder = settings.folder.expanduser()
        self.store = self.folder / target.bucket / target.key
        self.side = side_folder(self.store)
        self._looked, self._taken = 0.0, 0
        self._target = {"url": str(target), "endpoint": target.storage.endpoint}

    @property
    def id(self) -> str | None:
        """Tells this spool from that of any other writer; None if there is none yet.

        Raises UsageError if it is of another object store.
        """
        try:
            mark: dict[str, Any] = json.loads((self.side / _MARK).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if {key: mark.get(key) for key in self._target} != self._target:
            raise UsageError(
                f"{self.side} has a scan for {mark.get('url')} at {mark.get('endpoint')}, which is"
                " another one: bring that to its end, or remove the folder"
            )
        return str(mark["id"])

    def begin(self, folder: Path | None = None) -> str:
        """Make it ours: its id. folder: in place of the one beside the store."""
        folder = folder or self.side
        make_folder(folder, sync=True)
        mark = {"id": uuid4().hex, **self._target}
        replace_file(folder / _MARK, json.dumps(mark).encode(), sync=True)
        return str(mark["id"])

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
        """Whether all spools of the folder take as much as they may, as of a moment ago."""
        if time.monotonic() - self._looked >= _LOOK:
            self._looked, self._taken = time.monotonic(), _taken(self.folder)
        return self._taken >= self.limit

    def free(self, shards: list[Path]) -> None:
        """Let go of the chunks of shard files that are in the bucket for good, once half of the
        limit is taken. What is left of them is the head, which says what they were."""
        taken = _taken(self.folder)
        for path in shards:
            if taken < self.limit // 2:
                return
            with suppress(FileNotFoundError):
                found = path.stat()
                if found.st_size > FIRST_CHUNK:
                    os.truncate(path, FIRST_CHUNK)
                    taken -= found.st_blocks * 512


def _taken(folder: Path) -> int:
    total = 0
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _taken(Path(entry.path))
            else:
                with suppress(FileNotFoundError):
                    total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total
