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
        self._closed = False
        self._changed = threading.Condition()

    @property
    def nbytes(self) -> int:
        return self._bytes

    def put(self, item: T, nbytes: int) -> bool:
        """Wait for room and add the item; False, without adding it, once the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room(nbytes))
            return self._add(item, nbytes)

    def offer(self, item: T, nbytes: int) -> bool:
        """Add the item if there is room for it now; say whether there was."""
        with self._changed:
            return self._has_room(nbytes) and self._add(item, nbytes)

    def get(self, timeout: float = 0.0) -> T | None:
        """The oldest item; None if there is none within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout)
            if not self._items:
                return None
            item, nbytes = self._items.popleft()
            self._bytes -= nbytes
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Let everybody who waits go on; nothing more can be added."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, nbytes: int) -> bool:
        return not self._items or self._bytes + nbytes <= self._limit

    def _add(self, item: T, nbytes: int) -> bool:
        if self._closed:
            return False
        self._items.append((item, nbytes))
        self._bytes += nbytes
        self._changed.notify_all()
        return True
