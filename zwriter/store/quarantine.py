"""What could not be written, raw and with the reason: a framed log beside the store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack

from zwriter.failpoint import failpoint
from zwriter.model import Position, Rejected
from zwriter.protocol.keys import readable
from zwriter.store.framed import FramedLog, read_frames

_LONGEST_REASON = 1000
_REASONS_BYTES = 16 * 1024 * 1024  # of reasons without messages, once the limit is reached
_REMEMBERED = 10_000


class Quarantine:
    """Keeps up to `limit` bytes of messages. See `FramedLog` for `path` and `check`."""

    def __init__(self, path: Path, limit: int, check: Callable[[], None]) -> None:
        self._path = path
        self._limit = limit
        self._log = FramedLog(path, check)
        self._kept: set[Position] = set()
        self._read_again: Counter[tuple[Any, ...]] = Counter()

    def __bool__(self) -> bool:
        """Whether there is anything in it, now or before a restart."""
        return self._log.nbytes > 0

    @property
    def room(self) -> int:
        """How many bytes more are kept."""
        return self._limit - self._log.nbytes

    def expect_again(self, positions: Mapping[str, str]) -> None:
        """What is in it of messages behind `positions`, or that have none, will come again: from
        the streams, which are read on from there. It is not kept twice.
        """
        for frame in read_frames(self._path):
            _, device, signal, stream, entry, reason, raw = msgpack.unpackb(frame)
            if not stream or _number(entry) > _number(positions.get(stream, "0-0")):
                self._read_again[device, signal, reason, (stream, entry) if stream else raw] += 1

    def keep(self, rejected: Rejected) -> None:
        """Keep a message: once, whatever number of signals it has; not at all when the limit is
        reached, and nothing more when the reasons alone take too much.
        """
        source = rejected.source
        raw = source.raw if source else b""
        position = source.position if source else None
        stream, entry = (position.stream, position.entry) if position else ("", "")
        texts = rejected.device, rejected.signal, stream, rejected.reason[:_LONGEST_REASON]
        device, signal, stream, reason = map(readable, texts)
        known = (device, signal, reason, (stream, entry) if stream else raw)
        if self._read_again[known]:
            self._read_again[known] -= 1
            return
        if self.room < -_REASONS_BYTES:
            return
        if len(raw) > self.room or position in self._kept:
            raw = b""
        failpoint("quarantine.appending")
        when = rejected.time or time.time()
        self._log.append(msgpack.packb([when, device, signal, stream, entry, reason, raw]))
        failpoint("quarantine.appended")
        if position is not None:
            self._remember(position)

    def _remember(self, position: Position) -> None:
        """Note that the message at `position` is kept; not for ever."""
        if len(self._kept) >= _REMEMBERED:
            self._kept.clear()
        self._kept.add(position)

    def sync(self) -> None:
        """Return when all is on the disk."""
        self._log.sync()

    def close(self) -> None:
        self._log.close()


def _number(entry: str) -> tuple[int, int]:
    """The id of an entry, to be compared with others of its stream."""
    time, _, count = entry.partition("-")
    return int(time), int(count or 0)
