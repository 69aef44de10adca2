"""The arrays of one signal: which there are, as its layout wants them, and what goes into each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import (
    Block,
    Layout,
    Pieces,
    Ragged,
    Replaced,
    Rows,
    Slices,
    widest,
)
from zwriter.errors import BadUpdate
from zwriter.model import Ledger
from zwriter.settings import SignalSettings
from zwriter.store.ahead import ChunksAhead
from zwriter.store.appended import AppendArray
from zwriter.store.codecs import codec_for
from zwriter.store.placed import PlacedArray
from zwriter.store.refill import refill_for
from zwriter.store.whole import WholeArray

INT64 = np.dtype("<i8")
FLOAT64 = np.dtype("<f8")
SMALL = 64 * 1024  # blocks below this are joined before they are stored
LAST_GENERATION = 2
MAX_MISSING = 1_000_000  # missing updates of a signal, in all, for which room is left
MAX_ROOM = 16 * 1024**3  # bytes of rows and timestamps that this room takes in all
Stored = AppendArray | PlacedArray | WholeArray


class SignalArrays:
    """`path`: the signal's group; `layout`: set before anything is taken."""

    def __init__(self, path: Path, settings: SignalSettings) -> None:
        self.path, self.name, self.settings = path, path.name, settings
        self.layout: Layout | None = None
        self.arrays: dict[str, Stored] = {}
        self._pushes = 0  # updates written, and those for which room was left
        self._rows_each: int | None = None  # rows of an update; 0 when that varies
        self._last: Block | None = None  # replace: the value to write at the next `publish`

    @property
    def empty(self) -> bool:
        """Whether there is nothing that could be shown."""
        return "value" not in self.arrays and self._last is None

    @property
    def counts(self) -> tuple[int, int | None]:
        """Updates that have rows, be they missing; rows of an update, 0 when that varies."""
        return self._pushes, self._rows_each

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """That of the values; None if there are none."""
        value = self.arrays.get("value")
        assert not isinstance(value, WholeArray)
        return None if value is None else value.dtype

    def promote(self, dtype: np.dtype[Any], missing: Sequence[Sequence[int]]) -> np.dtype[Any]:
        """Give the values another dtype, at the last time one that takes all; which it is. Raises
        BadUpdate if one of them would change. missing: first and last of rows that never came."""
        value = self.arrays["value"]
        assert not isinstance(value, WholeArray)
        if value.generation + 1 == LAST_GENERATION:
            dtype = widest(dtype)
        promoted = None
        if value.generation < LAST_GENERATION:
            # of other layouts, rows that never came have nothing in `value`
            refilled = missing if isinstance(self.layout, Rows | Slices) else ()
            refill = refill_for(value.dtype, dtype, refilled, self._lengths)
            promoted = value.promoted(dtype, refill)
        if promoted is None:
            raise BadUpdate(f"{value.dtype} cannot become {dtype} without loss")
        self.arrays["value"] = promoted
        return dtype

    def _lengths(self) -> NDArray[np.int64] | None:
        """How far each row is filled; None where all are whole, or have no length."""
        if isinstance(self.layout, Slices):
            return self.layout.cursors[: self.layout.rows]
        length = self.arrays.get("length")
        return length.values() if isinstance(length, AppendArray) else None

    def create(self, dtype: np.dtype[Any]) -> None:
        """Begin with values of `dtype`."""
        layout = self.layout
        if isinstance(layout, Rows):
            self.arrays["value"] = self._append_array("value", dtype, layout.row_shape)
        elif isinstance(layout, Slices):
            self.arrays["value"] = self._placed_array("value", dtype, (layout.width,))
            self.arrays["length"] = self._placed_array("length", INT64, ())
        else:
            self.arrays["value"] = self._append_array("value", dtype, ())
            if isinstance(layout, Pieces):
                self.arrays["row"] = self._append_array("row", INT64, ())
            offsets = self._append_array("offsets", INT64, ())
            offsets.append(np.zeros(1, INT64))
            self.arrays["offsets"] = offsets

    def _append_array(
        self, name: str, dtype: np.dtype[Any], row_shape: tuple[int, ...]
    ) -> AppendArray:
        codec = codec_for(dtype, self.settings)
        return AppendArray(self.path / name, codec, row_shape, *self._cut(name))

    def _placed_array(
        self, name: str, dtype: np.dtype[Any], row_shape: tuple[int, ...]
    ) -> PlacedArray:
        codec = codec_for(dtype, self.settings)
        return PlacedArray(self.path / name, codec, row_shape, *self._cut(name))

    def _cut(self, name: str) -> tuple[int | None, int | None]:
        """The size of a chunk and of a shard, where they are given."""
        chunk_bytes = self.settings.chunk_bytes if name == "value" else None
        return chunk_bytes, self.settings.shard_bytes

    def ahead(self, values: NDArray[Any]) -> ChunksAhead | None:
        """As `AppendArray.ahead`."""
        value = self.arrays.get("value")
        return value.ahead(values) if isinstance(value, AppendArray) else None

    def take(self, block: Block) -> None:
        """Take rows of updates, in order."""
        if isinstance(self.layout, Replaced):
            self._last = block
        elif isinstance(self.layout, Slices):
            self._take_slices(block)
        else:
            self._take_rows(block)
        if not isinstance(self.layout, Replaced):
            self._take_timestamps(block)
        self._pushes += block.count

    def leave_room(self, gap: int, block: Block, ledger: Ledger) -> None:
        """Rows of fill value before `block`, where `gap` updates are missing, so that rows keep
        their numbers; the ledger gets these.

        None where an update's rows are not known, or would be too many: the ledger has the gap.
        """
        if isinstance(self.layout, Replaced) or not self._has_room(gap, block, ledger.written):
            return
        if isinstance(self.layout, Rows | Ragged) and not self._leave_rows(gap, block, ledger):
            return
        timestamp = self.arrays.get("timestamp")
        if isinstance(timestamp, AppendArray):
            timestamp.append_fill(gap * (block.stamps_each or 1))
        self._pushes += gap

    def _has_room(self, gap: int, block: Block, written: int) -> bool:
        """Whether there may be room for `gap` updates more, besides those that have some."""
        value, updates = self.arrays["value"], self._pushes - written + gap
        assert not isinstance(value, WholeArray)
        rows = block.rows_each if isinstance(self.layout, Rows) else 1
        stamps = FLOAT64.itemsize * (block.stamps_each or 1)
        each = rows * max(value.row_bytes, INT64.itemsize) + stamps
        return updates <= MAX_MISSING and updates * each <= MAX_ROOM

    def _leave_rows(self, gap: int, block: Block, ledger: Ledger) -> bool:
        value, layout = self.arrays["value"], self.layout
        assert isinstance(value, AppendArray)
        first = value.total_rows
        if isinstance(layout, Rows):
            each = block.rows_each if self._rows_each is None else self._rows_each
            rows = gap * each
            if layout.max_shape[0] is not None:
                rows = min(rows, max(layout.max_shape[0] - layout.rows, 0))
            if not rows:
                return False
            value.append_fill(rows)
            if len(layout.row_shape) == 1:
                self._row_lengths(first).append_fill(rows)
        else:
            offsets = self.arrays["offsets"]
            assert isinstance(offsets, AppendArray)
            first, rows = offsets.total_rows - 1, gap
            offsets.append(np.broadcast_to(np.int64(value.total_rows), (rows,)))
        assert layout is not None
        layout.rows += rows
        ledger.missing_rows.append([first, first + rows - 1])
        return True

    def _take_rows(self, block: Block) -> None:
        value = self.arrays["value"]
        assert isinstance(value, AppendArray)
        before = value.total_rows
        known = block.rows_each if self._rows_each is None else self._rows_each
        self._rows_each = known if known == block.rows_each else 0
        for part in _joined(block.arrays):
            value.append(part)
        if isinstance(self.layout, Rows):
            self._take_row_lengths(block, before)
        else:
            self._take_offsets(block, before)

    def _take_row_lengths(self, block: Block, before: int) -> None:
        """`length` is there only once a row was short; the rows before it were whole."""
        if "length" not in self.arrays and not any(fitted.short for fitted in block.fitted):
            return
        assert isinstance(self.layout, Rows)
        width = self.layout.row_shape[0]
        length = self._row_lengths(before)
        for fitted in block.fitted:
            length.append(np.array(fitted.lengths or [width] * len(fitted.array), INT64))

    def _row_lengths(self, before: int) -> AppendArray:
        """The array `length`; if it is new, the rows `before` were whole."""
        length = self.arrays.get("length")
        if length is None:
            assert isinstance(self.layout, Rows)
            length = self.arrays["length"] = self._append_array("length", INT64, ())
            length.append(np.broadcast_to(np.int64(self.layout.row_shape[0]), (before,)))
        assert isinstance(length, AppendArray)
        return length

    def _take_offsets(self, block: Block, before: int) -> None:
        lengths = [n for fitted in block.fitted for n in fitted.lengths or ()]
        offsets = self.arrays["offsets"]
        assert isinstance(offsets, AppendArray)
        offsets.append(before + np.cumsum(lengths, dtype=INT64))
        if isinstance(self.layout, Pieces):
            row = self.arrays["row"]
            assert isinstance(row, AppendArray)
            row.append(np.array([fitted.row for fitted in block.fitted], INT64))

    def _take_slices(self, block: Block) -> None:
        value, length = self.arrays["value"], self.arrays["length"]
        assert isinstance(value, PlacedArray)
        assert isinstance(length, PlacedArray)
        for fitted in block.fitted:
            value.write(fitted.row, fitted.column, fitted.array)
            length.write(fitted.row, 0, np.array(fitted.column + len(fitted.array)))

    def _take_timestamps(self, block: Block) -> None:
        timestamp = self.arrays.get("timestamp")
        if timestamp is None:
            if not block.stamped:
                return
            timestamp = self._append_array("timestamp", FLOAT64, ())
            self.arrays["timestamp"] = timestamp
            timestamp.append_fill(self._pushes * (block.stamps_each or 1))
        assert isinstance(timestamp, AppendArray)
        timestamp.append(np.concatenate(block.timestamps))

    def publish(self) -> None:
        """Make all that was taken visible to readers, value first."""
        if isinstance(self.layout, Replaced):
            self._publish_replaced()
        else:
            self._publish_growing()

    def _publish_growing(self) -> None:
        value = self.arrays.get("value")
        if isinstance(value, PlacedArray) and isinstance(self.layout, Slices):
            value.are_full(self.layout.cursors[: self.layout.rows] == self.layout.width)
        for array in self.arrays.values():
            assert not isinstance(array, WholeArray)
            array.flush()
        for name in sorted(self.arrays, key=publish_order):
            array = self.arrays[name]
            assert not isinstance(array, WholeArray)
            array.publish(self._dimensions(name, array.shape), _attributes(name))

    def _publish_replaced(self) -> None:
        if self._last is None:
            self._show_committed()
            return
        block = self._last
        self._write_whole("value", block.fitted[-1].array)
        if block.stamped or "timestamp" in self.arrays:
            self._write_whole("timestamp", block.timestamps[-1])
        self._last = None

    def _show_committed(self) -> None:
        """After a restart, what readers see may be ahead of the commit."""
        for name, array in self.arrays.items():
            assert isinstance(array, WholeArray)
            array.show(self._dimensions(name, array.shape), _attributes(name))

    def _write_whole(self, name: str, value: NDArray[Any]) -> None:
        array = self.arrays.setdefault(name, WholeArray(self.path / name, self.settings, None))
        assert isinstance(array, WholeArray)
        array.write(value, self._dimensions(name, value.shape), _attributes(name))

    def _dimensions(self, name: str, shape: tuple[int, ...]) -> list[str]:
        """Names of dimensions: arrays that share one have equal lengths at each commit."""
        row, update = f"{self.name}_row", f"{self.name}_update"
        assert self.layout is not None
        value = self.arrays["value"]
        if self.layout.name in ("ragged", "pieces"):
            by_name = {"value": f"{self.name}_value", "offsets": f"{self.name}_offset"}
            if name == "timestamp" and shape != (self._pushes,):
                return [f"{self.name}_timestamp"]  # one a sample
            return [by_name.get(name, update)]
        if name in ("value", "length"):
            return [row, *(f"{self.name}_{axis}" for axis in range(1, len(shape)))][: len(shape)]
        same = not isinstance(value, WholeArray) and shape == value.shape[:1]
        return [row if same else update]

    def state(self) -> dict[str, Any]:
        """What the commit says of each array."""
        return {name: array.state() for name, array in self.arrays.items()}

    def committed(self) -> None:
        """There is a commit that says what `state` does."""
        for array in self.arrays.values():
            if isinstance(array, WholeArray):
                array.committed()

    def restore(
        self, layout: Layout, state: dict[str, Any], pushes: int, rows_each: int | None
    ) -> None:
        """As a commit says, with the `counts` of that moment."""
        self.layout, self._pushes, self._rows_each = layout, pushes, rows_each
        for name, saved in state.items():
            path = self.path / name
            if isinstance(layout, Replaced):
                self.arrays[name] = WholeArray(path, self.settings, saved)
            elif isinstance(layout, Slices) and name != "timestamp":
                self.arrays[name] = PlacedArray.restored(path, saved, self.settings.shard_bytes)
            else:
                self.arrays[name] = AppendArray.restored(path, saved, *self._cut(name))
        length = self.arrays.get("length")
        if isinstance(layout, Slices) and isinstance(length, PlacedArray):
            layout.resume(length.values())

    def seal(self) -> None:
        """Give every shard its HDF5 side. Nothing is written afterwards."""
        for array in self.arrays.values():
            if not isinstance(array, WholeArray):
                array.seal()

    def trim(self) -> None:
        """Remove what only served while the scan was open."""
        for array in self.arrays.values():
            array.trim()

    @property
    def just_sealed(self) -> bool:
        """Whether a shard was sealed since the last `publish`."""
        return any(
            array.just_sealed for array in self.arrays.values() if not isinstance(array, WholeArray)
        )

    def sync(self, top: Path) -> None:
        """Return when all that was published is on the disk, with the names in all folders up to
        `top`.
        """
        for array in self.arrays.values():
            array.sync(top)

    def close(self) -> None:
        for array in self.arrays.values():
            if not isinstance(array, WholeArray):
                array.close()


def _joined(parts: list[NDArray[Any]]) -> list[NDArray[Any]]:
    small = len(parts) > 1 and parts[0].nbytes < SMALL
    return [np.concatenate(parts)] if small else parts


def publish_order(name: str) -> int:
    """The rank of an array in its signal: readers must not see it before those of lower ranks."""
    return ("value", "timestamp", "length", "row", "offsets").index(name)


def _attributes(name: str) -> dict[str, Any]:
    if name == "timestamp":
        return {"units": "s", "long_name": "seconds since 1970-01-01T00:00:00Z"}
    return {}
