"""Readings of scan points as one array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zwriter.store.columns import column


@pytest.mark.parametrize(
    ("values", "dtype", "stored"),
    [
        ([1, 2], np.int64, [1, 2]),
        ([1, 2.5], np.float64, [1, 2.5]),
        ([True, 2], np.int64, [1, 2]),
        ([np.float32(1), np.float64(0.1)], np.float64, [1, 0.1]),
        ([1, None], np.float64, [1, np.nan]),
        ([None, None], np.float64, [np.nan, np.nan]),
        ([[1, 2], None], np.float64, [[1, 2], [np.nan, np.nan]]),
        ([np.ones(2, np.uint8), [3, 4]], np.int64, [[1, 1], [3, 4]]),
        ([], np.float64, []),
    ],
)
def test_numbers_become_the_type_that_holds_them_all(
    values: list[Any], dtype: type, stored: list[Any]
) -> None:
    found = column(values)
    assert isinstance(found, np.ndarray)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        (["a", "bc"], ["a", "bc"]),
        (["a", None], ["a", ""]),
        (["a", 1, [2, 3]], ["a", "1", "[2, 3]"]),
        ([{"x": 1}, None], ['{"x": 1}', ""]),
        ([["a"], ["b", "c"]], ['["a"]', '["b", "c"]']),
        ([2**70, 1], [str(2**70), "1"]),
        ([{b"x": 1}], ["{b'x': 1}"]),
    ],
)
def test_what_has_no_common_type_becomes_text(values: list[Any], stored: list[str]) -> None:
    found = column(values)
    assert isinstance(found, np.ndarray)
    assert found.dtype.kind == "T"
    assert found.tolist() == stored


def test_rows_of_different_lengths_stay_rows_of_one_type() -> None:
    found = column([[1, 2], None, [0.5]])
    assert isinstance(found, list)
    assert [row.tolist() for row in found] == [[1, 2], [], [0.5]]
    assert {row.dtype for row in found} == {np.dtype(np.float64)}
