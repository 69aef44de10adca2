"""A scan while it is open: data and control messages into the writer, until all is there."""

from __future__ import annotations

import logging
import time

import redis

from zwriter.ingest import Announced, Batch, ControlEvent, Counts, StreamReader
from zwriter.protocol import keys
from zwriter.scan import UNCOMMITTED_BYTES, ScanWriter
from zwriter.service.alarms import BadInput, Reading, SlowDisk
from zwriter.service.control_messages import ControlMessages, Inbox
from zwriter.service.lag import Lag
from zwriter.service.shared import Shared

log = logging.getLogger(__name__)

_TICK = 0.1  # seconds without data until something else is looked after
_MOMENT = 0.01  # the same when a commit is due
_LONGEST_GATHERING = 1.0  # seconds that messages wait for others to be decoded with
_LOOK_INTERVAL = 1.0  # seconds between looks at the keys of the scan
_SETTLE = 0.5  # seconds without news after which a scan that seems whole is finished
_LONG = (
    12  # drain_timeouts after which a scan that nobody ends, or that goes on after its end, ends
)


class ScanLife:
    """Feeds `writer` from Redis and from `inbox`. `label` is what the log calls the scan."""

    def __init__(
        self,
        shared: Shared,
        scan_id: str,
        label: str,
        writer: ScanWriter,
        inbox: Inbox,
        slow: SlowDisk,
    ) -> None:
        self._shared = shared
        self._slow = slow
        self._scan_id = scan_id
        self._label = label
        self._writer = writer
        self._opened = time.time()
        self._inbox = inbox
        self._resumed = writer.record.status is not None  # begun by a service before this one
        self._control = ControlMessages(shared.client, scan_id, label, writer, inbox)
        if not writer.finished:
            self._control.journal_heard(_TICK)  # the status, which names the devices
        self._announced = Announced(shared.client)
        self._lag = Lag(label)
        self._bad_input = BadInput(shared.outbox, scan_id, writer)
        self._expected: Counts = {}
        self._reader = StreamReader(
            shared.client,
            scan_id,
            writer.positions,
            _room_to_read(shared.settings.redis.queue_bytes),
            self._devices(),
        )
        self._reading = Reading(shared.outbox, shared.client, scan_id, self._reader)
        self._drain_timeout = shared.settings.redis.drain_timeout
        self._last_news = time.monotonic()
        self._gather_until = 0.0
        self._last_look = 0.0
        self._back_since = self._last_news  # when Redis was there again, or always
        self._away = False
        self._ended_at: float | None = None  # time.monotonic
        self._end = 0.0  # the same moment by the server's clock, in seconds since 1970

    def live(self) -> bool:
        """Write until the scan is over: True; or until the service is stopped: False.

        Over is: BEC has ended it, and all is there that the streams hold, the index lists announce
        and, if it was closed, its points and baseline; or nothing has come for `drain_timeout`.
        While Redis is away it is not over.
        """
        self._look()
        self._reader.start()
        try:
            while not self._shared.stop.is_set():
                self._step()
                if self._over():
                    self._control.journal_heard()
                    self._note_what_is_missing()
                    self._note_what_may_be_lost()
                    return True
            self._control.journal_heard()
            self._writer.commit()
            self._take_what_was_read()
            return False
        finally:
            self._reader.stop()

    def lacks(self, event: ControlEvent) -> bool:
        """Whether the scan would have more if it had taken this."""
        return self._control.lacks(event)

    def _take_what_was_read(self) -> None:
        """Redis may trim it before the next service comes."""
        self._reader.stop()
        while self._reader.nbytes:
            self._writer.apply(self._reader.get() or [])
            self._writer.commit_due()
        self._writer.commit()

    def _step(self) -> None:
        """Take what has come, and make visible what is due."""
        if self._control.journal_heard(_TICK):  # the rest later: data waits
            self._last_news = time.monotonic()
        batch = self._what_has_come()
        if batch:
            with self._slow.watched():
                self._writer.apply(batch)
            self._lag.took(batch)
            self._last_news = time.monotonic()
        elif not self._reader.alive and not self._reader.nbytes:
            raise RuntimeError("its streams can be read no more; the log says why")
        with self._slow.watched():
            self._writer.commit_due()
        if time.monotonic() - self._last_look >= _LOOK_INTERVAL:
            self._look()  # which takes its time while Redis hangs

    def _what_has_come(self) -> Batch | None:
        """What is to be written now: before a commit all there is, else what is worth it."""
        if not self._control.ended:
            left = min(self._writer.commits_in, self._gather_until - time.monotonic())
            wait = 0.0 if self._inbox.heard.nbytes else min(max(left, 0.0), _TICK)
            batch = self._reader.get(wait, gathering=True)
            if batch or (self._writer.commits_in and time.monotonic() < self._gather_until):
                return batch
        self._gather_until = time.monotonic() + _LONGEST_GATHERING
        return self._reader.get(_TICK if self._control.ended else _MOMENT)

    def _devices(self, *priorities: str) -> set[str]:
        """The devices that the scan's status names, of some priorities or of all."""
        status = self._writer.record.status_message
        named = status.readout_priority if status else {}
        return {name for key in priorities or named for name in named.get(key, ())}

    def _look(self) -> bool:
        """Look at what Redis keeps; False if it is away."""
        self._last_look = time.monotonic()
        self._bad_input.raise_alarms()
        self._lag.tell(self._reader.nbytes)
        try:
            if self._control.look():
                self._last_news = time.monotonic()
            if self._away:
                self._away, self._back_since = False, time.monotonic()
            self._give_up_if_dead()
            self._reading.raise_alarms()
            if self._control.forgotten:
                self._reading.tell_forgotten()
        except redis.ResponseError as error:
            self._reading.refused(error)
            return False
        except redis.RedisError as error:
            log.debug("%s: Redis is away: %s", self._label, error)
            self._away = True
            return False
        return True

    def _over(self) -> bool:
        if not self._control.ended:
            return False
        now = time.monotonic()
        try:
            if self._ended_at is None:
                self._end = self._server_time()
                self._ended_at = now
                self._reader.hurry()
                self._inbox.missed.set()
            last = max(self._last_news, self._ended_at)
            silent = self._reader.passed(last + self._drain_timeout)
            endless = self._is_endless(self._ended_at)
            if now - last < min(_SETTLE, self._drain_timeout) and not endless:
                return False
            read = self._reader.emptied(self._ended_at) and not self._reader.nbytes
            if not read and not endless:
                return False
            if not self._look() or (self._last_news > now and not endless):
                return False
            whole = self._all_announced() and self._control.whole
        except redis.RedisError:
            return False
        return whole or silent or endless

    def _is_endless(self, ended_at: float) -> bool:
        """Whether, long after the scan's end, there is more and more that does not belong to it:
        all that was pushed before its end, and a while after that, is written."""
        long = _LONG * self._drain_timeout
        return (
            time.monotonic() - ended_at >= long
            and self._reader.passed(ended_at + long / 2)
            and self._reader.has_handed_on_up_to(self._end + long / 2)
        )

    def _server_time(self) -> float:
        """Seconds since 1970, by Redis' clock if we may ask for it."""
        try:
            seconds, microseconds = self._shared.client.time()
        except redis.ResponseError:
            return time.time()
        return seconds + microseconds / 1e6

    def _all_announced(self) -> bool:
        """Whether what the index lists announce was read."""
        received = {
            (device, signal): ledger.received - ledger.repeated
            for device, signals in self._writer.ledgers.items()
            for signal, ledger in signals.items()
        }
        self._expected = self._announced.counts(self._reader.streams, received)
        return all(received.get(name, 0) >= count for name, count in self._expected.items())

    def _note_what_may_be_lost(self) -> None:
        """The scan is not whole for sure if its streams were not read for so long that they, and
        the lists that say how much there was, may be gone."""
        begun = self._writer.left_at or self._writer.record.start_time or time.time()
        pause = max(self._reader.longest_pause, self._opened - begun)
        if pause < keys.INDEX_TTL:
            return
        ledgers = self._writer.ledgers
        pushed = [(device, signal) for device, signals in ledgers.items() for signal in signals]
        uncounted = ["/".join(name) for name in pushed if name not in self._expected]
        lost = uncounted if pushed else sorted(self._devices("async"))
        if not lost:
            return
        names = ", ".join(lost[:5])
        text = f"{names} could not be read for {pause:.0f} s, and may have been forgotten by Redis"
        log.warning("%s: %s", self._label, text)
        self._writer.give_up(text)

    def _note_what_is_missing(self) -> None:
        """Tell the writer what there should be, and the log what never came."""
        for (device, signal), count in self._expected.items():
            self._writer.expect(device, signal, count)
            known = self._writer.ledgers.get(device, {}).get(signal)
            if known is not None and (lost := known.missing) > 0:
                name = f"{device}/{signal}"
                log.warning("%s: %s: %d of %d updates never came", self._label, name, lost, count)
        record = self._writer.record
        if lost := record.lost_points:
            log.warning("%s: %d of %d points never came", self._label, lost, record.expected_points)
        if record.lacks_baseline:
            log.warning("%s: the baseline never came", self._label)

    def _give_up_if_dead(self) -> None:
        """End a scan that nobody else will.

        Only one that was begun by a service before this one; that Redis, which is there, has no
        status of (that of an open scan has no time to live, that of an ended one half an hour), or
        one of more than a day ago, and another scan was begun since; and of which, while it was
        there, for `_LONG` drain_timeouts nothing came, neither data nor control messages.
        """
        begun = self._writer.record.status is not None
        quiet = time.monotonic() - max(self._last_news, self._back_since)
        if not self._resumed or self._control.ended or not begun or self._reader.nbytes:
            return
        if quiet < _LONG * self._drain_timeout or self._control.may_go_on:
            return
        log.warning("%s: nobody seems to be there to end it; it ends as aborted", self._label)
        self._writer.give_up("zwriter found it open after a restart, and nobody to end it")


def _room_to_read(queue_bytes: int) -> int:
    """What of `queue_bytes` may wait to be written: the rest is written and not yet committed."""
    return max(queue_bytes - UNCOMMITTED_BYTES, queue_bytes // 2)
