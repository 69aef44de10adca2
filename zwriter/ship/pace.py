"""When what is new of a device is worth being sent, with what must be sent again with it."""

from __future__ import annotations

import time

SMALL = 64 * 1024  # bytes of an array that are sent again after LATE intervals, however few are new
LATE = 5
WHOLE = 7  # how often as much as before is new when shards are sent again whose rows are in pieces
_LONG = 8  # times the usual time between two commits with updates


class Pace:
    """Of one device, that is looked at each `interval` seconds."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._looked = 0.0  # when it was looked at the last time
        self._sent = 0.0  # when it was sent the last time
        self._seen = 0  # how often there were more updates
        self._first = self._last = 0.0  # when they were seen

    def saw_updates(self) -> None:
        """There are updates in the spool that were not there when it was looked at before."""
        self._last = time.monotonic()
        self._first = self._first or self._last
        self._seen += 1

    def looks(self) -> float:
        """How many intervals have passed since it was looked at before."""
        before, self._looked = self._looked, time.monotonic()
        return max((self._looked - before) / self._interval, 1.0)

    def was_sent(self) -> None:
        """In shards."""
        self._sent = time.monotonic()

    def is_due(self, new: int, again: int, arrays: int) -> bool:
        """Whether to send `new` bytes with which `again` bytes are sent once more; of how many
        arrays these are.

        It is if what is new is as much as the others: so no more than the data is sent again while
        they come, however they come, and once more at the end. What is small is only waited for a
        while, which costs more; and who has paused gets what there is.
        """
        if new >= again:
            return True
        return self._is_late and (again <= SMALL * arrays or self._pauses)

    def is_due_whole(self, new: int, again: int) -> bool:
        """The same of what may be sent as a piece before: then nobody who knows of pieces waits."""
        return new >= WHOLE * again or (self._is_late and self._pauses)

    @property
    def _is_late(self) -> bool:
        return time.monotonic() - self._sent >= LATE * self._interval

    @property
    def _pauses(self) -> bool:
        """Whether for long there was no commit: a stream that is steady never pauses."""
        usual = (self._last - self._first) / max(self._seen - 1, 1)
        quiet = time.monotonic() - self._last
        return quiet >= max(_LONG * usual, LATE * self._interval)
