"""assemble against a plain numpy model, for updates of any shape and in any split."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zwriter.assemble import Block, assemble, common_dtype, layout_for
from zwriter.errors import BadUpdate
from zwriter.model import Add, AddSlice, Mode, Rejected, Update

WIDTH = 4
numbers = hnp.from_dtype(np.dtype("<i4"))


def run(updates: list[Update]) -> tuple[list[Block], list[Rejected]]:
    layout = layout_for(updates[0].mode)
    current: list[np.dtype[Any]] = []

    def agree(dtype: np.dtype[Any]) -> np.dtype[Any]:
        target = common_dtype(current[-1], dtype) if current else dtype
        if target is None:
            raise BadUpdate("no common type")
        current.append(target)
        return target

    items = list(assemble(layout, updates, agree))
    return (
        [item for item in items if isinstance(item, Block)],
        [item for item in items if isinstance(item, Rejected)],
    )


def update(value: Any, mode: Mode, timestamp: Any = None) -> Update:
    return Update("dev", "sig", mode, value, timestamp)


def joined(blocks: list[Block]) -> np.ndarray:
    return np.concatenate([part for block in blocks for part in block.arrays])


@given(st.lists(st.one_of(numbers, hnp.arrays("<i4", st.integers(0, 5))), min_size=1))
def test_scalars_and_blocks_become_one_stream_in_order(values: list[Any]) -> None:
    blocks, rejected = run([update(value, Add((None,))) for value in values])
    expected = np.concatenate([np.atleast_1d(np.asarray(value)) for value in values])
    assert not rejected
    np.testing.assert_array_equal(joined(blocks), expected)


@given(st.lists(hnp.arrays("<f8", hnp.array_shapes(max_dims=2, max_side=7)), min_size=1))
def test_rows_have_one_width_and_their_true_length_is_kept(values: list[np.ndarray]) -> None:
    blocks, rejected = run([update(value, Add((None, WIDTH))) for value in values])
    rows, lengths = [], []
    for value in values:
        for row in np.atleast_2d(value):
            padded = np.full(WIDTH, np.nan)
            kept = row[:WIDTH]
            padded[: len(kept)] = kept
            rows.append(padded)
            lengths.append(len(kept))
    np.testing.assert_array_equal(joined(blocks), np.array(rows))
    fitted = [fit for block in blocks for fit in block.fitted]
    got = [n for fit in fitted for n in (fit.lengths or [WIDTH] * len(fit.array))]
    assert got == lengths
    assert sum(fit.short for fit in fitted) == sum(n < WIDTH for n in lengths)
    too_wide = [value for value in values if value.shape[-1] > WIDTH]
    assert sum(fit.cut for fit in fitted) == sum(len(np.atleast_2d(v)) for v in too_wide)
    assert len(rejected) == len(too_wide)


@given(st.lists(hnp.arrays("<u2", st.integers(0, 9)), min_size=1))
def test_ragged_rows_keep_their_lengths(values: list[np.ndarray]) -> None:
    blocks, rejected = run([update(value, Add((None, None))) for value in values])
    assert not rejected
    np.testing.assert_array_equal(joined(blocks), np.concatenate(values))
    got = [n for block in blocks for fit in block.fitted for n in fit.lengths or ()]
    assert got == [len(value) for value in values]


pieces = st.tuples(st.integers(0, 5), hnp.arrays("<i4", st.integers(1, 3)))


@given(st.lists(pieces, min_size=1))
def test_slices_go_to_the_cursor_of_their_row(values: list[tuple[int, np.ndarray]]) -> None:
    width = 7
    blocks, rejected = run([update(v, AddSlice((None, width), row)) for row, v in values])
    expected = np.zeros((6, width), "<i4")
    cursor = [0] * 6
    refused = 0
    for row, value in values:
        room = width - cursor[row]
        refused += len(value) > room
        expected[row, cursor[row] : cursor[row] + len(value[:room])] = value[:room]
        cursor[row] += min(len(value), room)
    got = np.zeros((6, width), "<i4")
    for block in blocks:
        for fit in block.fitted:
            got[fit.row, fit.column : fit.column + len(fit.array)] = fit.array
    np.testing.assert_array_equal(got, expected)
    assert len(rejected) == refused


@given(st.lists(st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False)), min_size=1))
def test_ints_then_floats_keep_every_value(values: list[int | float]) -> None:
    blocks, rejected = run([update(value, Add((None,))) for value in values])
    assert not rejected
    assert [x for block in blocks for part in block.arrays for x in part.tolist()] == values


timestamps = st.one_of(st.none(), st.floats(0, 2e9), st.lists(st.floats(0, 2e9), max_size=3))


@given(st.lists(timestamps, min_size=1))
def test_every_update_has_its_timestamps_and_nan_where_it_had_none(stamps: list[Any]) -> None:
    blocks, rejected = run([update(1, Add((None,)), stamp) for stamp in stamps])
    assert not rejected
    got = np.concatenate([array for block in blocks for array in block.timestamps])
    expected = np.concatenate(
        [np.atleast_1d(np.asarray(np.nan if t is None else t, float)) for t in stamps]
    )
    np.testing.assert_array_equal(got, expected)
    assert any(block.stamped for block in blocks) == any(t is not None for t in stamps)


@given(
    hnp.arrays("<u2", st.tuples(st.integers(2, 6), st.just(WIDTH))),
    st.sampled_from([1.5, None, [1.0, 2.0]]),
)
def test_updates_that_are_alike_become_what_each_alone_becomes(
    values: np.ndarray, stamp: Any
) -> None:
    updates = [update(value, Add((None, WIDTH)), stamp) for value in values]
    together, _ = run(updates)
    alone = [block for one in updates for block in run([one])[0]]
    np.testing.assert_array_equal(joined(together), joined(alone))
    stamps = [
        np.concatenate([t for b in blocks for t in b.timestamps]) for blocks in (together, alone)
    ]
    np.testing.assert_array_equal(*stamps)
    assert sum(block.count for block in together) == len(updates)
