"""A store is taken over from a writer that may be alive, or whose machine has failed.

The new writer gets folders and files of its own: a tree of hard links takes the place of the
store, and what the other writer may have open for writing is copied. Whatever that one still does,
it does in folders that are no part of the scan any more. On the way all that the commits point to
is looked at; what a power cut has damaged is left behind, back to the newest commit that is whole.
"""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from zwriter.errors import Damaged, Fenced
from zwriter.failpoint import failpoint
from zwriter.store.array_state import chunks_in_shard, open_shards, shard_chunks, shard_key
from zwriter.store.codecs import intact
from zwriter.store.commits import NOTHING, CommitLog
from zwriter.store.disk import make_folder, sync_folder, sync_tree, walk
from zwriter.store.epochs import Epoch
from zwriter.store.exchange import exchange
from zwriter.store.framed import copy_whole_frames
from zwriter.store.layout import LOGS
from zwriter.store.sealed import check_sealed
from zwriter.store.shard import copy_committed

log = logging.getLogger(__name__)

_WAS = ".was"  # in a tree: the store whose place it is about to take


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Makes the store `path` ours alone; `devices` is where its devices lie in it.

    More than one may be at it at the same time. A successor first moves away the trees of all who
    were before it, and whatever is put in place comes from a tree: so only the last one can.
    """

    path: Path
    side: Path
    devices: str
    epoch: Epoch
    sync: bool

    def run(self) -> list[bytes]:
        """Do it; what of the journal could not be read, if anything. Raises Fenced."""
        clear_away(self.path, self.side)
        tree = self.side / f"tree-{uuid4().hex}"
        tree.mkdir()
        self.epoch.check()  # a successor from now on will find our tree
        history = {
            folder.name: self._fence(folder)
            for folder in sorted((self.side / "commits").glob("*/"))
        }
        failpoint("takeover.fenced")
        _link_tree(self.path, tree)
        failpoint("takeover.linked")
        for name, (commits, found) in history.items():
            self._renew_device(tree / self.devices / name, commits, found)
        lost = [rest for name in LOGS if (rest := self._renew_log(name, tree))]
        failpoint("takeover.renewed")
        if self.sync:
            sync_tree(tree)
            sync_folder(self.side)
        make_folder(self.path)
        _exchange(tree, self.path)
        failpoint("takeover.exchanged")
        if self.sync:
            sync_folder(self.path.parent)
            sync_folder(self.side)
        clear_away(self.path, self.side)
        self.epoch.settle()
        return lost

    def _fence(self, folder: Path) -> tuple[CommitLog, list[dict[str, Any]]]:
        """The device's log, in an epoch of ours, and its commits, newest first."""
        while True:
            commits = CommitLog(folder)
            found = list(commits.readable())
            last = found[0] if found else None
            try:
                commits.claim(_state(last or NOTHING), last, sync=self.sync)
            except Fenced:
                self.epoch.check()  # by a commit that the other writer had begun: once more
            else:
                return commits, found

    def _renew_device(self, path: Path, log_of: CommitLog, found: list[dict[str, Any]]) -> None:
        for commit in found:
            state = _state(commit)
            try:
                with _Copies() as copies:
                    state["signals"] = {
                        name: self._renew_signal(path / name, signal, copies)
                        for name, signal in commit["signals"].items()
                    }
            except Damaged as error:
                log.warning("%s: commit %d is not whole: %s", path.name, commit["seq"], error)
                continue
            whole = state == _state(commit)
            if commit is not found[0] or not whole:
                log.warning("%s: goes back to commit %d", path.name, commit["seq"])
                back = [commit["epoch"], commit["seq"] - (not whole)]
                log_of.commit({**state, "from": back}, sync=self.sync)
            return
        if log_of.seq > 1:  # which is ours
            log.warning("%s: no commit is whole; it begins anew", path.name)
        log_of.commit({**NOTHING, "from": [0, 0]}, sync=self.sync)

    def _renew_signal(self, path: Path, signal: dict[str, Any], copies: _Copies) -> dict[str, Any]:
        """Copies of the files that the commit points to. Raises Damaged."""
        if signal["layout"] == "replace":
            return _checked_replaced(path, signal)
        for name, state in signal["arrays"].items():
            self._renew_array(path / name, state, copies)
        return signal

    def _renew_array(self, path: Path, state: dict[str, Any], copies: _Copies) -> None:
        capacity = shard_chunks(state)
        for number, checksum in state["sealed"]:
            thorough = not self.epoch.synced
            check_sealed(path / shard_key(state, number), capacity, checksum, thorough=thorough)
        sealed = {number for number, _ in state["sealed"]}
        for shard in open_shards(state):
            if shard.number in sealed:
                continue
            file = path / shard_key(state, shard.number)
            chunks = chunks_in_shard(shard.number, state)
            copy_committed(file, copies.of(file), capacity, chunks, shard)

    def _renew_log(self, name: str, tree: Path) -> bytes:
        """A copy of a framed log in its place; what is damaged in it, and what follows."""
        log_file, copy = self.side / name, tree / f".{name}"
        if not log_file.exists():
            return b""
        lost = copy_whole_frames(log_file, copy)
        copy.replace(log_file)
        return lost


