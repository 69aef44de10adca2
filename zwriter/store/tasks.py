"""Work that is handed to threads, by a thread that may be interrupted at any moment.

Not `concurrent.futures`: Python code takes its locks, and an interrupt (Ctrl-C) there leaves them
taken, for all who come later. Here the interpreter does in one step what must not be done by half.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, get_ident, start_new_thread
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

THREADS = os.cpu_count() or 1
_SOON = 0.02  # seconds

T = TypeVar("T")


class Task(Generic[T]):
    """Some work, which is done by the first thread that comes to it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done_by: dict[str, int] = {}
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._runs = allocate_lock()
        self._runs.acquire()

    @property
    def done(self) -> bool:
        """Whether it was done."""
        return bool(self._results) or self._error is not None

    def _is_ours(self) -> bool:
        """Whether it is the calling thread that does it: always, if it once was."""
        return self._done_by.setdefault("thread", get_ident()) == get_ident()

    def run(self) -> None:
        """For one of the threads."""
        if self._is_ours():
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
            if not self.done and self._is_ours():
                self._results.append(self._work())
        if self._error is not None:
            raise self._error
        return self._results[0]

    def drop(self) -> None:
        """Return when nobody does it, now or later."""
        while not self.done and not self._is_ours():
            self._runs.acquire(timeout=_SOON)


class Threads:
    """As many as there are cores. They end with the process."""

    def __init__(self) -> None:
        self._tasks: SimpleQueue[Task[object]] = SimpleQueue()
        self._begun = 0

    def begin(self, work: Callable[[], T]) -> Task[T]:
        """Have it done soon."""
        task = Task(work)
        self._tasks.put(task)  # type: ignore[arg-type]
        if self._begun < THREADS:
            self._begun += 1
            try:
                start_new_thread(self._run, ())
            except RuntimeError:  # there are no more: who waits for it does it
                self._begun = THREADS
        return task

    def _run(self) -> None:
        while True:
            self._tasks.get().run()
