"""Values that are written before they are taken lie in the file as they lie in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zwriter.store.appended import AppendArray
from zwriter.store.codecs import ChunkCodec

ROW = (600, 1024)  # of uint16
NBYTES = 2 * 600 * 1024


def values(count: int, shift: int, distance: int) -> NDArray[np.uint16]:
    """(count, *ROW), which begin `shift` bytes behind a cache line, `distance` apart."""
    memory = np.zeros(count * distance + 128, np.uint8)
    start = -memory.ctypes.data % 64 + shift
    strides = distance, 2 * ROW[1], 2
    found: NDArray[np.uint16] = np.ndarray((count, *ROW), "<u2", memory, start, strides)
    found[...] = np.random.default_rng(shift).integers(0, 2**16, found.shape, "<u2")
    return found


def in_line(array: NDArray[np.uint16]) -> list[int]:
    """Where in a cache line each begins."""
    return [row.ctypes.data % 64 for row in array]


def test_room_is_laid_out_for_the_values_that_come_next(tmp_path: Path) -> None:
    codec = ChunkCodec(np.dtype("<u2"), "none", 0)
    array = AppendArray(tmp_path / "a", codec, ROW, NBYTES, 10 * NBYTES)
    first = values(1, 0, NBYTES)
    array.append(first)
    rows = [first]
    for count, shift, distance in ((3, 16, NBYTES + 22), (2, 38, NBYTES + 128), (1, 2, NBYTES)):
        some = values(count, shift, distance)
        room = array.ahead(some)
        assert room is not None
        for number, value in enumerate(some):
            room[number] = value
        written = room[:count]
        assert in_line(written) == in_line(some)
        array.append(written)
        rows.append(some)
    array.publish(["row", "y", "x"], {})
    stored = [array.read_chunk(number)[0] for number in range(7)]
    np.testing.assert_array_equal(stored, np.concatenate(rows))
    array.close()


@pytest.mark.parametrize("taken", [0, 2])
def test_an_interrupt_as_it_is_laid_out_anew_takes_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    codec = ChunkCodec(np.dtype("<u2"), "none", 0)
    array = AppendArray(tmp_path / "a", codec, ROW, NBYTES, 10 * NBYTES)
    some = values(3, 16, NBYTES + 64)
    array.append(some[:1])
    room = array.ahead(some)
    assert room is not None
    for number in range(taken):
        room[number] = some[number]
    if taken:
        array.append(room[:taken])

    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr("zwriter.store.ahead.aligned", interrupt)
            with pytest.raises(KeyboardInterrupt):
                array.ahead(some)
    again = array.ahead(some)
    assert again is room
    assert len(again) == 9 - taken
    array.close()
