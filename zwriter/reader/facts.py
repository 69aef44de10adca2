"""What is known of a signal without opening its arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from zwriter.model import Ledger
from zwriter.reader.commits import SignalCommit
from zwriter.store.array_state import dtype_from_json


def committed_facts(commit: SignalCommit) -> dict[str, Any]:
    """The facts of a stored signal, as its commit tells them."""
    value = commit.arrays.get("value")
    shape = value.shape if value else ()
    dtype = dtype_from_json(value.dtype) if value else None
    ragged = "offsets" in commit.arrays
    return facts(commit.layout, shape, dtype, commit.rows, commit.ledger, ragged=ragged)


def facts(
    layout: str | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | None,
    rows: int,
    ledger: Ledger,
    *,
    ragged: bool,
) -> dict[str, Any]:
    """The facts of a signal: `shape` is that of `value`, which is flat if rows are `ragged`;
    `bytes` its size in memory."""
    counted = ledger.to_json()
    del counted["next_number"]
    return {
        "layout": layout,
        "shape": list(shape),
        "dtype": dtype_name(dtype),
        "rows": rows,
        "ragged": ragged,
        "bytes": math.prod(shape) * dtype.itemsize if dtype else 0,
        **counted,
    }


def dtype_name(dtype: np.dtype[Any] | None) -> str | None:
    """`float64`, `string`, `[('x', '<f4')]`: the name of a dtype as numpy's users know it."""
    if dtype is None:
        return None
    return "string" if dtype.kind == "T" else str(dtype)
