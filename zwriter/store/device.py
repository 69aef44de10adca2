"""One device in the store: its signals, and the commits that make their rows official together."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from zwriter.assemble.blocks import reject
from zwriter.model import Ledger, Rejected, Update
from zwriter.settings import StoreSettings
from zwriter.store.commits import CommitLog
from zwriter.store.signal import SignalWriter
from zwriter.store.zarr_json import group_json, read_json, write_json

log = logging.getLogger(__name__)


class DeviceWriter:
    """Takes a device's updates and commits them. Opening it continues from the last commit."""

    def __init__(self, path: Path, commits: Path, settings: StoreSettings) -> None:
        self.path = path
        self.name = path.name
        self._settings = settings
        self._log = CommitLog(commits)
        self.positions: dict[str, str] = {}
        self.signals: dict[str, SignalWriter] = {}
        self._states: dict[str, dict[str, Any]] = {}
        self.dirty = False
        last = self._log.latest()
        if last:
            self._restore(last)
        self._document = self._log.claim(self._state(), last)
        self._show()

    def _restore(self, commit: dict[str, Any]) -> None:
        self.positions = dict(commit["positions"])
        self._states = commit["signals"]
        _remove_uncommitted(self.path, self._states)
        for name, state in self._states.items():
            settings = self._settings.for_signal(self.name, name)
            self.signals[name] = SignalWriter(self.path / name, settings, state)

    def apply(self, updates: Iterable[Update]) -> list[Rejected]:
        """Take `updates`, in order; what cannot be taken comes back."""
        rejected: list[Rejected] = []
        self.dirty = True
        for name, run in groupby(updates, key=lambda update: update.signal):
            batch = list(run)
            signal = self.signal(name)
            try:
                rejected += signal.apply(batch)
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                # a fault of ours must not harm other signals: the raw updates are kept
                log.exception("%s: updates could not be stored", name)
                rejected += [reject(update, f"internal error: {error}") for update in batch]
                signal.ledger.quarantined += len(batch)
        return rejected

    def signal(self, name: str) -> SignalWriter:
        """The writer of a signal, new if it has none yet."""
        if name not in self.signals:
            settings = self._settings.for_signal(self.name, name)
            self.signals[name] = SignalWriter(self.path / name, settings)
        return self.signals[name]

    def touch(self, signal: str) -> None:
        """Note that something but its rows has changed: the next commit shows it."""
        self.signals[signal].dirty = self.dirty = True

    def read_up_to(self, stream: str, entry: str) -> None:
        """Note the position that belongs to what was taken."""
        self.positions[stream] = entry
        self.dirty = True

    def commit(self) -> None:
        """Publish what was taken and make it official. Raises Fenced when another writer has taken
        over.
        """
        sync = self._settings.durability == "commit"
        for name, signal in self.signals.items():
            if signal.dirty:
                signal.publish()
                if sync:
                    signal.sync()
                self._states[name] = signal.state()
                signal.dirty = False
        self._document = self._log.commit(self._state(), sync=sync)
        self._show()
        self.dirty = False

    def _state(self) -> dict[str, Any]:
        return {"positions": self.positions, "signals": self._states}

    def _show(self) -> None:
        """The copy of the commit that readers find in the device's group."""
        self.path.mkdir(parents=True, exist_ok=True)
        attributes = {"NX_class": "NXcollection", "zwriter": self._document}
        write_json(self.path / "zarr.json", group_json(attributes))

    def ledgers(self) -> dict[str, Ledger]:
        """The ledger of each signal."""
        return {name: signal.ledger for name, signal in self.signals.items()}

    def seal(self) -> None:
        """Commit, and make every shard an HDF5 file as well."""
        for signal in self.signals.values():
            signal.dirty = True
        self.commit()
        for signal in self.signals.values():
            signal.seal()
            if self._settings.durability != "none":
                signal.sync()
            signal.dirty = True
        self.commit()

    def trim(self) -> None:
        """Remove what only served while the scan was open. Only after `seal`."""
        for signal in self.signals.values():
            signal.trim()

    def close(self) -> None:
        for signal in self.signals.values():
            signal.close()


def _remove_uncommitted(path: Path, states: dict[str, dict[str, Any]]) -> None:
    """Remove arrays that were begun after the last commit: they will be written again."""
    for signal in path.glob("*/"):
        if _of_sync_data(signal):
            continue
        committed = states.get(signal.name, {}).get("arrays", {})
        for array in signal.glob("*/"):
            if array.name not in committed:
                shutil.rmtree(array)
        if not committed:
            shutil.rmtree(signal)


def _of_sync_data(signal: Path) -> bool:
    """Whether the group holds sync data, which are written from the journal."""
    document = signal / "zarr.json"
    if not document.exists():
        return False
    return bool(read_json(document)["attributes"].get("zwriter", {}).get("layout") == "points")
