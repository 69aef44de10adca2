"""The commits of one device: numbered documents, each created only if it is not there yet.

A writer that takes over begins a new epoch with a commit of its own, which is never pruned: a
predecessor that wakes up tries the same number and learns that it has been replaced.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from zwriter.errors import Fenced, StoreError

KEEP = 3


class CommitLog:
    """`claim` first, then `commit` again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0
        self.epoch = 0
        self._claimed = 0

    def latest(self) -> dict[str, Any] | None:
        """The commit that counts, or None. Raises StoreError if it cannot be read."""
        numbers = sorted(int(p.name) for p in self.folder.glob("*") if p.name.isdigit())
        if not numbers:
            return None
        path = self._path(numbers[-1])
        try:
            document: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            raise StoreError(f"damaged commit {path}: restore it or remove it") from error
        return document

    def claim(self, state: dict[str, Any], last: dict[str, Any] | None) -> dict[str, Any]:
        """Begin an epoch, with `state` as the first commit. Raises Fenced when another one was
        quicker.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seq = last["seq"] if last else 0
        self.epoch = (last["epoch"] if last else 0) + 1
        document = self.commit(state)
        self._claimed = self.seq
        return document

    def commit(self, state: dict[str, Any], *, sync: bool = False) -> dict[str, Any]:
        """Make `state` official. Raises Fenced when another writer has taken over."""
        head = {"format": 1, "epoch": self.epoch, "seq": self.seq + 1, "time": time.time()}
        document = {**head, **state}
        self._create(self._path(self.seq + 1), json.dumps(document).encode(), sync)
        self.seq += 1
        old = self.seq - KEEP
        if self._claimed and old > self._claimed:
            self._path(old).unlink(missing_ok=True)
        return document

    def _path(self, seq: int) -> Path:
        return self.folder / f"{seq:010d}"

    def _create(self, path: Path, data: bytes, sync: bool) -> None:
        # a link appears whole or not at all, and only where there is nothing yet
        temporary = self.folder / f".{path.name}.{os.getpid()}"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, data)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise Fenced(
                f"another writer has taken over {self.folder.name}: this one stops"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
