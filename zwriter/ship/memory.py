"""Memory of objects that are on their way into buckets: bounded, and used again."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from zwriter.store.shard_index import CACHE_LINE, address_of

LARGE = 1024 * 1024  # bytes of an object
SHARED = 6  # large objects that are on their way into a bucket, besides one of each scan

_LOOK = 0.2  # seconds

_free: deque[NDArray[np.uint8]] = deque()  # for whatever bucket: others may never get a scan again


class Memory:
    """For large objects of all scans that go to one bucket, used again by whatever bucket: the
    first touch of new memory takes longer than a copy.

    Each scan may have one, and `shared` besides are for whoever comes: a scan whose requests are
    refused keeps no other from sending.
    """

    def __init__(self, shared: int = SHARED) -> None:
        self._shared = threading.BoundedSemaphore(shared)

    @contextmanager
    def lend(
        self, nbytes: int, own: threading.Semaphore, pause: Callable[[float], None]
    ) -> Iterator[memoryview]:
        """Memory for `nbytes`, in which anything may be.

        own: of the scan; pause: called, with no seconds, while there is none: it may raise.
        """
        if nbytes < LARGE:
            yield memoryview(bytearray(nbytes))
            return
        taken = self._room(own, pause)
        try:
            yield from self._lend(nbytes)
        finally:
            taken.release()

    def _room(
        self, own: threading.Semaphore, pause: Callable[[float], None]
    ) -> threading.Semaphore:
        while not own.acquire(blocking=False):
            if self._shared.acquire(timeout=_LOOK):
                return self._shared
            pause(0)
        return own

    def _lend(self, nbytes: int) -> Iterator[memoryview]:
        try:
            data = _free.pop()
        except IndexError:
            data = np.empty(0, np.uint8)
        if len(data) < nbytes:
            data = _whole_lines(nbytes)
        try:
            yield data[:nbytes].data
        finally:
            if len(_free) < SHARED:  # hundreds of scans catch up together after an outage
                _free.append(data)


def _whole_lines(nbytes: int) -> NDArray[np.uint8]:
    """Memory that begins with a cache line, as files do: they are read twice as fast then."""
    memory = np.empty(nbytes + CACHE_LINE, np.uint8)
    return memory[-address_of(memory) % CACHE_LINE :][:nbytes]


_of_buckets: defaultdict[tuple[str, str], Memory] = defaultdict(Memory)
_looking = threading.Lock()


def memory_of(endpoint: str, bucket: str) -> Memory:
    """That of all scans which go to a bucket."""
    with _looking:
        return _of_buckets[endpoint, bucket]
