"""Objects on their way take so much memory, whatever the number of scans."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from zwriter.ship.memory import LARGE, Memory
from zwriter.ship.outage import Stopped


def stopped(seconds: float) -> None:
    raise Stopped("nobody waits")


def test_large_objects_of_all_scans_share_their_memory() -> None:
    memory, scans = Memory(shared=2), [threading.BoundedSemaphore() for _ in range(3)]
    with ExitStack() as held:
        for own in (*scans, *scans[:2]):
            held.enter_context(memory.lend(LARGE, own, stopped))
        for own in scans:
            with pytest.raises(Stopped), memory.lend(LARGE, own, stopped):
                pass


def test_memory_is_waited_for() -> None:
    memory, own = Memory(shared=0), threading.BoundedSemaphore()
    waits = threading.Event()

    def wait(seconds: float) -> None:
        waits.set()

    def send() -> int:
        with memory.lend(LARGE, own, wait) as data:
            return len(data)

    with ThreadPoolExecutor(1) as pool:
        with memory.lend(LARGE, own, stopped):
            sent = pool.submit(send)
            assert waits.wait(60)
            assert not sent.done()
        assert sent.result(60) == LARGE


def test_a_scan_that_is_refused_keeps_no_other_from_sending() -> None:
    memory, refused, other = Memory(shared=2), threading.Semaphore(), threading.Semaphore()
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(memory.lend(LARGE, refused, stopped))
        with pytest.raises(Stopped), memory.lend(LARGE, refused, stopped):
            pass
        for _ in range(3):
            with memory.lend(LARGE, other, stopped) as data:
                assert len(data) == LARGE
        with memory.lend(LARGE - 1, refused, stopped) as small:
            assert len(small) == LARGE - 1


def test_memory_is_free_again_whatever_happens() -> None:
    memory, own = Memory(shared=1), threading.BoundedSemaphore()
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), memory.lend(LARGE, own, stopped):
            raise ZeroDivisionError
        with (
            memory.lend(2 * LARGE, own, stopped) as data,
            memory.lend(LARGE, own, stopped) as other,
        ):
            assert (len(data), len(other)) == (2 * LARGE, LARGE)


def test_memory_is_used_again_by_whatever_bucket_comes_next() -> None:
    own = threading.BoundedSemaphore()
    with Memory().lend(LARGE, own, stopped) as data:
        data[:5] = b"known"
    with Memory().lend(LARGE, own, stopped) as again:
        assert bytes(again[:5]) == b"known"
