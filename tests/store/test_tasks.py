"""Work for threads that all is done, whenever the one who hands it over is interrupted."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zwriter.store.tasks import Threads

INTERRUPTED = """
import random, signal, time
from zwriter.store.tasks import Threads

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
threads, seconds, interrupted = Threads(), random.Random(1), 0
for _ in range(3000):
    tasks = []
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds.random() * 0.0005 + 1e-6)
        for number in range(50):
            tasks.append(threads.begin(lambda: number))
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


def test_what_the_work_raises_is_raised_where_it_is_waited_for() -> None:
    task = Threads().begin(lambda: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            task.result()


def test_work_that_was_dropped_is_not_done_any_more() -> None:
    """By threads that have other work."""
    done: list[int] = []
    threads = Threads()
    tasks = [threads.begin(lambda n=n: done.append(n)) for n in range(1000)]  # type: ignore[misc]
    for task in tasks:
        task.drop()
    known = list(done)
    threads.begin(lambda: None).result()
    assert done == known
    assert len(set(done)) == len(done)
