"""Shards that will not change any more, on their way before the commit that says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

SIDE_BY_SIDE = 4  # objects of a scan that are on their way at one time


class SentAhead:
    """What of a scan is sent while nobody waits for it. For one thread; `news` is called, in any,
    when there is room for more.

    What cannot be sent is not tried again before `look`, which tells what is wrong.
    """

    def __init__(self, pool: ThreadPoolExecutor, news: Callable[[], None]) -> None:
        self._pool, self._news = pool, news
        self._begun: dict[str, Future[None]] = {}

    @property
    def has_room(self) -> bool:
        return sum(not future.done() for future in self._begun.values()) < SIDE_BY_SIDE

    def begin(self, key: str, send: Callable[[], None]) -> None:
        """Send an object, if that was not begun since the last look."""
        if key not in self._begun:
            self._begun[key] = future = self._pool.submit(send)
            future.add_done_callback(lambda _: self._news())

    def look(self) -> None:
        """What was begun and is ended may be begun again."""
        self._begun = {key: sent for key, sent in self._begun.items() if not sent.done()}

    def end(self, key: str) -> None:
        """Return when an object is not on its way any more."""
        if key in self._begun:
            wait([self._begun[key]])

    def end_all(self) -> None:
        wait(self._begun.values())
