"""The producer's running numbers: what is missing, what came twice, where a counter began anew."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zwriter.model import Ledger, Rejected, Run, Update
from zwriter.raw import ends_of

MAX_RANGES = 10_000  # of missing numbers: each is in every commit


@dataclass(slots=True)
class Segment:
    """Updates whose numbers follow each other; `gap` updates before the first are missing."""

    gap: int
    updates: list[Update] = field(default_factory=list)


class Numbering:
    """Puts a signal's updates in the order of their numbers and keeps the books in its ledger."""

    def __init__(self, ledger: Ledger, last_content: int = 0) -> None:
        self._ledger = ledger
        self.last_content = last_content  # checksum of the last message: what a repetition has too

    def segments(self, updates: list[Update]) -> Iterator[Segment | Rejected]:
        """`updates` as segments to be written, and what cannot be placed any more."""
        self._ledger.received += len(updates)
        if updates and self._follow_each_other(updates):
            self._ledger.next_number += len(updates)
            self._remember(updates[-1])
            yield Segment(0, updates)
            return
        segment = Segment(0)
        for update in _by_number(updates, self._ledger.next_number):
            gap = self._gap_before(update)
            if isinstance(gap, Rejected):
                yield gap
            elif gap is not None:
                if gap and segment.updates:
                    yield segment
                    segment = Segment(0)
                segment.gap += gap
                segment.updates.append(update)
                self._remember(update)
        if segment.updates:
            yield segment

    def follows(self, run: Run) -> bool:
        """Whether nothing is missing before and in `run`, and nothing of it came before."""
        if run.numbers is None:
            return True
        first = self._ledger.next_number
        expected = np.arange(first, first + len(run))
        return bool(run.numbers.tobytes() == expected.tobytes())  # a third of array_equal's time

    def took(self, run: Run) -> None:
        """Note that `run`, which follows, is written."""
        self._ledger.received += len(run)
        if run.numbers is not None:
            self._ledger.next_number += len(run)
        if run.messages is not None:
            self.last_content = _checksum(run.messages.length, *run.messages.last_ends)

    def _follow_each_other(self, updates: list[Update]) -> bool:
        first = self._ledger.next_number
        return [update.number for update in updates] == list(range(first, first + len(updates)))

    def _gap_before(self, update: Update) -> int | Rejected | None:
        """How many updates are missing before this one; None if it was written already."""
        ledger, number = self._ledger, update.number
        again = update.source is not None and update.source.again
        if number is None and again:
            reason = "its stream was replaced by another one: whether it was written is not known"
            return Rejected(update.device, update.signal, reason, update.source)
        if number is None:
            return 0
        gap = number - ledger.next_number
        if gap >= 0:
            if gap and len(ledger.missing_ranges) >= MAX_RANGES:
                ledger.unlisted += gap
                gap = 0  # no room is left for what has no range
            elif gap:
                ledger.missing_ranges.append([ledger.next_number, number - 1])
            ledger.next_number = number + 1
            return gap
        late = any(first <= number <= last for first, last in ledger.missing_ranges)
        late |= bool(ledger.unlisted) and number > ledger.missing_ranges[-1][1]
        if (gap == -1 and self.last_content == _content(update) != 0) or (again and not late):
            ledger.repeated += 1
            return None
        if late:
            reason = f"update {number} came late: room was left for it, and rows are never changed"
            return Rejected(update.device, update.signal, reason, update.source)
        ledger.restarts += 1
        ledger.next_number = number + 1
        return 0

    def _remember(self, update: Update) -> None:
        self.last_content = _content(update)


def _content(update: Update) -> int:
    if update.source is None:
        return 0
    raw = update.source.raw
    return _checksum(len(raw), *ends_of(raw))


def _checksum(length: int, first: bytes | memoryview, last: bytes | memoryview) -> int:
    """Of a message: its timestamps, at one of its ends, differ from those of any other."""
    return zlib.crc32(last, zlib.crc32(first, length))


def _by_number(updates: list[Update], first: int) -> list[Update]:
    """What one reading gave, in the order of the numbers, if these are new and all different."""
    numbers: list[Any] = [update.number for update in updates]
    if None in numbers or len(set(numbers)) < len(numbers) or min(numbers) < first:
        return updates
    return sorted(updates, key=lambda update: update.number or 0)