class _Copies(AbstractContextManager["_Copies"]):
    """Copies that take the places of files when all of them are made: what an older commit says of
    these is not in them any more."""

    def __init__(self) -> None:
        self._of: dict[Path, Path] = {}

    def of(self, file: Path) -> Path:
        """Where the copy is to be made."""
        return self._of.setdefault(file, file.with_name(f".{file.name}.tmp"))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for file, copy in self._of.items():
            if kind is None:
                copy.replace(file)
            else:
                copy.unlink(missing_ok=True)


def clear_away(path: Path, side: Path) -> None:
    """Remove the trees that are not the store `path`; if there is none there, put it back."""
    for tree in side.glob("tree-*"):
        away = side / f"away-{uuid4().hex}"
        with suppress(FileNotFoundError):
            tree.rename(away)
    if not path.exists():
        for was in side.glob(f"away-*/{_WAS}"):
            was.rename(path)
    for away in (*side.glob("away-*"), path / _WAS):
        shutil.rmtree(away, ignore_errors=True)


def _state(commit: dict[str, Any]) -> dict[str, Any]:
    return {name: commit[name] for name in NOTHING}


def _checked_replaced(path: Path, signal: dict[str, Any]) -> dict[str, Any]:
    """The state of a replaced signal: as it is, or without a value if that is damaged.

    Then the value was written not long before the power was cut; what came since an older commit
    is read again, so the value comes again, or its being trimmed is seen.
    """
    for name, state in signal["arrays"].items():
        if state["crc"] is None:
            continue
        try:
            stored = (path / name / shard_key(state, 0)).read_bytes()
        except OSError:
            stored = b""
        if not intact(stored, state["crc"]):
            log.warning("%s: its value is lost", path.name)
            return {**signal, "layout": None, "arrays": {}}
    return signal


def _link_tree(path: Path, tree: Path) -> None:
    """The same files, in folders of our own; without what is being written, or cannot be read.
    Documents are copied: they are written in place.
    """
    if not path.exists():
        return
    for folder, names, files in walk(path):
        target = tree / folder.relative_to(path)
        for name in names:
            (target / name).mkdir()
        for name in files:
            if name == "zarr.json":
                _copy_document(folder / name, target / name)
            elif not name.startswith("."):
                with suppress(FileNotFoundError):  # its writer may be alive
                    (target / name).hardlink_to(folder / name)


def _copy_document(path: Path, copy: Path) -> None:
    try:
        text = path.read_bytes()
        readable = isinstance(json.loads(text), dict)
    except (OSError, ValueError):
        return
    if readable:
        copy.write_bytes(text)


def _exchange(one: Path, other: Path) -> None:
    """Exchange two folders in one step; where that cannot be done, in two."""
    if exchange(one, other):
        return
    other.rename(one / _WAS)
    failpoint("takeover.exchanging")
    one.rename(other)
