"""One signal between its commits. If there is an error in its path that nobody has foreseen, it
fails: it stays as its last commit has it, and the other signals go on.
"""

from __future__ import annotations

import errno
import logging
import shutil
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zwriter.assemble.blocks import reject
from zwriter.failpoint import failpoint
from zwriter.model import Ledger, Mode, Rejected, Run, Update, kept, singly
from zwriter.settings import SignalSettings
from zwriter.store.ahead import ChunksAhead, large_ones_apart, written_ahead
from zwriter.store.disk import of_the_store
from zwriter.store.signal import SignalWriter

log = logging.getLogger(__name__)

State = dict[str, Any]


class CommittedSignal:
    """Takes a signal's updates, and goes back to the last commit if it fails.

    path: the signal's group; committed: what the last commit says of it, if anything; rejected:
    where updates go that cannot be taken, also those since the commit when it fails; check: raises
    Fenced if another writer has taken the scan over.
    """

    def __init__(
        self,
        path: Path,
        settings: SignalSettings,
        committed: State | None,
        rejected: deque[Rejected],
        check: Callable[[], None],
    ) -> None:
        self._path, self._settings = path, settings
        self._label = f"{path.parent.name}/{path.name}"
        self._committed = committed
        self.state = committed  # what the next commit says of it; None: nothing yet
        self._rejected, self._check = rejected, check
        self._pending: list[Update | Run] = []  # taken since the last commit
        self._torn: tuple[Ledger, BaseException] | None = None  # interrupted: half taken
        self._left = False  # it cannot be continued
        self._open()

    def _open(self) -> None:
        """As the last commit has it, or, if that cannot be read, in a way that leaves it alone."""
        try:
            self._writer = self._at_commit()
        except Exception as error:
            if of_the_store(error):
                raise
            log.error("%s: cannot be continued", self._label, exc_info=error)
            self._left = True
            self._writer = SignalWriter(self._path, self._settings)
            ledger = Ledger.from_json((self._committed or {}).get("ledger", {}))
            ledger.failed = ledger.failed or _reason(error)
            self._writer.ledger = ledger

    def _at_commit(self) -> SignalWriter:
        return SignalWriter(self._path, self._settings, self._committed)

    @property
    def ledger(self) -> Ledger:
        """What is known of its updates."""
        return self._writer.ledger

    @property
    def dirty(self) -> bool:
        """Whether there is something that the next commit is to show."""
        return self._writer.dirty

    def touch(self) -> None:
        """Note that something but its rows has changed: the next commit shows it."""
        self._writer.dirty = True

    def ahead(self, mode: Mode, values: NDArray[Any]) -> ChunksAhead | None:
        """Room in the file for `values` of its next updates, and others like them, if each will be
        a chunk just as it is. Nothing but these updates may follow.
        """
        if self.ledger.failed or self._torn or self._rejected:
            return None
        try:
            return self._writer.ahead(mode, values)
        except Exception as error:
            if of_the_store(error):
                raise
            # what it is will be met, and dealt with, on the usual way
            log.debug("%s: no room ahead", self._label, exc_info=True)
            return None

    def apply(self, items: list[Update | Run]) -> int:
        """Take updates, in order; what cannot be taken is rejected. How many of `items` went to a
        file before, all of them, and are not in memory any more."""
        in_file = 0
        for part in large_ones_apart(items):
            if isinstance(part, Run):
                in_file += self._apply_large(part)
            else:
                self._apply(part)
        return in_file

    def _apply_large(self, run: Run) -> bool:
        """Take large messages; if that can be, their values are where their chunks will be, and
        nowhere else. Whether all are."""
        if not self._writer.follows(run):  # they are put in order, all of them together
            self._apply([run])
            return False
        in_file, first = True, 0
        while first < len(run):
            rest = run.part(first, len(run)) if first else run
            room = self.ahead(run.mode, rest.values)
            count = min(len(rest), 1 if room is None else len(room))
            some = rest if count == len(rest) else rest.part(0, count)
            written = some if room is None else self._written_ahead(some, room)
            self._apply([written])
            in_file &= written is not some
            first += count
        return in_file

    def _written_ahead(self, run: Run, room: ChunksAhead) -> Run:
        """Large messages; if that can be, their values are in `room`, and nowhere else."""
        try:
            return written_ahead(run, room)
        except Exception:  # they go the usual way, where it is known what to do
            log.debug("%s: not written ahead", self._label, exc_info=True)
            return run

    def _apply(self, items: list[Update | Run]) -> None:
        if self.ledger.failed:
            self._refuse(items, self.ledger.failed)
            return
        before = self.ledger.copy()
        try:
            self._pending.extend(items)
            failpoint("signal.applying")
            rejected = self._writer.apply(items)
            failpoint("signal.applied")
            self._rejected.extend(rejected)
        except BaseException as error:
            if not self.has_taken(items[-1]):  # an interrupt came before anything was done
                raise
            count = len(singly(items))
            before.received += count
            before.quarantined += count
            if isinstance(error, Exception) and not of_the_store(error):
                self._fail(before, error)
                return
            self._torn = before, error
            raise
        self._pending[-len(items) :] = map(kept, items)

    def _refuse(self, items: list[Update | Run], reason: str) -> None:
        refused = [reject(update, reason) for update in singly(items)]
        self.ledger.received += len(refused)
        self.ledger.quarantined += len(refused)
        self.touch()
        self._rejected.extend(refused)

    def has_taken(self, item: Update | Run) -> bool:
        """Whether this is what was taken last, since the last commit."""
        return bool(self._pending) and self._pending[-1] is item

    def fail_if_torn(self) -> None:
        """If it was interrupted while it took updates, go back to the commit. Before all else."""
        if self._torn:
            self._fail(*self._torn)

    def _fail(self, ledger: Ledger, error: BaseException) -> None:
        """Go back to the last commit; what came since then is rejected. If the disk refuses that,
        it is torn until it does not.

        ledger: what is known of it, all that came counted.
        """
        self._torn = ledger, error
        self._go_back(ledger, error)
        self._torn = None

    def _go_back(self, ledger: Ledger, error: BaseException) -> None:
        self._check()  # who was fenced meets many an error
        log.error("%s: failed; its raw updates are kept", self._label, exc_info=error)
        committed = self._committed or {}
        books, reason = Ledger.from_json(committed.get("ledger", {})), _reason(error)
        with suppress(OSError):
            self._writer.close()
        remove_uncommitted(self._path, committed)
        self._open()
        self._writer.ledger = replace(
            ledger,
            quarantined=ledger.quarantined + ledger.written - books.written,
            written=books.written,
            short=books.short,
            cut=books.cut,
            promoted=books.promoted,
            missing_rows=books.missing_rows,
            next_number=0,
            failed=reason,
        )
        self.touch()
        self._rejected.extend([reject(update, reason) for update in singly(self._pending)])
        self._pending = []

    def publish(self) -> None:
        """Make what was taken visible; if it fails over that, what was shown already goes back."""
        try:
            failpoint("signal.publishing")
            self._writer.publish()
            self.state = self._state_now()
        except Exception as error:
            if of_the_store(error):
                raise
            if not self.ledger.failed:
                self._fail(self.ledger, error)
                self.publish()
                return
            # at its commit, and known to be so
            log.debug("%s: cannot be shown", self._label, exc_info=error)
            self.state = self._as_committed()
        self._writer.dirty = False

    def _state_now(self) -> State:
        return self._as_committed() if self._left else self._writer.state()

    def _as_committed(self) -> State:
        """What the last commit says of it, but for its ledger."""
        committed = self._committed
        if committed is None:
            committed = SignalWriter(self._path, self._settings).state()
        return {**committed, "ledger": self.ledger.to_json()}

    def sync(self, top: Path) -> None:
        """Return when all that was published is on the disk, with the names in all folders up to
        `top`.
        """
        self._writer.sync(top)

    @property
    def just_sealed(self) -> bool:
        """Whether a shard was sealed since it was published for the last time."""
        return self._writer.just_sealed

    def committed(self) -> None:
        """There is a commit that says what `state` does."""
        self._committed = self.state
        self._writer.committed()
        self._pending = []

    def seal(self) -> None:
        """Give every shard its HDF5 side; of a signal that fails, or has, as far as that can be.
        Only when all is committed, and what was rejected is kept.
        """
        try:
            self._seal()
        except Exception as error:
            if of_the_store(error):
                raise
            if not self.ledger.failed:
                self._fail(self.ledger, error)
            self._seal_what_failed()

    def _seal(self) -> None:
        if self._left:
            self._take_up()
        failpoint("signal.sealing")
        self._writer.seal()
        self.state = self._state_now()

    def _take_up(self) -> None:
        """Try once more to read what could not be continued: what there is can be sealed."""
        ledger = self.ledger
        self._writer = self._at_commit()
        self._writer.ledger = ledger
        self._left = False

    def _seal_what_failed(self) -> None:
        try:
            self._seal()
        except Exception as error:
            if of_the_store(error):
                raise
            log.error("%s: its shards have no HDF5 side", self._label, exc_info=error)
            self.state = self._as_committed()

    def trim(self) -> None:
        """Remove what only served while the scan was open. Only after `seal`."""
        self._writer.trim()

    def close(self) -> None:
        self._writer.close()


def _reason(error: BaseException) -> str:
    return f"the signal has failed: {type(error).__name__}: {error}"[:1000]


def remove_uncommitted(signal: Path, state: State) -> None:
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
