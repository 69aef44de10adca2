"""The way of one scan from a spool into a bucket, while it is written and until all of it is there.

A thread looks at the spool's commits, as any reader does, and never at the writer: whatever the
object store does, the scan goes on as long as the spool has room.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zwriter.errors import Damaged, Fenced, NotSynced, ServiceError, StoreError, UsageError
from zwriter.objects import ObjectPath
from zwriter.settings import SpoolSettings
from zwriter.ship.ahead import SIDE_BY_SIDE, SentAhead
from zwriter.ship.bucket import Bucket
from zwriter.ship.carrier import Carrier
from zwriter.ship.claim import Claim
from zwriter.ship.documents import Documents
from zwriter.ship.outage import Outage, Shipping, Stopped, abandoned
from zwriter.ship.ownership import Ownership
from zwriter.ship.sender import Overwritten, Sender
from zwriter.ship.spool import Spool
from zwriter.store.disk import replace_file, step
from zwriter.store.layout import check_store_name

log = logging.getLogger(__name__)

_LOOK = 0.2  # seconds
_AGAIN = 5.0  # seconds after a fault that nobody has foreseen


class _Unmendable(StoreError):
    """The spool of a finished scan is damaged: nothing is written there any more that mends it."""

    def __init__(self, store: ObjectPath, error: Damaged) -> None:
        super().__init__(f"{store} is not all sent; it is in the spool: {error}")


class Shipment:
    """Brings the scan that is written in `path`, in the spool, to `store`, in a bucket.

    `open` first, before anything is written there. interval: seconds between two looks at most;
    tell: gets a line when the object store takes nothing, and when it does again; registered: an
    object that is there as long as the scan is not finished; stop: set when nobody waits for it any
    more: what waits for the object store then raises Stopped, an OSError; usable: whether the
    bucket was found to be so: if it refuses now, that is waited for; patience: for so many seconds.
    """

    def __init__(
        self,
        store: ObjectPath,
        settings: SpoolSettings,
        *,
        interval: float,
        tell: Callable[[str], None] = lambda text: None,
        registered: ObjectPath | None = None,
        stop: threading.Event | None = None,
        usable: bool = False,
        patience: float = math.inf,
    ) -> None:
        check_store_name(store)
        self.store, self.spool = store, Spool(settings, store)
        self.path = self.spool.store
        self.interval, self._tell, self._registered = interval, tell, registered
        self._stop = stop or threading.Event()
        self._patience = patience
        self._outage = Outage(str(store), tell, self._stop, patience)
        self.bucket = Bucket(store.parent, self._outage)
        self._ownership = Ownership(store, self.spool, self.bucket, usable=usable)
        self._check_here: Callable[[], None] = lambda: None
        self._epoch: Claim | None = None
        self._lost: Exception | None = None  # why nothing more may be sent
        self._distrusted: Set[str] = frozenset()  # objects that others have overwritten
        self._fails = ""  # over what, that nobody has foreseen
        self._stopped_by: Stopped | None = None
        self._finishing = threading.Event()
        self._closing = threading.Event()
        self._wake = threading.Event()  # there is something to be done now
        self._committed = threading.Event()  # since the last look
        self._news = threading.Event()  # one of both
        self._done = threading.Event()
        self.commits = 0  # that were made in the bucket
        self._flushing = threading.Condition()
        self._flushes, self._flushed = 0, 0  # how many were asked for, how many are done
        self._thread = Shipping(target=self._run, name=f"ship-{store.stem}")

    # --- for the writer ---

    def is_finished(self, scan_id: str | None = None) -> bool:
        """Whether the bucket has all of the scan, and this machine nothing that is to be sent."""
        try:
            return self._ownership.finished_elsewhere(scan_id)
        except ServiceError:
            return False

    def living_writer(self) -> str | None:
        """Who writes the scan, as far as that can be known."""
        return self._ownership.living_writer()

    def open(self, scan_id: str | None = None) -> None:
        """Make the spool what the scan is to go on from: see `Ownership.open`."""
        self._ownership.open(scan_id)

    def lacks_something(self) -> bool:
        """Whether the store in the spool turned out, when it was opened, to have lost what the
        bucket has: then `bring_back`, and open it again."""
        return self._ownership.lacks_something()

    def bring_back(self) -> None:
        """Put what the bucket has in place of what the spool has. Raises Fenced."""
        self._ownership.bring_back()

    def start(self, check_here: Callable[[], None]) -> None:
        """check_here: raises Fenced if another process has taken over the spool."""
        self._check_here = check_here
        self._thread.start()

    def check(self) -> None:
        """Raises Fenced if another writer has taken over in the bucket, NotSynced if the scan is to
        be opened again. A scan that cannot be sent at all goes on in the spool."""
        if isinstance(self._lost, Fenced | NotSynced):
            raise self._lost

    def _check_all(self) -> None:
        ended = not self._thread.is_alive()  # before looking what it has done
        if self._lost is not None:
            raise self._lost
        waits_no_more = self._stop.is_set() or self._patience < math.inf
        given_up = (self._stop.is_set() and self._outage.lasts) or (waits_no_more and self._fails)
        if given_up or (ended and not self._done.is_set()):
            text = f"{self.store} is not all sent; it is in the spool"
            why = self._stopped_by or self._fails
            raise OSError(errno.ETIMEDOUT, f"{text}: {why}" if why else text)

    @step
    def room(self) -> None:
        """Return when there is room in the spool. Raises as `check` does."""
        self.check()
        if self.spool.full and self._lost is None and not self._done.is_set():
            self._wake_up()
            raise OSError(
                errno.ENOSPC,
                f"the spool {self.spool.folder} has its limit of {self.spool.limit} bytes, which"
                " wait for the object store (spool.limit)",
            )

    @step
    def fetch(self, shard: Path) -> None:
        """Bring the chunks of a shard file of the spool back, which have left it."""
        inside = shard.resolve().relative_to(self.path.resolve())
        key = f"{self.store.name}/{inside.as_posix()}"
        data = self.bucket.read(key, little=False)
        if data is None:
            raise FileNotFoundError(f"{self.bucket.folder}/{key}: is missing")
        replace_file(shard, data, sync=True)

    def committed(self) -> None:
        """There is a commit more in the spool."""
        self._committed.set()
        self._news.set()

    def _wake_up(self) -> None:
        self._wake.set()
        self._news.set()

    def flush(self) -> None:
        """Return when all that is committed is in the bucket, and readable.

        Raises Fenced, NotSynced as `check` does; UsageError, StoreError if the scan cannot be sent
        at all; OSError if `stop` is set while that cannot be done.
        """
        with self._flushing:
            self._flushes += 1
            number = self._flushes
            self._wake_up()
            while self._flushed < number and not self._done.is_set():
                self._check_all()
                self._flushing.wait(_LOOK)

    def finish(self) -> None:
        """Return when all of the finished store is in the bucket, and readable.

        Raises as `flush` does.
        """
        self._finishing.set()
        self._wake_up()
        while not self._done.wait(_LOOK):
            self._check_all()

    def close(self) -> None:
        """Send what is committed, if the object store takes it now, and let go of everything."""
        self._closing.set()
        self._wake_up()
        if self._outage.lasts:
            self._outage.stop()
        if self._thread.ident is not None:
            while self._thread.is_alive():
                self._thread.join(_LOOK)
                if self._outage.lasts:
                    self._outage.stop()
        if self._done.is_set():
            self.spool.remove()

    def clear_beside(self) -> None:
        """Remove what only served while the scan was not finished."""
        self._ownership.clear_beside()

    def unregister(self) -> None:
        """Note that nothing is left to be done for the scan."""
        if self._registered is not None:
            Bucket(self._registered.parent, self._outage).delete([self._registered.name])

    # --- the thread ---

    def _run(self) -> None:
        try:
            with ThreadPoolExecutor(SIDE_BY_SIDE, "ship") as pool:
                while not self._done.is_set() and not self._stopped():
                    try:
                        self._send_all(pool)
                    except (Fenced, NotSynced) as error:
                        removed = self._ownership.removed() if self._epoch else None
                        if removed:
                            self._failed(removed)
                        self._lost = removed or error
                        return
                    except (UsageError, _Unmendable) as error:
                        self._failed(error)
                        self._lost = error
                        return
                    except Stopped as error:
                        self._stopped_by = error
                        return
                    except Exception as error:
                        log.debug("%s", self.store, exc_info=True)
                        self._failed(error)
                        if self._closing.wait(_AGAIN) or abandoned():
                            return
        except BaseException as error:  # what a thread may not die of unheard, panics of obstore
            self._lost = StoreError(f"{self.store} is not sent any more: {error!r}")
            log.exception("%s: is not sent any more", self.store)
            self._tell(str(self._lost))

    def _stopped(self) -> bool:
        return abandoned() or (self._closing.is_set() and not self._finishing.is_set())

    def _failed(self, error: Exception) -> None:
        text = f"{self.store} cannot be sent and waits in the spool, the scan goes on: {error}"
        if text != self._fails:
            log.error("%s", text, exc_info=error)
        if not self._fails:
            self._tell(text)
        self._fails = text

    def _works(self) -> None:
        if self._fails:
            self._fails = ""
            log.warning("%s is sent again", self.store)
            self._tell(f"{self.store} is sent again")

    def _send_all(self, pool: ThreadPoolExecutor) -> None:
        if self._ownership.is_finished_there():
            self._ownership.clear_beside()
            self._done.set()
            return
        if self._epoch is None:
            if self._registered is not None:
                place = self._registered
                Bucket(place.parent, self._outage).put(place.name, str(self.store).encode())
            self._epoch = self._ownership.claim(self._check_here)
        carrier = Carrier(
            self.bucket,
            Documents(self.bucket, self._ownership.key),
            self._epoch,
            self.spool.id or "",
            pool,
            SentAhead(pool, self._news.set),
            self.interval,
            self._distrusted,
        )
        try:
            self._look_and_send(Sender(self._ownership, carrier))
        finally:  # what is sent late must not come after what another one sends
            carrier.ahead.end_all()

    def _look_and_send(self, sender: Sender) -> None:
        while True:
            begun = time.monotonic()
            self._committed.clear()
            last, closing = self._finishing.is_set(), self._closing.is_set() or abandoned()
            flushes = self._flushes
            all_of_it = last or closing or flushes > self._flushed or self.spool.full
            problem = sender.send(all_of_it=all_of_it)
            self.commits = sender.commits
            if problem is None:
                self._works()
                self._note_flushed(flushes)
            elif last and isinstance(problem, Damaged):
                raise _Unmendable(self.store, problem) from problem
            elif last or closing:
                raise problem
            else:
                self._failed(problem)
            all_sent = all_of_it and problem is None
            self.spool.free(sender.sealed(), sender.is_there, all_sent=all_sent)
            self._ownership.note_claimed()
            if last:
                self._finish(sender)
                self._done.set()
                return
            if closing:
                return
            self._wait(begun, sender)

    def _wait(self, begun: float, sender: Sender) -> None:
        """Wait for an interval, or until there is something to be done now; for half of it if there
        is a commit by then. So who looks as often as there are commits looks just behind them.
        What is sealed meanwhile is sent: else the way there is idle for half of the time."""

        def left() -> float:
            share = 0.5 if self._committed.is_set() else 1.0
            return 0.0 if self._wake.is_set() else begun + share * self.interval - time.monotonic()

        while left() > 0:
            self._news.clear()
            sender.send_sealed()
            self._news.wait(max(left(), 0.0))
        self._wake.clear()

    def _finish(self, sender: Sender) -> None:
        try:
            sender.finish()
        except Overwritten as error:
            self._distrusted = error.keys
            raise
        except Damaged as error:
            raise _Unmendable(self.store, error) from error

    def _note_flushed(self, flushes: int) -> None:
        with self._flushing:
            self._flushed = flushes
            self._flushing.notify_all()
