"""A part of a file as memory, before it is written."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

from zwriter.store.mapping import mapped


@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 10_000])
def test_what_is_written_later_is_in_the_memory(tmp_path: Path, offset: int) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    memory = mapped(fd, offset, 9000)
    assert os.fstat(fd).st_size == 0
    data = os.urandom(9000)
    os.pwrite(fd, data, offset)
    os.close(fd)
    assert memory.tobytes() == data
    with pytest.raises(ValueError, match="read-only"):
        memory[0] = 1


def test_memory_is_let_go_with_the_last_array_of_it(tmp_path: Path) -> None:
    def maps() -> int:
        return Path("/proc/self/maps").read_text().count(str(tmp_path))

    with (tmp_path / "file").open("w+b") as file:
        part = mapped(file.fileno(), 0, 100).view(np.uint16)[3:]
        gc.collect()
        assert maps() == 1
        del part
    gc.collect()
    assert maps() == 0


def test_what_cannot_be_mapped_is_told() -> None:
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="No such device"):
        mapped(reading, 0, 100)
    os.close(reading)
    os.close(writing)
