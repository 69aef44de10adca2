"""Work that is handed to threads, by a thread that may be interrupted at any moment.

Not `concurrent.futures`: Python code takes its locks, and an interrupt (Ctrl-C) there leaves them
taken, for all who come later. Here the interpreter does in one step what must not be done by half.
"""

from __future__ import annotations

import os
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, NoReturn, TypeVar

THREADS = os.cpu_count() or 1
_SOON = 0.02  # seconds

T = TypeVar("T")


class Task(Generic[T]):
    """Some work, which is done by a thread or by the one who waits for it: whoever comes first. No
    more than one waits at a time."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._taken: dict[str, str] = {}
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._runs = _taken_lock()

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return bool(self._results) or self._error is not None

    def _is_for(self, who: str) -> bool:
        """Whether it is `who` that does it: always, if it once was."""
        return self._taken.setdefault("by", who) == who

    def run(self) -> None:
        """For one of the threads."""
        if self._is_for("thread"):
            try:
                self._results.append(self._work())
            except BaseException as error:  # noqa: BLE001 - it is raised by who waits
                self._error = error
            self._runs.release()

    def result(self) -> T:
        """Wait for what comes of it; if no thread begins with it soon, it is done here and now.
        Raises what the work raises. After an interrupt, ask again."""
        while not self.done:
            self._runs.acquire(timeout=_SOON)
            if not self.done and self._is_for("waiter"):
                self._results.append(self._work())
                self._work = _done  # what it needed is not kept until a thread comes by
        if self._error is not None:
            raise self._error
        return self._results[0]

    def drop(self) -> None:
        """Return when nobody does it, now or later."""
        while not self.done and not self._is_for("waiter"):
            self._runs.acquire(timeout=_SOON)
        self._work = _done


class Threads:
    """As many as there are cores, from when they are needed to `end`."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task[Any] | None] = SimpleQueue()
        self._ended: list[LockType] = []  # of each thread, free once it has ended
        self._wanted = THREADS

    def begin(self, task: Task[Any]) -> None:
        """Have it done soon; if there are no threads, who waits for it does it."""
        if len(self._ended) < self._wanted:
            ended = _taken_lock()
            try:
                start_new_thread(self._run, (ended,))
                self._ended.append(ended)
            except RuntimeError:  # there is none now
                pass
        if self._ended:
            self._tasks.put(task)

    def _run(self, ended: LockType) -> None:
        while (task := self._tasks.get()) is not None:
            task.run()
            del task  # and what it needed
        self._tasks.put(None)  # for the next one
        ended.release()

    def end(self) -> None:
        """Return when all that they have begun with is done: when Python ends it stops them in the
        middle of something, with locks that others may wait for."""
        ended, self._ended, self._wanted = self._ended, [], 0
        self._tasks.put(None)
        for lock in ended:
            lock.acquire()


def _taken_lock() -> LockType:
    lock = allocate_lock()
    lock.acquire()
    return lock


def _done() -> NoReturn:
    raise RuntimeError("it was done, or dropped")
