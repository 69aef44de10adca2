"""One signal in the store: its updates in order, of one mode and one dtype, and its ledger."""

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
    Replaced,
    Rows,
    Slices,
    assemble,
    common_dtype,
    join,
    layout_for,
)
from zwriter.assemble.blocks import reject
from zwriter.errors import BadUpdate
from zwriter.model import Add, AddSlice, Ledger, MaxShape, Mode, Rejected, Replace, Run, Update
from zwriter.settings import SignalSettings
from zwriter.store.ahead import ChunksAhead
from zwriter.store.disk import make_folder, sync_file, sync_names
from zwriter.store.numbering import Numbering
from zwriter.store.signal_arrays import SignalArrays
from zwriter.store.zarr_json import group_json, write_json


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
        self._arrays = SignalArrays(path, settings)
        self.dirty = False
        self._numbering = Numbering(self.ledger)
        self._gap = 0  # missing updates for which no room is left yet
        self._described = False
        self._described_on_disk = False
        if state:
            self._restore(state)

    def ahead(self, mode: Mode, values: NDArray[Any]) -> ChunksAhead | None:
        """Room in the file for `values` of the next updates, and others like them, if each will be
        a chunk just as it is.
        """
        layout = self.layout
        if mode != self.mode or not isinstance(layout, Rows) or self._gap:
            return None
        if layout.max_shape[0] is not None:
            return None
        return self._arrays.ahead(values)

    def follows(self, run: Run) -> bool:
        """Whether nothing is missing before and in `run`, and nothing of it came before."""
        return self._numbering.follows(run)

    def apply(self, items: list[Update | Run]) -> list[Rejected]:
        """Take updates; what cannot be taken, or was cut off, comes back."""
        self.dirty = True
        rejected: list[Rejected] = []
        for kind, alike in groupby(items, key=type):
            same: list[Any] = list(alike)
            if kind is Update:
                rejected += self._apply_singly(same)
                continue
            for run in same:
                if not self._join(run):
                    rejected += self._apply_singly(run.updates())
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
            self._arrays.layout = self.layout
            self._described = False
        elif _kind(mode) != _kind(self.mode):
            self._change(self.layout, self.mode, mode)
        return self.layout

    def _change(self, layout: Layout, known: Mode, mode: Mode) -> None:
        """Have other limits to the number of rows from now on; nothing else may change."""
        if _row_kind(mode) != _row_kind(known) or not isinstance(layout, Rows | Slices):
            was, now = _describe_mode(known), _describe_mode(mode)
            raise BadUpdate(f"update mode changed from {was} to {now} in mid-scan")
        layout_for(mode)  # raises if there is no such mode
        layout.max_shape, self.mode = mode.max_shape or layout.max_shape, mode
        self._described = False

    def _agree(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of the signal once it has values of `dtype`; promotes what is stored."""
        if isinstance(self.layout, Replaced):
            return dtype
        known = self._arrays.dtype if self.ledger.written else None
        if known is None:
            self._arrays.create(dtype)
            return dtype
        target = common_dtype(known, dtype)
        if target is None:
            raise BadUpdate(f"{dtype} values in a signal of {known}")
        if target != known:
            target = self._arrays.promote(target, self.ledger.missing_rows)
            self.ledger.promoted += 1
        return target

    def _take(self, block: Block) -> None:
        if self._gap:
            gap, self._gap = self._gap, 0
            self._arrays.leave_room(gap, block, self.ledger)
        self._arrays.take(block)
        self.ledger.written += block.count
        self.ledger.short += sum(fitted.short for fitted in block.fitted)
        self.ledger.cut += sum(fitted.cut for fitted in block.fitted)

    def publish(self) -> None:
        """Make all that was taken visible to readers, value first."""
        if self._arrays.empty:
            return
        if not self._described:
            self._describe()
        self._arrays.publish()

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

    def state(self) -> dict[str, Any]:
        """What the commit says of this signal; its layout is null until something was written."""
        shape = None if self.mode is None else self.mode.max_shape
        arrays = self._arrays.state()
        return {
            "layout": self.layout.name if self.layout is not None and arrays else None,
            "mode": None if self.mode is None else self.mode.name,
            "max_shape": None if shape is None else list(shape),
            "rows": 0 if self.layout is None else self.layout.rows,
            "ledger": self.ledger.to_json(),
            "numbering": [self._gap, *self._arrays.counts, self._numbering.last_content],
            "arrays": arrays,
        }

    def committed(self) -> None:
        """There is a commit that says what `state` does."""
        self._arrays.committed()

    def _restore(self, state: dict[str, Any]) -> None:
        self.ledger = Ledger.from_json(state["ledger"])
        self._gap, *counts, last_content = state["numbering"]
        self._numbering = Numbering(self.ledger, last_content)
        if state["layout"] is None:
            return
        shape = tuple(state["max_shape"]) if state["max_shape"] is not None else None
        self.mode = _mode(state["mode"], shape)
        self.layout = layout_for(self.mode)
        self.layout.rows = state["rows"]
        if isinstance(self.layout, Rows) and "value" in state["arrays"]:
            self.layout.resume(tuple(state["arrays"]["value"]["shape"][1:]))
        self._arrays.restore(self.layout, state["arrays"], *counts)

    def seal(self) -> None:
        """Give every shard its HDF5 side. Nothing is written afterwards."""
        self._arrays.seal()

    def trim(self) -> None:
        """Remove what only served while the scan was open."""
        self._arrays.trim()

    @property
    def just_sealed(self) -> bool:
        """Whether a shard was sealed since the last `publish`."""
        return self._arrays.just_sealed

    def sync(self, top: Path) -> None:
        """Return when all that was published is on the disk, with the names in all folders up to
        `top`.
        """
        self._arrays.sync(top)
        if not self._described_on_disk and self._described:
            sync_file(self.path / "zarr.json")
            sync_names(self.path / "zarr.json", top)
            self._described_on_disk = True

    def close(self) -> None:
        self._arrays.close()


def _kind(mode: Mode) -> tuple[str, MaxShape | None]:
    return mode.name, mode.max_shape


def _row_kind(mode: Mode) -> tuple[str, MaxShape | None]:
    return mode.name, mode.max_shape and mode.max_shape[1:]


def _describe_mode(mode: Mode) -> str:
    return mode.name if mode.max_shape is None else f"{mode.name} {list(mode.max_shape)}"


def _mode(name: str, max_shape: MaxShape | None) -> Mode:
    if name == "replace" or max_shape is None:
        return Replace()
    return Add(max_shape) if name == "add" else AddSlice(max_shape, 0)
