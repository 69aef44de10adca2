"""Large chunks that threads of all scans write, whatever keeps these, or the one who waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.scan.adding import interrupt
from zwriter.store import side_by_side
from zwriter.store.appended import AppendArray
from zwriter.store.codecs import ChunkCodec
from zwriter.store.shard import Place
from zwriter.store.tasks import THREADS, Task
from zwriter.testing.failpoints import failing

FRAME = np.full((1, 800, 900), 7, "<u2")


@contextmanager
def all_threads_hang() -> Iterator[list[Task[Place]]]:
    """As at another disk; not for ever, so that a test fails that would wait for them."""
    disk_is_back, begun = threading.Event(), threading.Semaphore(0)

    def hang() -> Place:
        begun.release()
        disk_is_back.wait(20)
        return Place(0, 0)

    hanging = [Task(hang) for _ in range(THREADS)]
    for task in hanging:
        side_by_side._shared["threads"].begin(task)
    for _ in hanging:
        begun.acquire()
    try:
        yield hanging
    finally:
        disk_is_back.set()
        for task in hanging:
            task.result()


def array_of(folder: Path, codec: str) -> AppendArray:
    return AppendArray(folder, ChunkCodec(FRAME.dtype, codec, 5), FRAME.shape[1:], FRAME.nbytes)


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_who_waits_writes_them_himself_if_no_thread_does(tmp_path: Path, codec: str) -> None:
    array = array_of(tmp_path, codec)
    with all_threads_hang() as hanging:
        for _ in range(12):
            array.append(FRAME)
        array.publish(["row", "y", "x"], {})
        assert not any(task.done for task in hanging)
    assert [int(array.read_chunk(number).min()) for number in range(12)] == [7] * 12
    array.close()


def test_who_is_interrupted_as_he_does_can_do_it_again(tmp_path: Path) -> None:
    array = array_of(tmp_path, "none")
    with all_threads_hang():
        array.append(FRAME)
        with failing("chunk.written", interrupt), pytest.raises(KeyboardInterrupt):
            array.publish(["row", "y", "x"], {})
    array.publish(["row", "y", "x"], {})
    np.testing.assert_array_equal(array.read_chunk(0), FRAME)
    array.close()
