"""Work for threads that all is done, whenever the one who hands it over is interrupted."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any, NoReturn

import pytest

from zwriter.store.tasks import Task, Threads

INTERRUPTED = """
import random, signal, time
from zwriter.store.tasks import Task, Threads

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
threads, seconds, interrupted = Threads(), random.Random(1), 0
for _ in range(3000):
    tasks = []
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds.random() * 0.0005 + 1e-6)
        for number in range(50):
            tasks.append(Task(lambda: number))
            threads.begin(tasks[-1])
        for task in tasks:
            task.result()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        interrupted += 1
    for task in tasks:
        task.result()
print(interrupted)
"""


def test_an_interrupt_at_any_moment_has_nobody_wait_for_ever() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300


ENDS = """
import numpy, sys
from zwriter import ScanWriter

def program():
    with ScanWriter(sys.argv[1], master=None) as scan:
        while True:
            scan.add("cam", "image", (yield))

suspended = program()
next(suspended)
for number in range(8):
    suspended.send(numpy.full((2048, 4096), number, "u2"))
"""


def test_a_program_that_ends_with_chunks_on_their_way_comes_to_its_end(tmp_path: Path) -> None:
    """Its writer is closed when Python has stopped all threads."""
    program = [sys.executable, "-c", ENDS, str(tmp_path / "S1.zarr")]
    subprocess.run(program, check=True, timeout=60, capture_output=True)


def begun(threads: Threads, work: Callable[[], Any]) -> Task[Any]:
    task = Task(work)
    threads.begin(task)
    return task


def test_what_the_work_raises_is_raised_where_it_is_waited_for() -> None:
    task = begun(Threads(), lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            task.result()


def test_work_that_failed_for_one_who_waited_is_done_or_dropped_for_another() -> None:
    """Who closes a writer may be another thread than the one that was interrupted."""
    outcomes: list[Any] = [ZeroDivisionError(), 7]

    def work() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    for end in (Task.result, Task.drop):
        outcomes[:] = [ZeroDivisionError(), 7]
        task = Task(work)
        with pytest.raises(ZeroDivisionError):
            task.result()
        with ThreadPoolExecutor(1) as another:
            assert another.submit(end, task).result(20) in (7, None)


def test_work_that_was_dropped_is_not_done_any_more() -> None:
    """By threads that have other work."""
    done: list[int] = []
    threads = Threads()
    tasks = [begun(threads, partial(done.append, n)) for n in range(1000)]
    for task in tasks:
        task.drop()
    known = list(done)
    begun(threads, int).result()
    assert done == known
    assert len(set(done)) == len(done)


def test_without_threads_it_is_done_by_who_waits_until_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = Threads()
    with monkeypatch.context() as limited:

        def refused(*_: Any) -> NoReturn:
            raise RuntimeError("can't start new thread")

        limited.setattr("zwriter.store.tasks.start_new_thread", refused)
        assert begun(threads, get_ident).result() == get_ident()
    assert begun(threads, get_ident).result() != get_ident()


def test_threads_end_when_what_was_handed_to_them_is_done() -> None:
    threads = Threads()
    tasks = [begun(threads, int) for _ in range(100)]
    threads.end()
    assert all(task.done for task in tasks)
    assert begun(threads, get_ident).result() == get_ident()
