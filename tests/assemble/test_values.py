"""What values become arrays, and which promotions keep every value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zwriter.assemble import as_array, cast_exact, common_dtype, layout_for
from zwriter.errors import BadUpdate
from zwriter.model import Add, AddSlice


@pytest.mark.parametrize(
    "text", ["abc\0", b"abc\0", np.str_("abc\0"), "", "\0", "ü\0\0"], ids=ascii
)
def test_a_text_keeps_what_it_ends_with(text: Any) -> None:
    whole = text.decode() if isinstance(text, bytes) else str(text)
    assert as_array(text)[()] == whole
    assert as_array([text, text]).tolist() == [whole, whole]


@pytest.mark.parametrize(
    "value",
    [
        [2**53 + 1, 0.5],
        [2**53 + 1, None],
        [[0.5], [-(2**53) - 1]],
        [np.uint64(2**64 - 1), np.int64(-1)],
        [2**63 + 1, -1, 0.5],
        [1j, 2**53 + 1],
    ],
    ids=str,
)
def test_integers_that_the_floats_beside_them_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(BadUpdate, match="integers"):
        as_array(value)


def test_integers_among_floats_are_what_they_were() -> None:
    assert as_array([2**53 + 2, 0.5]).tolist() == [2**53 + 2, 0.5]
    assert as_array([2**60, 1e300]).tolist() == [2**60, 1e300]


def test_what_is_masked_was_not_measured() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [False, True])
    np.testing.assert_array_equal(as_array(masked), [1.0, np.nan])
    assert np.isnan(as_array(np.ma.masked))
    assert as_array(np.ma.masked_array([1, 2])).tolist() == [1, 2]
    for refused in (masked.astype(int), [masked], [np.ma.masked, 1.0]):
        with pytest.raises(BadUpdate, match="masked"):
            as_array(refused)


def test_a_text_that_is_missing_is_no_text() -> None:
    texts = np.array(["a", None], np.dtypes.StringDType(na_object=None))
    with pytest.raises(BadUpdate, match="missing"):
        as_array(texts)
    assert as_array(texts[:1]).tolist() == ["a"]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, "<i8"),
        (1.5, "<f8"),
        (True, "?"),
        (1j, "<c16"),
        ([1, 2], "<i8"),
        ([1, 2.5], "<f8"),
        ([2**64 - 1, 5], "<u8"),
        ([[2**63]], "<u8"),
        ([[1, 2], [3, 4]], "<i8"),
        ([True, False], "?"),
        ([np.uint32(1), np.uint32(2)], "<u4"),
        (np.array([1], ">u2"), "<u2"),
        (np.float32(1), "<f4"),
        ([None, 1.0], "<f8"),
        (np.zeros(2, [("x", ">i4"), ("y", "<f8")]), [("x", "<i4"), ("y", "<f8")]),
    ],
)
def test_values_become_little_endian_arrays(value: Any, dtype: Any) -> None:
    array = as_array(value)
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.num == np.dtype(dtype).num  # there are two uint64


def test_text_becomes_strings_of_any_length() -> None:
    assert as_array(["a", "long one"]).dtype.kind == "T"
    assert as_array("µm").tolist() == "µm"
    assert as_array(np.array([b"abc"])).tolist() == ["abc"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, "a"],
        [[1, 2], [3]],
        [2**70],
        [2**63, -1],
        {"a": 1},
        [{"a": 1}],
        np.datetime64("2026-01-01"),
        np.array([object()]),
        np.array([b"\xff"]),
    ],
)
def test_what_has_no_common_form_is_refused(value: Any) -> None:
    with pytest.raises(BadUpdate):
        as_array(value)


@pytest.mark.parametrize(
    ("current", "incoming", "common"),
    [
        ("<i8", "<f8", "<f8"),
        ("<u1", "<i4", "<i4"),
        ("<u2", "<f4", "<f4"),
        ("<f8", "<c8", "<c16"),
        ("?", "<i8", "<i8"),
        ("<i8", "<u8", "<i8"),
    ],
)
def test_numbers_get_the_type_that_holds_both(current: str, incoming: str, common: str) -> None:
    assert common_dtype(np.dtype(current), np.dtype(incoming)) == np.dtype(common)


def test_text_and_numbers_have_no_common_type() -> None:
    assert common_dtype(np.dtypes.StringDType(), np.dtype("<i8")) is None
    assert common_dtype(np.dtype([("x", "<i4")]), np.dtype("<i4")) is None


kinds = st.sampled_from(["<i1", "<u1", "<i4", "<u4", "<i8", "<u8", "<f4", "<f8", "<c16"])


@given(st.data(), kinds, kinds)
def test_a_cast_that_succeeds_changes_no_value(data: Any, source: str, target: str) -> None:
    array = data.draw(hnp.arrays(source, st.integers(1, 5)))
    cast = cast_exact(array, np.dtype(target))
    if cast is not None:
        for before, after in zip(array.tolist(), cast.tolist(), strict=True):
            assert before == after or (before != before and after != after)


@pytest.mark.parametrize("big", [2**53 + 1, 2**63 - 1, -(2**63) + 1])
def test_big_integers_do_not_become_floats(big: int) -> None:
    assert cast_exact(np.array([big]), np.dtype("<f8")) is None
    assert cast_exact(np.array([2**53]), np.dtype("<f8")) is not None


@pytest.mark.parametrize(
    "mode",
    [
        Add(()),
        Add((None, None, 3)),
        Add((3, None)),
        Add((None, 0)),
        Add((None, -1)),
        Add((None, 2**20, 2**20)),
        AddSlice((None,), 0),
        AddSlice((None, 3, 3), 0),
    ],
)
def test_an_impossible_max_shape_is_refused(mode: Any) -> None:
    with pytest.raises(BadUpdate):
        layout_for(mode)


@pytest.mark.parametrize("index", [-1, 2**31, 10**9])
def test_an_index_far_outside_is_refused(index: int) -> None:
    mode = AddSlice((None, 4), index)
    with pytest.raises(BadUpdate):
        layout_for(mode).fit(np.zeros(2), mode)
