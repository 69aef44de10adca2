"""One device in the store: its signals, and the commits that make their rows official together."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zwriter.failpoint import failpoint
from zwriter.model import Ledger, Mode, Position, Rejected, Run, Update
from zwriter.settings import StoreSettings
from zwriter.store.ahead import ChunksAhead
from zwriter.store.commits import CommitLog
from zwriter.store.committed import CommittedSignal, State, remove_uncommitted
from zwriter.store.disk import make_folder, remove
from zwriter.store.zarr_json import read_json


class DeviceWriter:
    """Takes a device's updates and commits them. Opening it continues from the last commit.

    `check` raises Fenced if another writer has taken the scan over. A signal in whose path there is
    an error that nobody has foreseen is `failed` from then on: it stays as the last commit has it,
    and its updates since then are `rejected`.
    """

    def __init__(
        self, path: Path, commits: Path, settings: StoreSettings, check: Callable[[], None]
    ) -> None:
        self.path = path
        self.name = path.name
        self._settings = settings
        self._check = check
        self._log = CommitLog(commits)
        self.positions: dict[str, str] = {}
        self._read_since: Position | None = None  # the newest message since the last commit
        self.signals: dict[str, CommittedSignal] = {}
        self.rejected: deque[Rejected] = deque()  # until somebody has kept it
        self.dirty = False
        self._last = self._log.latest()
        if self._last:
            self._restore(self._last)

    def claim(self) -> None:
        """Begin our epoch. Not of a finished scan, whose documents say for good what there is."""
        sync = self._settings.durability != "none"
        self._last = self._log.claim(self._state(), self._last, sync=sync)
        make_folder(self.path)
        self._show()

    def _restore(self, commit: dict[str, Any]) -> None:
        self.positions = dict(commit["positions"])
        states: dict[str, State] = commit["signals"]
        for signal in self.path.glob("*/"):
            if not _of_sync_data(signal):
                remove_uncommitted(signal, states.get(signal.name, {}))
        self.signals = {name: self._at_commit(name, state) for name, state in states.items()}
        self.touch_all()  # documents may be ahead of the commit

    def _at_commit(self, name: str, state: State | None) -> CommittedSignal:
        settings = self._settings.for_signal(self.name, name)
        return CommittedSignal(self.path / name, settings, state, self.rejected, self._check)

    def ahead(self, name: str, mode: Mode, values: NDArray[Any]) -> ChunksAhead | None:
        """As `CommittedSignal.ahead`, of a signal that may not be there yet."""
        signal = self.signals.get(name)
        return None if signal is None else signal.ahead(mode, values)

    def prepare(self, name: str) -> None:
        """Do what the disk may refuse before updates of a signal can be taken."""
        self.signal(name).fail_if_torn()

    def apply(self, items: Iterable[Update | Run]) -> int:
        """Take updates, in order; what cannot be taken is `rejected`. How many of `items` went to a
        file before, all of them, and are not in memory any more."""
        by_signal = [(name, list(same)) for name, same in groupby(items, attrgetter("signal"))]
        for name, _ in by_signal:
            self.prepare(name)
        self.dirty = True
        return sum(self.signals[name].apply(same) for name, same in by_signal)

    def has_taken(self, item: Update | Run) -> bool:
        """Whether this is what was taken last of its signal, since the last commit."""
        signal = self.signals.get(item.signal)
        return signal is not None and signal.has_taken(item)

    def signal(self, name: str) -> CommittedSignal:
        """A signal, new if it is not there yet."""
        if name not in self.signals:
            if _of_sync_data(self.path / name):
                remove(self.path / name)  # it is read at scan points too: they get another place
            self.signals[name] = self._at_commit(name, None)
        return self.signals[name]

    def touch(self, signal: str) -> None:
        """Note that something but its rows has changed: the next commit shows it."""
        self.signals[signal].touch()
        self.dirty = True

    def touch_all(self) -> None:
        """Have the next commit show everything again."""
        for name in self.signals:
            self.touch(name)

    def read_up_to(self, stream: str, entry: str) -> None:
        """Note the position that belongs to what was taken."""
        self.positions[stream] = entry
        self._read_since = Position(stream, entry)
        self.dirty = True

    def publish(self) -> None:
        """Make what was taken visible; updates of signals that fail over it are `rejected`."""
        for signal in self.signals.values():
            signal.fail_if_torn()
        for signal in self.signals.values():
            if signal.dirty:
                signal.publish()

    @property
    def to_be_synced(self) -> bool:
        """Whether the next commit, as the settings have it, is to outlast a power cut."""
        durability = self._settings.durability
        sealed = any(signal.just_sealed for signal in self.signals.values())
        return durability == "commit" or (durability == "seal" and sealed)

    def commit(self) -> None:
        """Make official what was published. Raises Fenced when another writer has taken over."""
        sync = self.to_be_synced
        if sync:
            for signal in self.signals.values():
                signal.sync(self.path.parent)
        self._last = self._log.commit({**self._state(), "lag": self._lag()}, sync=sync)
        for signal in self.signals.values():
            signal.committed()
        self._read_since = None
        self._show()
        self.dirty = False

    def _lag(self) -> float | None:
        """How old the newest message is that came since the last commit, in seconds."""
        if self._read_since is None:
            return None
        return round(max(0.0, time.time() - self._read_since.time), 3)

    def _state(self) -> dict[str, Any]:
        states = {name: signal.state for name, signal in self.signals.items()}
        known = {name: state for name, state in states.items() if state is not None}
        return {"positions": self.positions, "signals": known}

    def _show(self) -> None:
        """Have readers find the commit in the device's group."""
        failpoint("device.showing")
        self._log.show(self.path / "zarr.json")
        failpoint("device.shown")

    def ledgers(self) -> dict[str, Ledger]:
        """The ledger of each signal."""
        return {name: signal.ledger for name, signal in self.signals.items()}

    def seal(self) -> None:
        """Make every shard an HDF5 file as well. Only when all is committed, and what was rejected
        is kept: its values may lie where chunks are moved to.
        """
        for signal in self.signals.values():
            signal.seal()
        self.commit()

    def trim(self) -> None:
        """Remove what only served while the scan was open. Only after `seal`."""
        for signal in self.signals.values():
            signal.trim()

    def close(self) -> None:
        for signal in self.signals.values():
            signal.close()


def _of_sync_data(signal: Path) -> bool:
    """Whether the group holds sync data, which are written from the journal."""
    try:
        own = read_json(signal / "zarr.json")["attributes"].get("zwriter", {})
    except (FileNotFoundError, ValueError):
        return False
    return bool(own.get("layout") == "points")
