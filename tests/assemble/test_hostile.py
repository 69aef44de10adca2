"""Updates that would take far more than they bring are refused in one line."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from zwriter.assemble import Block, as_array, assemble, layout_for
from zwriter.errors import BadUpdate
from zwriter.model import Add, AddSlice, Mode, Rejected, Update


def deep(depth: int) -> Any:
    value: Any = 1.0
    for _ in range(depth):
        value = [value]
    return value


def record(names: list[str], kind: str = "<f4") -> np.ndarray:
    return np.zeros(1, [(name, kind) for name in names])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (deep(33), "nested more than 32 deep"),
        (deep(5000), "nested more than 32 deep"),
        ([[2**63], [-1]], "64 bits"),
        ([2**64], "cannot be stored"),
        (["a", 1], "strings and other values"),
        (["a", ["b"]], "different lengths"),
        ([b"a", b"\xff"], "UTF-8"),
        (["\ud800"], "different lengths or types"),
        (np.frombuffer(b"\xff\xff\xff\x7f", "<U1"), "no text"),
        (np.array(["2026-01-01"], "M8[s]"), "cannot be stored"),
        (np.zeros(2, "V8"), "cannot be stored"),
        (np.array([None, 1]), "cannot be stored"),
        (record([f"f{i}" for i in range(1000)]), "1000 fields"),
        (record([f"{i}".ljust(240, "x") for i in range(40)]), "40 fields"),
        (record(["a\0b"]), "cannot be stored"),
        (np.zeros(1, [("a", "<f4", (3,))]), "cannot be stored"),
        (np.zeros(1, [("a", [("b", "<f4")])]), "cannot be stored"),
    ],
    ids=range(17),
)
def test_what_cannot_be_a_value_is_refused_in_one_line(value: Any, why: str):
    with pytest.raises(BadUpdate, match=why) as caught:
        as_array(value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_one_long_text_among_many_short_ones_takes_no_room_for_each():
    texts = ["x" * 1_000_000, *["y"] * 100_000]
    assert as_array(texts).tolist() == texts
    assert as_array([text.encode() for text in texts]).tolist() == texts


@pytest.mark.parametrize(
    ("mode", "value"),
    [
        (Add((None, 2**30)), [1.0]),
        (Add((None, 2**30)), np.zeros((5, 1), np.uint8)),
        (Add((None, 1000)), np.zeros((65536, 0))),
        (Add((None, 2)), np.zeros((2**23, 1), np.uint8)),
        (Add((None, None)), np.zeros((2**23, 1), np.uint8)),
        (AddSlice((None, 2**30), 0), [1.0]),
        (AddSlice((10, 2**24), 0), 1),
        (AddSlice((None, 1), 10**9), [1.0]),
        (AddSlice((None, None), 10**9), [1.0]),
    ],
    ids=range(9),
)
def test_an_update_that_would_take_far_more_than_it_brings_is_refused(mode: Mode, value: Any):
    tracemalloc.start()
    try:
        (item,) = assemble(layout_for(mode), [Update("d", "s", mode, value)], lambda dtype: dtype)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert isinstance(item, Rejected)
    assert "\n" not in item.reason


def test_short_rows_come_in_blocks_that_fit_into_memory():
    mode = Add((None, 32768))
    updates = [Update("d", "s", mode, [float(n)]) for n in range(3000)]  # 750 MiB when padded
    rows = 0
    for block in assemble(layout_for(mode), updates, lambda dtype: dtype):
        assert isinstance(block, Block)
        assert block.nbytes < 100_000_000
        assert block.fitted[0].array[0, 0] == rows
        rows += block.count
    assert rows == 3000
