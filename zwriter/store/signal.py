"""One signal in the store: its layout, its arrays, its ledger."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
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
    assemble,
    common_dtype,
    join,
    layout_for,
    widest,
)
from zwriter.assemble.blocks import reject
from zwriter.errors import BadUpdate
from zwriter.model import Add, AddSlice, Ledger, MaxShape, Mode, Rejected, Replace, Run, Update
from zwriter.settings import SignalSettings
from zwriter.store.appended import AppendArray
from zwriter.store.codecs import codec_for
from zwriter.store.disk import make_folder, sync_file, sync_names
from zwriter.store.numbering import Numbering
from zwriter.store.placed import PlacedArray
from zwriter.store.whole import WholeArray
from zwriter.store.zarr_json import group_json, write_json

INT64 = np.dtype("<i8")
FLOAT64 = np.dtype("<f8")
SMALL = 64 * 1024  # blocks below this are joined before they are stored
LAST_GENERATION = 2
MAX_MISSING = 1_000_000  # missing updates of a signal, in all, for which room is left
MAX_ROOM = 16 * 1024**3  # bytes of rows and timestamps that this room takes in all
Stored = AppendArray | PlacedArray | WholeArray


class SignalWriter:
    """Takes a signal's updates. `path` is its group; `state` what the last commit says of it."""

    def __init__(
        self, path: Path, settings: SignalSettings, state: dict[str, Any] | None = None
    ) -> None:
        self.path = path
        self.name = path.name
        self.settings = settings
        self.ledger = Ledger()
        self.layout: Layout | None = None
        self.mode: Mode | None = None
        self.arrays: dict[str, Stored] = {}
        self.dirty = False
        self._numbering = Numbering(self.ledger)
        self._gap = 0  # missing updates for which no room is left yet
        self._pushes = 0  # updates written, and those for which room was left
        self._rows_each: int | None = None  # rows of an update; 0 when that varies
        self._last: Block | None = None  # replace: the value to write at the next flush
        self._described = False
        self._described_on_disk = False
        if state:
            self._restore(state)

    def apply(self, items: list[Update | Run]) -> list[Rejected]:
        """Take updates; what cannot be taken, or was cut off, comes back."""
        self.dirty = True
        rejected: list[Rejected] = []
        single: list[Update] = []
        for item in items:
            if isinstance(item, Update):
                single.append(item)
                continue
            rejected += self._apply_singly(single)
            single = []
            if not self._join(item):
                rejected += self._apply_singly(item.updates())
        rejected += self._apply_singly(single)
        self.ledger.quarantined += len(rejected)
        return rejected

    def _join(self, run: Run) -> bool:
        """Take `run` in one step, if that can be done."""
        if not self._numbering.follows(run):
            return False
        try:
            layout = self._adopt(run.mode)
        except BadUpdate:
            return False
        block = join(layout, run.values, run.timestamps, self._agree)
        if block is None:
            return False
        self._numbering.took(run)
        self._take(block)
        return True

    def _apply_singly(self, updates: list[Update]) -> Iterator[Rejected]:
        modes = [update.mode for update in updates]
        if modes and modes.count(modes[0]) == len(modes):
            yield from self._apply_run(updates)
            return
        for _, run in groupby(updates, key=lambda update: _kind(update.mode)):
            yield from self._apply_run(list(run))

    def _apply_run(self, updates: list[Update]) -> Iterator[Rejected]:
        for segment in self._numbering.segments(updates):
            if isinstance(segment, Rejected):
                yield segment
            else:
                self._gap += segment.gap
                yield from self._apply_segment(segment.updates)

    def _apply_segment(self, updates: list[Update]) -> Iterator[Rejected]:
        try:
            layout = self._adopt(updates[0].mode)
        except BadUpdate as error:
            yield from (reject(update, str(error)) for update in updates)
            return
        for item in assemble(layout, updates, self._agree):
            if isinstance(item, Rejected):
                yield item
            else:
                self._take(item)

    def _adopt(self, mode: Mode) -> Layout:
        """The signal's layout: the first update that could be written has decided it."""
        if self.layout is None or self.mode is None or not self.ledger.written:
            self.layout, self.mode = layout_for(mode), mode
            self._described = False
        elif _kind(mode) != _kind(self.mode):
            was, now = _describe_mode(self.mode), _describe_mode(mode)
            raise BadUpdate(f"update mode changed from {was} to {now} in mid-scan")
        return self.layout

    def _agree(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the signal once it has values of `dtype`; promotes what is stored."""
        if isinstance(self.layout, Replaced):
            return dtype
        value = self.arrays.get("value") if self.ledger.written else None
        if value is None:
            self._create_arrays(dtype)
            return dtype
        assert not isinstance(value, WholeArray)
        target = common_dtype(value.dtype, dtype)
        if target is None:
            raise BadUpdate(f"{dtype} values in a signal of {value.dtype}")
        if target == value.dtype:
            return target
        if value.generation + 1 == LAST_GENERATION:
            target = widest(target)
        promoted = value.promoted(target) if value.generation < LAST_GENERATION else None
        if promoted is None:
            raise BadUpdate(f"{value.dtype} cannot become {target} without loss")
        self.arrays["value"] = promoted
        self.ledger.promoted += 1
        return target

    def _create_arrays(self, dtype: np.dtype[Any]) -> None:
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

    def _take(self, block: Block) -> None:
        if self._gap:
            self._leave_room(block)
        if isinstance(self.layout, Replaced):
            self._last = block
        elif isinstance(self.layout, Slices):
            self._take_slices(block)
        else:
            self._take_rows(block)
        if not isinstance(self.layout, Replaced):
            self._take_timestamps(block)
        self._pushes += block.count
        self.ledger.written += block.count
        self.ledger.short += sum(fitted.short for fitted in block.fitted)
        self.ledger.cut += sum(fitted.cut for fitted in block.fitted)

    def _leave_room(self, block: Block) -> None:
        """Rows of fill value where updates are missing, so that rows keep their numbers.

        None where an update's rows are not known, or would be too many: the ledger has the gap.
        """
        gap, self._gap = self._gap, 0
        if isinstance(self.layout, Replaced) or not self._has_room(gap, block):
            return
        if isinstance(self.layout, Rows | Ragged) and not self._leave_rows(gap, block):
            return
        timestamp = self.arrays.get("timestamp")
        if isinstance(timestamp, AppendArray):
            timestamp.append_fill(gap * (block.stamps_each or 1))
        self._pushes += gap

    def _has_room(self, gap: int, block: Block) -> bool:
        """Whether there may be room for `gap` updates more, besides those that have some."""
        value, updates = self.arrays["value"], self._pushes - self.ledger.written + gap
        assert not isinstance(value, WholeArray)
        rows = block.rows_each if isinstance(self.layout, Rows) else 1
        stamps = FLOAT64.itemsize * (block.stamps_each or 1)
        each = rows * max(value.row_bytes, INT64.itemsize) + stamps
        return updates <= MAX_MISSING and updates * each <= MAX_ROOM

    def _leave_rows(self, gap: int, block: Block) -> bool:
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
        self.ledger.missing_rows.append([first, first + rows - 1])
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
        if "value" not in self.arrays and self._last is None:
            return
        if not self._described:
            self._describe()
        if isinstance(self.layout, Replaced):
            self._publish_replaced()
        else:
            self._publish_growing()

    def _publish_growing(self) -> None:
        value = self.arrays.get("value")
        if isinstance(value, PlacedArray) and isinstance(self.layout, Slices):
            full = self.layout.cursors[: self.layout.rows] == self.layout.width
            for chunk in value.dirty_chunks:
                rows = full[chunk * value.chunk_rows : (chunk + 1) * value.chunk_rows]
                if len(rows) == value.chunk_rows and rows.all():
                    value.whole(chunk)
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
        block, self._last = self._last, None
        value = block.fitted[-1].array
        self._write_whole("value", value)
        if block.stamped or "timestamp" in self.arrays:
            self._write_whole("timestamp", block.timestamps[-1])

    def _show_committed(self) -> None:
        """After a restart, what readers see may be ahead of the commit."""
        for name, array in self.arrays.items():
            assert isinstance(array, WholeArray)
            array.show(self._dimensions(name, array.shape), _attributes(name))

    def _write_whole(self, name: str, value: NDArray[Any]) -> None:
        array = self.arrays.setdefault(name, WholeArray(self.path / name, self.settings, None))
        assert isinstance(array, WholeArray)
        array.write(value, self._dimensions(name, value.shape), _attributes(name))

    def _describe(self) -> None:
        assert self.layout is not None
        assert self.mode is not None
        shape = self.mode.max_shape
        own = {
            "layout": self.layout.name,
            "mode": self.mode.name,
            "max_shape": None if shape is None else list(shape),
        }
        attributes = {"NX_class": "NXdata", "signal": "value", "zwriter": own}
        make_folder(self.path)
        write_json(self.path / "zarr.json", group_json(attributes))
        self._described, self._described_on_disk = True, False

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
        """What the commit says of this signal; its layout is null until something was written."""
        shape = None if self.mode is None else self.mode.max_shape
        return {
            "layout": None if self.layout is None else self.layout.name,
            "mode": None if self.mode is None else self.mode.name,
            "max_shape": None if shape is None else list(shape),
            "rows": 0 if self.layout is None else self.layout.rows,
            "ledger": self.ledger.to_json(),
            "numbering": [self._gap, self._pushes, self._rows_each, self._numbering.last_content],
            "arrays": {name: array.state() for name, array in self.arrays.items()},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.ledger = Ledger.from_json(state["ledger"])
        self._gap, self._pushes, self._rows_each, last_content = state["numbering"]
        self._numbering = Numbering(self.ledger, last_content)
        if state["layout"] is None:
            return
        shape = tuple(state["max_shape"]) if state["max_shape"] is not None else None
        self.mode = _mode(state["mode"], shape)
        self.layout = layout_for(self.mode)
        self.layout.rows = state["rows"]
        for name, saved in state["arrays"].items():
            path = self.path / name
            if isinstance(self.layout, Replaced):
                self.arrays[name] = WholeArray(path, self.settings, saved)
            elif isinstance(self.layout, Slices) and name != "timestamp":
                self.arrays[name] = PlacedArray.restored(path, saved, self.settings.shard_bytes)
            else:
                self.arrays[name] = AppendArray.restored(path, saved, *self._cut(name))
        length = self.arrays.get("length")
        if isinstance(self.layout, Slices) and isinstance(length, PlacedArray):
            self.layout.resume(length.values())

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
        if not self._described_on_disk and self._described:
            sync_file(self.path / "zarr.json")
            sync_names(self.path / "zarr.json", top)
            self._described_on_disk = True

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


def _kind(mode: Mode) -> tuple[str, MaxShape | None]:
    return mode.name, mode.max_shape


def _describe_mode(mode: Mode) -> str:
    return mode.name if mode.max_shape is None else f"{mode.name} {list(mode.max_shape)}"


def _mode(name: str, max_shape: MaxShape | None) -> Mode:
    if name == "replace" or max_shape is None:
        return Replace()
    return Add(max_shape) if name == "add" else AddSlice(max_shape, 0)
