"""A queue that is bounded by the bytes in it: when it is full, whoever fills it waits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """First in, first out, for one reader and any number of writers.

    What is in it never exceeds `limit` bytes, except that one item larger than that passes alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._enough = 0  # that the reader waits for
        self._crowded = 0  # writers who wait for room
        self._closed = False
        lock = threading.Lock()
        self._come, self._gone = threading.Condition(lock), threading.Condition(lock)

    @property
    def nbytes(self) -> int:
        return self._bytes

    def put(self, item: T, nbytes: int) -> bool:
        """Wait for room and add the item; False, without adding it, once the queue is closed."""
        with self._gone:
            if not self._has_room(nbytes):
                self._crowded += 1
                self._come.notify()
                self._gone.wait_for(lambda: self._closed or self._has_room(nbytes))
                self._crowded -= 1
            return self._add(item, nbytes)

    def offer(self, item: T, nbytes: int) -> bool:
        """Add the item if there is room for it now; say whether there was."""
        with self._gone:
            return self._has_room(nbytes) and self._add(item, nbytes)

    def get(self, timeout: float = 0.0, enough: int = 0) -> T | None:
        """The oldest item, once there are `enough` bytes, or no room for more; None if that is not
        so within `timeout` seconds.
        """
        with self._come:
            self._enough = enough
            if not self._come.wait_for(self._may_get, timeout) or not self._items:
                return None
            item, nbytes = self._items.popleft()
            self._bytes -= nbytes
            self._gone.notify_all()
            return item

    def close(self) -> None:
        """Let everybody who waits go on; nothing more can be added."""
        with self._gone:
            self._closed = True
            self._come.notify()
            self._gone.notify_all()

    def _may_get(self) -> bool:
        enough = self._bytes >= self._enough or self._crowded > 0
        return self._closed or (enough and bool(self._items))

    def _has_room(self, nbytes: int) -> bool:
        return not self._items or self._bytes + nbytes <= self._limit

    def _add(self, item: T, nbytes: int) -> bool:
        if self._closed:
            return False
        self._items.append((item, nbytes))
        self._bytes += nbytes
        if self._may_get():
            self._come.notify()
        return True
