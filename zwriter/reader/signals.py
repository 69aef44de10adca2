"""One signal of a device."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.model import Ledger
from zwriter.reader.lazy import InMemory, LazyArray
from zwriter.reader.rows import FixedRows, PieceRows, RaggedRows, Rows
from zwriter.store.record import SyncSignal


class Signal:
    """A signal as of one commit.

    layout: `rows`, `ragged`, `slices`, `pieces`, `replace` or `points` (docs/format.md), None if
    nothing was written; ledger:
    what was expected, received, written, missing; arrays: all that is stored of it, by name.
    """

    def __init__(
        self,
        device: str,
        name: str,
        layout: str | None,
        ledger: Ledger,
        arrays: Mapping[str, LazyArray],
    ) -> None:
        self.device, self.name, self.layout, self.ledger = device, name, layout, ledger
        self.arrays = arrays

    @property
    def value(self) -> LazyArray:
        """The values: (rows, *row); flat for `ragged` and `pieces`; of any shape for `replace`.

        Raises StoreError if nothing was written.
        """
        if "value" not in self.arrays:
            raise StoreError(
                f"{self.device}/{self.name}: nothing was written of it (see its ledger)"
            )
        return self.arrays["value"]

    @property
    def timestamp(self) -> LazyArray | None:
        """(updates,) or (samples,) float64: seconds since 1970, NaN where there was none."""
        return self.arrays.get("timestamp")

    @property
    def length(self) -> LazyArray | None:
        """(rows,): how far each row is filled; None where all rows are full or `offsets` tell."""
        return self.arrays.get("length")

    @property
    def offsets(self) -> LazyArray | None:
        """(n + 1,) int64: where the n rows (`ragged`) or pieces (`pieces`) begin in `value`, and
        where the last ends."""
        return self.arrays.get("offsets")

    @property
    def point_id(self) -> LazyArray | None:
        """`points` only: the scan point of each row."""
        return self.arrays.get("point_id")

    @cached_property
    def rows(self) -> Rows:
        """The rows, each of its true length; a replaced value is rows along its first axis."""
        match self.layout:
            case "ragged":
                return RaggedRows(self.value, self.arrays["offsets"])
            case "pieces":
                return PieceRows(self.value, self.arrays["offsets"], self.arrays["row"])
            case "points" if "offsets" in self.arrays:
                return RaggedRows(self.value, self.arrays["offsets"])
        return FixedRows(self.value, self.length)

    def __repr__(self) -> str:
        if "value" not in self.arrays:
            return f"<Signal {self.device}/{self.name}: no data>"
        return (
            f"<Signal {self.device}/{self.name} ({self.layout}) {self.value.shape} "
            f"{self.value.dtype}, {len(self.rows)} rows>"
        )


def recorded_signal(device: str, name: str, sync: SyncSignal) -> Signal:
    """A signal read at scan points, as the journal tells it.

    Rows of different lengths are flat, with `offsets`.
    """
    arrays: dict[str, tuple[NDArray[Any], tuple[str, ...]]] = {}
    arrays["point_id"] = sync.point_ids, (f"{name}_point",)
    if isinstance(sync.values, list):
        lengths = [row.size for row in sync.values]
        flat = np.concatenate([row.ravel() for row in sync.values])
        arrays["value"] = flat, (f"{name}_value",)
        arrays["offsets"] = np.cumsum([0, *lengths]), (f"{name}_offset",)
    else:
        trailing = (f"{name}_{axis}" for axis in range(1, sync.values.ndim))
        arrays["value"] = sync.values, (f"{name}_point", *trailing)
    if not isinstance(sync.timestamps, list):
        trailing = (f"{name}_{axis}" for axis in range(1, sync.timestamps.ndim))
        arrays["timestamp"] = sync.timestamps, (f"{name}_point", *trailing)
    lazy = {
        key: LazyArray(InMemory(f"{device}/{name}/{key}", array, dims))
        for key, (array, dims) in arrays.items()
    }
    count = len(sync.point_ids)
    expected = None if sync.lost is None else count + sync.lost
    ledger = Ledger(expected=expected, received=count, written=count)
    return Signal(device, name, "points", ledger, lazy)
