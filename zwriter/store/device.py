"""One device in the store: its signals, and the commits that make their rows official together."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zwriter.assemble.blocks import reject
from zwriter.failpoint import failpoint
from zwriter.model import Ledger, Mode, Position, Rejected, Run, Update, kept, singly
from zwriter.settings import StoreSettings
from zwriter.store.ahead import ChunksAhead, large_ones_apart, written_ahead
from zwriter.store.commits import CommitLog
from zwriter.store.disk import make_folder, of_the_store, remove
from zwriter.store.signal import SignalWriter
from zwriter.store.zarr_json import read_json

log = logging.getLogger(__name__)


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
        self.signals: dict[str, SignalWriter] = {}
        self._states: dict[str, dict[str, Any]] = {}  # as the next commit says
        self._committed: dict[str, dict[str, Any]] = {}  # as the last one says
        self._pending: dict[str, list[Update | Run]] = {}  # taken since the last commit
        self.rejected: deque[Rejected] = deque()  # until somebody has kept it
        self._torn: dict[str, tuple[Ledger, BaseException]] = {}  # interrupted: half taken
        self._left: set[str] = set()  # signals that cannot be continued
        self.dirty = False
        self._last = self._log.latest()
        if self._last:
            self._restore(self._last)

    def claim(self) -> None:
        """Begin our epoch. Not of a finished scan, whose documents say for good what there is."""
        sync = self._settings.durability != "none"
        self._last = self._log.claim(self._state(), self._last, sync=sync)
        self._show()

    def _restore(self, commit: dict[str, Any]) -> None:
        self.positions = dict(commit["positions"])
        self._states, self._committed = commit["signals"], dict(commit["signals"])
        for signal in self.path.glob("*/"):
            if not _of_sync_data(signal):
                _remove_uncommitted(signal, self._states.get(signal.name, {}))
        for name, state in self._states.items():
            try:
                self.signals[name] = self._signal_at_commit(name)
            except Exception as error:
                if of_the_store(error):
                    raise
                self.signals[name] = self._unreadable(name, state, error)
        self.touch_all()  # documents may be ahead of the commit

    def _signal_at_commit(self, name: str) -> SignalWriter:
        settings = self._settings.for_signal(self.name, name)
        return SignalWriter(self.path / name, settings, self._committed.get(name))

    def _unreadable(self, name: str, state: dict[str, Any], error: Exception) -> SignalWriter:
        """In place of a signal that cannot be continued: what there is of it is left as it is."""
        self._left.add(name)
        log.error("%s/%s: cannot be continued", self.name, name, exc_info=error)
        signal = SignalWriter(self.path / name, self._settings.for_signal(self.name, name))
        signal.ledger = Ledger.from_json(state.get("ledger", {}))
        signal.ledger.failed = signal.ledger.failed or _reason(error)
        return signal

    def ahead(self, name: str, mode: Mode, values: NDArray[Any]) -> ChunksAhead | None:
        """Room in the file for `values` of a signal's next updates, and others like them, if each
        will be a chunk just as it is. Nothing but these updates may follow.
        """
        signal = self.signals.get(name)
        if signal is None or signal.ledger.failed or self._torn or self.rejected:
            return None
        try:
            return signal.ahead(mode, values)
        except Exception as error:
            if of_the_store(error):
                raise
            # what it is will be met, and dealt with, on the usual way
            log.debug("%s/%s: no room ahead", self.name, name, exc_info=True)
            return None

    def prepare(self, name: str) -> None:
        """Do what the disk may refuse before updates of a signal can be taken."""
        self._fail_what_is_torn()
        self.signal(name)

    def apply(self, items: Iterable[Update | Run]) -> int:
        """Take updates, in order; what cannot be taken is `rejected`. How many of `items` went to a
        file before, all of them, and are not in memory any more."""
        self._fail_what_is_torn()
        self.dirty = True
        in_file = 0
        for name, of_signal in groupby(items, key=attrgetter("signal")):
            for part in large_ones_apart(list(of_signal)):
                if isinstance(part, Run):
                    in_file += self._apply_large(name, part)
                else:
                    self._apply(name, part)
        return in_file

    def _apply_large(self, name: str, run: Run) -> bool:
        """Take large messages; if that can be, their values are where their chunks will be, and
        nowhere else. Whether all are."""
        in_file, first = True, 0
        while first < len(run):
            rest = run.part(first, len(run)) if first else run
            room = self._room_for(name, rest)
            count = min(len(rest), 1 if room is None else len(room))
            some = rest if count == len(rest) else rest.part(0, count)
            written = some if room is None else self._written_ahead(some, room)
            self._apply(name, [written])
            in_file &= written is not some
            first += count
        return in_file

    def _room_for(self, name: str, run: Run) -> ChunksAhead | None:
        """As `ahead`, for what may not be what is to come next."""
        if not self.signal(name).follows(run):
            return None
        return self.ahead(name, run.mode, run.values)

    def _written_ahead(self, run: Run, room: ChunksAhead) -> Run:
        """Large messages; if that can be, their values are in `room`, and nowhere else."""
        try:
            return written_ahead(run, room)
        except Exception:  # they go the usual way, where it is known what to do
            log.debug("%s/%s: not written ahead", self.name, run.signal, exc_info=True)
            return run

    def _apply(self, name: str, items: list[Update | Run]) -> None:
        signal = self.signal(name)
        if signal.ledger.failed:
            refused = [reject(update, signal.ledger.failed) for update in singly(items)]
            signal.ledger.received += len(refused)
            signal.ledger.quarantined += len(refused)
            signal.dirty = True
            self.rejected.extend(refused)
            return
        before = signal.ledger.copy()
        try:
            pending = self._pending.setdefault(name, [])
            pending.extend(items)
            failpoint("signal.applying")
            rejected = signal.apply(items)
            failpoint("signal.applied")
            self.rejected.extend(rejected)
        except BaseException as error:
            if not self.has_taken(items[-1]):  # an interrupt came before anything was done
                raise
            count = len(singly(items))
            before.received += count
            before.quarantined += count
            if isinstance(error, Exception) and not of_the_store(error):
                self._fail(name, before, error)
                return
            self._torn[name] = before, error
            raise
        pending[-len(items) :] = map(kept, items)

    def has_taken(self, item: Update | Run) -> bool:
        """Whether this is what was taken last of its signal, since the last commit."""
        taken = self._pending.get(item.signal, [])
        return bool(taken) and taken[-1] is item

    def _fail_what_is_torn(self) -> None:
        """Signals that were interrupted while they took updates go back to their commits."""
        for name, (ledger, error) in list(self._torn.items()):
            self._fail(name, ledger, error)

    def _fail(self, name: str, ledger: Ledger, error: BaseException) -> None:
        """Go back to the last commit of a signal; what came since then is rejected. If the disk
        refuses that, it is torn until it does not.

        ledger: what is known of it, all that came counted.
        """
        self._torn[name] = ledger, error
        self._go_back(name, ledger, error)
        del self._torn[name]

    def _go_back(self, name: str, ledger: Ledger, error: BaseException) -> None:
        self._check()  # who was fenced meets many an error
        log.error("%s/%s: failed; its raw updates are kept", self.name, name, exc_info=error)
        committed = self._committed.get(name, {})
        books = Ledger.from_json(committed.get("ledger", {}))
        with suppress(OSError):
            self.signals[name].close()
        _remove_uncommitted(self.path / name, committed)
        try:
            signal = self._signal_at_commit(name)
        except Exception as second:
            if of_the_store(second):
                raise
            signal = self._unreadable(name, committed, second)
        signal.ledger = replace(
            ledger,
            quarantined=ledger.quarantined + ledger.written - books.written,
            written=books.written,
            short=books.short,
            cut=books.cut,
            promoted=books.promoted,
            missing_rows=books.missing_rows,
            next_number=0,
            failed=_reason(error),
        )
        self.signals[name] = signal
        self.touch(name)
        assert signal.ledger.failed
        pending = singly(self._pending.get(name, []))
        self.rejected.extend([reject(update, signal.ledger.failed) for update in pending])
        self._pending.pop(name, None)

    def signal(self, name: str) -> SignalWriter:
        """The writer of a signal, new if it has none yet."""
        if name not in self.signals:
            if _of_sync_data(self.path / name):
                remove(self.path / name)  # it is read at scan points too: they get another place
            self.signals[name] = self._signal_at_commit(name)
        return self.signals[name]

    def touch(self, signal: str) -> None:
        """Note that something but its rows has changed: the next commit shows it."""
        self.signals[signal].dirty = self.dirty = True

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
        self._fail_what_is_torn()
        for name, signal in list(self.signals.items()):
            if signal.dirty:
                self._publish(name, signal)

    def _publish(self, name: str, signal: SignalWriter) -> None:
        try:
            failpoint("signal.publishing")
            signal.publish()
            self._states[name] = self._state_of(name)
        except Exception as error:
            if of_the_store(error):
                raise
            if signal.ledger.failed:  # at its commit, and known to be so
                log.debug("%s/%s: cannot be shown", self.name, name, exc_info=error)
            else:
                self._fail(name, signal.ledger, error)
                self._publish(name, self.signals[name])  # what was shown already goes back, too
                return
            self._states[name] = self._as_committed(name)
        signal.dirty = False

    def _state_of(self, name: str) -> dict[str, Any]:
        """What the next commit says of a signal."""
        return self._as_committed(name) if name in self._left else self.signals[name].state()

    def _as_committed(self, name: str) -> dict[str, Any]:
        """What the last commit says of a signal, but for its ledger."""
        signal = self.signals[name]
        committed = self._committed.get(name)
        if committed is None:
            committed = SignalWriter(self.path / name, signal.settings).state()
        return {**committed, "ledger": signal.ledger.to_json()}

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
        self._committed = dict(self._states)
        self._pending.clear()
        self._read_since = None
        self._show()
        self.dirty = False

    def _lag(self) -> float | None:
        """How old the newest message is that came since the last commit, in seconds."""
        if self._read_since is None:
            return None
        return round(max(0.0, time.time() - self._read_since.time), 3)

    def _state(self) -> dict[str, Any]:
        return {"positions": self.positions, "signals": self._states}

    def _show(self) -> None:
        """Have readers find the commit in the device's group."""
        make_folder(self.path)
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
        for name in self.signals:
            try:
                self._seal(name)
            except Exception as error:
                if of_the_store(error):
                    raise
                if not self.signals[name].ledger.failed:
                    self._fail(name, self.signals[name].ledger, error)
                self._seal_what_failed(name)
        self.commit()

    def _seal(self, name: str) -> None:
        if name in self._left:
            self._take_up(name)
        signal = self.signals[name]
        failpoint("signal.sealing")
        signal.seal()
        self._states[name] = self._state_of(name)

    def _take_up(self, name: str) -> None:
        """Try once more to read a signal that could not be continued: what it has can be sealed."""
        ledger = self.signals[name].ledger
        signal = self._signal_at_commit(name)
        signal.ledger = ledger
        self.signals[name] = signal
        self._left.remove(name)

    def _seal_what_failed(self, name: str) -> None:
        try:
            self._seal(name)
        except Exception as error:
            if of_the_store(error):
                raise
            log.error("%s/%s: its shards have no HDF5 side", self.name, name, exc_info=error)
            self._states[name] = self._as_committed(name)

    def trim(self) -> None:
        """Remove what only served while the scan was open. Only after `seal`."""
        for signal in self.signals.values():
            signal.trim()

    def close(self) -> None:
        for signal in self.signals.values():
            signal.close()


def _reason(error: BaseException) -> str:
    return f"the signal has failed: {type(error).__name__}: {error}"[:1000]


def _remove_uncommitted(signal: Path, state: dict[str, Any]) -> None:
    """Remove arrays that were begun after the last commit: they will be written again."""
    committed = state.get("arrays", {})
    for array in signal.glob("*/"):
        if array.name not in committed:
            _remove_array(array)
    if not committed:
        shutil.rmtree(signal, ignore_errors=True)


def _remove_array(array: Path) -> None:
    try:
        shutil.rmtree(array)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:  # NFS keeps what is open or mapped, under another name
            raise


def _of_sync_data(signal: Path) -> bool:
    """Whether the group holds sync data, which are written from the journal."""
    try:
        own = read_json(signal / "zarr.json")["attributes"].get("zwriter", {})
    except (FileNotFoundError, ValueError):
        return False
    return bool(own.get("layout") == "points")
