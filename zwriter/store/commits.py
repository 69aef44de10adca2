"""The commits of one device: numbered documents, each created only if it is not there yet.

Each is the document of the device's group, in which the commit is an attribute. So the newest one
is that group's `zarr.json` just as it is.

A writer that takes over begins a new epoch with a commit of its own, which is never pruned: a
predecessor that wakes up tries the same number and learns that it has been replaced.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from zwriter.errors import Fenced, StoreError
from zwriter.store.disk import create_file, link_in_place, make_folder
from zwriter.store.zarr_json import group_json

KEEP = 4  # the newest commits; of older ones, ever fewer
NOTHING: dict[str, Any] = {"positions": {}, "signals": {}}


def commit_document(commit: dict[str, Any]) -> bytes:
    """The document that carries a commit."""
    attributes = {"NX_class": "NXcollection", "zwriter": commit}
    return json.dumps(group_json(attributes)).encode()


def commit_of(document: bytes) -> dict[str, Any] | None:
    """The commit that a document carries; None if it is damaged, or carries none."""
    try:
        found = json.loads(document)
        commit = found["attributes"].get("zwriter", {}) if "attributes" in found else found
        whole = NOTHING.keys() <= commit.keys()  # by itself, as earlier versions wrote it, or not
    except (ValueError, TypeError, AttributeError):
        return None
    return commit if whole else None


class CommitLog:
    """`claim` first, then `commit` again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seq = 0
        self.epoch = 0
        self._claimed = 0
        self._synced = 0
        self._tried = b""  # a document that may have become a commit, before an interrupt
        self._kept: list[int] = []

    def latest(self) -> dict[str, Any] | None:
        """The commit that counts, or None. Raises StoreError if it cannot be read."""
        numbers = self._numbers()
        if not numbers:
            return None
        document = _read(self._path(numbers[-1]))
        if document is None:
            name = f"commits/{self.folder.name}/{self._path(numbers[-1]).name}"
            raise StoreError(f"damaged commit {name}: remove it, and the one before it counts")
        return document

    def readable(self) -> Iterator[dict[str, Any]]:
        """The commits that can be read, newest first."""
        for number in reversed(self._numbers()):
            document = _read(self._path(number))
            if document is not None:
                yield document

    def claim(
        self, state: dict[str, Any], last: dict[str, Any] | None, *, sync: bool = False
    ) -> dict[str, Any]:
        """Begin an epoch, with `state` as the first commit. Raises Fenced when another one was
        quicker.
        """
        make_folder(self.folder, sync=sync)
        self._kept = self._numbers()
        self.seq = max(self._kept, default=0)
        self.epoch = (last["epoch"] if last else 0) + 1
        document = self.commit(state, sync=sync)
        self._claimed = self.seq
        return document

    def commit(self, state: dict[str, Any], *, sync: bool = False) -> dict[str, Any]:
        """Make `state` official. Raises Fenced when another writer has taken over."""
        if self._tried and self._next_one() == self._tried:
            self._count()
        head = {"format": 1, "epoch": self.epoch, "seq": self.seq + 1, "time": time.time()}
        document = {**head, **state}
        self._tried = commit_document(document)
        try:
            create_file(self._path(self.seq + 1), self._tried, sync=sync)
        except FileExistsError:  # or made by an attempt that the disk called a failure
            if self._next_one() != self._tried:
                raise Fenced(
                    f"another writer has taken over {self.folder.name}: this one stops"
                ) from None
        self._count()
        if sync:
            self._synced = self.seq
        if self._claimed:
            self._prune()
        return document

    def _next_one(self) -> bytes | None:
        with suppress(FileNotFoundError):
            return self._path(self.seq + 1).read_bytes()
        return None

    def _count(self) -> None:
        self.seq += 1
        self._kept.append(self.seq)
        self._tried = b""

    def show(self, path: Path) -> None:
        """Have the last commit at `path` as well. The file is the same: ext4 takes long to make
        one, the longer the more were removed in the last minutes."""
        link_in_place(self._path(self.seq), path)

    def _prune(self) -> None:
        """Keep what a power cut may make us go back to: the last commit that was synced, and, of
        those that are not new, about two for each doubling of their age."""
        kept = {self._synced, *(n for n in self._kept if n <= self._claimed)}
        kept.update(n for n in self._kept if n % _step_at(self.seq - n) == 0)
        for number in self._kept:
            if number not in kept:
                with suppress(OSError):
                    self._path(number).unlink()
        self._kept = [n for n in self._kept if n in kept]

    def _numbers(self) -> list[int]:
        return sorted(int(p.name) for p in self.folder.glob("*") if p.name.isdigit())

    def _path(self, seq: int) -> Path:
        return self.folder / f"{seq:010d}"


def _step_at(age: int) -> int:
    """Of commits of this age, counted in commits, every which one is kept."""
    return 1 if age < KEEP else 1 << (age // 2).bit_length() - 1


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return commit_of(path.read_bytes())
    except OSError:
        return None
