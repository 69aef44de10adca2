"""The control messages of one scan: as they are published, and as Redis keeps them where that was
not heard. Each goes into the scan's journal once."""

from __future__ import annotations

import logging
import math
import threading
import time
from itertools import islice

from zwriter.errors import BadMessage
from zwriter.ingest import BeamlineStates, ByteQueue, ControlEvent, Kept, events_in
from zwriter.ingest.commands import Commands
from zwriter.model import ScanState
from zwriter.protocol import FileReference, ScanStatus, decode, keys
from zwriter.scan import ScanWriter

log = logging.getLogger(__name__)

_HEARD_BYTES = 64 * 1024 * 1024
_LOOK_AHEAD = 256  # points behind the last one seen whose keys are looked at
_MOST_AT_ONCE = 1000
_MOST_AT_ALL = 100_000


class Inbox:
    """What any thread tells a scan: what was heard, and whether something may have been missed."""

    def __init__(self) -> None:
        self.heard: ByteQueue[ControlEvent] = ByteQueue(_HEARD_BYTES)
        self.missed = threading.Event()
        self.missed.set()
        self._closed = False

    def hear(self, event: ControlEvent) -> bool:
        """Take note of an event; False once it is closed. What there is no room for is missed, and
        looked for in Redis."""
        if self.heard.offer(event, len(event.raw) + 1000):
            return True
        self.missed.set()
        return not self._closed

    def close(self) -> list[ControlEvent]:
        """Hear no more; what was heard and not taken."""
        self._closed = True
        self.heard.close()
        return list(iter(self.heard.get, None))


