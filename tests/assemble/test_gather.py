"""Values that a program adds one by one, gathered into runs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from zwriter.assemble import Gathering
from zwriter.assemble.gather import CHUNK_BYTES, CHUNKS, MOST, SMALL
from zwriter.model import Add


def nowhere(device: str, signal: str, mode: Add, kind: Any) -> None:
    """No room in a file."""


@pytest.mark.parametrize("count", [1, 10, 33, 100, 375, 1024, 8000, 20_000, 200_000])
def test_runs_of_what_comes_fast_are_whole_chunks(count: int) -> None:
    """Or lie within one."""
    gathering, value = Gathering(nowhere, 1), np.zeros(count)
    rows = CHUNK_BYTES // value.nbytes
    lengths = []
    for number in range(11 * rows):
        assert gathering.add("dev", "sig", value, None, None)
        lengths += [len(run) for run in gathering.ready]
        gathering.ready.clear()
        if number == rows + rows // 3:
            gathering.end_all()
            lengths += [len(run) for run in gathering.ready]
            gathering.ready.clear()
            gathering.committed()
    ends = [0, *map(int, np.cumsum(lengths))]
    if rows <= MOST:
        for first, last in pairwise(ends):
            inside_one_chunk = first // rows == (last - 1) // rows
            assert inside_one_chunk or (first % rows, last % rows) == (0, 0)
        small = value.nbytes < SMALL
        assert max(lengths) == rows * (min(CHUNKS, MOST // rows) if small else 1)
    assert max(lengths) <= MOST
