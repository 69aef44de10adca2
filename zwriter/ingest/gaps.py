"""What was announced: the index lists, which Redis never trims, say how much there should be."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from zwriter.errors import BadMessage
from zwriter.ingest.commands import Commands, WrongType
from zwriter.ingest.discovery import StreamName
from zwriter.protocol.codec import DATA, decode
from zwriter.protocol.messages import SignalIndex

log = logging.getLogger(__name__)

_AT_ONCE = 1000

Counts = dict[tuple[str, str], int]


class Announced:
    """How many updates of each signal of a scan the index lists announce."""

    def __init__(self, client: Commands) -> None:
        self._client = client
        self._lists: dict[str, _IndexList] = {}

    def counts(self, streams: Iterable[StreamName], received: Mapping[Any, int]) -> Counts:
        """(device, signal) -> updates announced, for those of `streams` that have such a list.

        `received` says what was read so far: where the end of a list proves that this is all of
        it, the list itself (one entry an update) is not read.
        """
        total: Counter[tuple[str, str]] = Counter()
        for stream in streams:
            if stream.index_key is not None:
                index = self._lists.setdefault(stream.index_key, _IndexList(stream.index_key))
                so_far = {
                    name: count
                    for (device, name), count in received.items()
                    if device == stream.device
                }
                for signal, count in index.counts(self._client, so_far).items():
                    total[stream.device, signal] += count
        return dict(total)


class _IndexList:
    def __init__(self, key: str) -> None:
        self._key = key
        self._read = 0
        self._first: bytes | None = None
        self._counted: Counter[str] = Counter()
        self._last: dict[str, int] = {}

    def counts(self, client: Commands, received: Mapping[str, int]) -> dict[str, int]:
        try:
            return self._counts(client, received)
        except WrongType:
            log.warning("%s: holds something else than the list that is announced there", self._key)
            return dict(self._counted)

    def _counts(self, client: Commands, received: Mapping[str, int]) -> dict[str, int]:
        length, first = client.llen(self._key), client.lindex(self._key, 0)
        if length < self._read:  # Redis has lost its end, after a failover, or all that we know
            self._read = length if first == self._first else 0
        self._first = first
        if not self._counted and length:
            last = self._signals(client.lindex(self._key, -1) or b"")
            # Each entry names a signal at most once. So if the last numbers of all its signals are
            # those of the list's last entry, each entry named them all; and if each of these
            # updates was read, there is no entry left that could have named another signal.
            if last and all(
                number == length - 1 and received.get(signal) == length
                for signal, number in last.items()
            ):
                return dict.fromkeys(last, length)
        while entries := client.lrange(self._key, self._read, self._read + _AT_ONCE - 1):
            for raw in entries:
                for signal, number in self._signals(raw).items():
                    self._count(signal, number)
            self._read += len(entries)
        return dict(self._counted)

    def _count(self, signal: str, number: int | None) -> None:
        """Count what this number proves: also what a list that was lost had announced."""
        if number is None:
            self._counted[signal] += 1
            return
        last = self._last.get(signal, -1)
        if number < last:
            last = -1  # the counter has begun anew
        # 0 where an update was announced twice, for want of an answer to the first time
        self._counted[signal] += number - last
        self._last[signal] = number

    def _signals(self, raw: bytes) -> dict[str, int | None]:
        """signal -> running number, of one entry; empty if it cannot be read."""
        try:
            index = SignalIndex.of(decode(raw, DATA))
        except BadMessage as error:
            log.warning("%s: an entry cannot be read: %s", self._key, error)
            return {}
        return {signal: index.indices.get(signal) for signal in {**index.shapes, **index.indices}}