class ControlMessages:
    """Journals the control messages of a scan. Its methods raise what redis-py raises when Redis
    is away."""

    def __init__(
        self, client: Commands, scan_id: str, label: str, writer: ScanWriter, inbox: Inbox
    ) -> None:
        self._client, self._kept = client, Kept(client)
        self._scan_id = scan_id
        self._label = label
        self._writer = writer
        self._inbox = inbox
        self._seen: dict[tuple[str, str], bytes] = {}
        self._known = False  # to Redis, at the last look or before
        self.forgotten = False  # by Redis, though the scan is open
        self._first_hole = 0
        self._bad_points: set[int] = set()  # whose key holds something else
        self._behind_last = max(writer.record.points, default=-1) + 1
        self._states: BeamlineStates | None = None

    def journal_heard(self, seconds: float = math.inf) -> int:
        """Journal what was heard, for as long; how much of it was of this scan alone."""
        count, until = 0, time.monotonic() + seconds
        while time.monotonic() < until and (event := self._inbox.heard.get()) is not None:
            self._journal(event.kind, event.name, event.raw)
            count += event.scan_id == self._scan_id
        return count

    def look(self) -> int:
        """Journal what Redis keeps and was not heard; how many points that were.

        Each time status, points, baseline and states; where something may have been missed also
        configuration, files, deployment and account.
        """
        everything = self._inbox.missed.is_set()
        self._inbox.missed.clear()
        try:
            status = self._kept.status(self._scan_id)
            self.forgotten = self._known and status is None and not self.ended
            self._known = status is not None
            self._take("status", "", status)
            if not self._writer.record.baseline:
                self._take("baseline", "", self._kept.baseline(self._scan_id))
            if self._states is None:  # only now the scan's beginning is known
                since = self._writer.record.start_time or time.time()
                self._states = BeamlineStates(self._client, since)
            for name, raw in self._states.news():
                self._take("state", name, raw)
            if everything:
                self._look_at_the_rest()
            return self._look_for_points(all_of_them=everything)
        except BaseException:
            if everything:
                self._inbox.missed.set()
            raise

    def lacks(self, event: ControlEvent) -> bool:
        """Whether the scan would have more if it had taken this."""
        record = self._writer.record
        match event.kind:
            case "segment":
                return int(event.name) not in record.points
            case "baseline":
                return not record.baseline
            case "file":
                told = FileReference.of(decode(event.raw))
                return record.file_references.get(event.name) != told
        return False

    @property
    def may_go_on(self) -> bool:
        """Whether Redis still has a status of the scan, and it was not left open."""
        last = self._writer.record.status_message
        left = last is not None and self._kept.is_left_open(last)
        return not left and self._kept.status(self._scan_id) is not None

    @property
    def ended(self) -> bool:
        status = self._writer.record.status
        return status is not None and status.ended

    @property
    def whole(self) -> bool:
        """Whether all is there that is due; of a scan that was not closed, that is not known."""
        record = self._writer.record
        lacks = record.lost_points or record.lacks_baseline
        return record.status is ScanState.CLOSED and not lacks

    def _look_at_the_rest(self) -> None:
        found = self._kept.configurations() | self._kept.files(self._scan_id)
        for key, raw in found.items():
            try:
                events = events_in(key, raw)
            except BadMessage as error:
                log.warning("%s: %s is ignored: %s", self._label, key, error)
                continue
            for event in events:
                self._take(event.kind, event.name, event.raw)
        if self._writer.record.deployment is None:
            self._take("deployment", "", self._kept.last_entry(keys.deployment_info()))
        if self._writer.record.account is None:
            self._take("account", "", self._kept.last_entry(keys.account()))

    def _look_for_points(self, *, all_of_them: bool) -> int:
        """Journal points that were not heard; how many. Those that are looked for lie a little
        behind the last one known; if `all_of_them`, up to the last one that there should be."""
        points = self._writer.record.points
        while self._first_hole in points:
            self._first_hole += 1
        due = self._writer.record.expected_points if all_of_them else 0
        most = _MOST_AT_ALL if all_of_them else _MOST_AT_ONCE
        count, looked, begin = 0, 0, self._first_hole
        while looked < most:
            end = max(self._behind_last + _LOOK_AHEAD, due)  # which grows by what is found
            numbers = (n for n in range(begin, end) if n not in points)
            wanted = list(islice((n for n in numbers if n not in self._bad_points), _MOST_AT_ONCE))
            if not wanted:
                break
            count += self._take_points(wanted)
            looked, begin = looked + len(wanted), wanted[-1] + 1
        return count

    def _take_points(self, numbers: list[int]) -> int:
        count = 0
        for number, raw in self._kept.points(self._scan_id, numbers).items():
            self._take("segment", str(number), raw)
            if number in self._writer.record.points:
                count += 1
            else:
                self._bad_points.add(number)
        return count

    def _take(self, kind: str, name: str, raw: bytes | None) -> None:
        if raw is not None:
            self._journal(kind, name, raw)

    def _journal(self, kind: str, name: str, raw: bytes) -> None:
        if kind != "segment":
            if self._seen.get((kind, name)) == raw:
                return
            self._seen[kind, name] = raw
        if kind == "status" and not self._is_news(raw):
            return
        self._writer.journal(kind, name, raw)
        if kind == "segment":
            self._behind_last = max(self._behind_last, int(name) + 1)

    def _is_news(self, raw: bytes) -> bool:
        """Whether a status tells that something has changed."""
        last = self._writer.record.status_message
        try:
            status = ScanStatus.of(decode(raw))
        except BadMessage:
            return True  # the writer says what is wrong with it, and keeps it
        if last is None:
            log.info("%s: %s", self._label, status.status)
            return True
        if (status.status, status.timestamp) == (last.status, last.timestamp):
            return False
        ends = status.status.ended and not last.status.ended  # whatever the clocks say
        if not ends and (status.timestamp or math.inf) < (last.timestamp or 0.0):
            return False
        if status.status is last.status or last.status.ended:
            log.warning(
                "%s: a second %r is ignored, it is %s already",
                self._label,
                str(status.status),
                last.status,
            )
            return False
        log.info("%s: %s", self._label, status.status)
        return True
