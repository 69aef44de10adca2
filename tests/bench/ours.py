"""zwriter without Redis: `ScanWriter`, by calls of `add` and by batches of updates."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.bench.work import DEVICE, Kind
from zwriter import ScanWriter, open_scan
from zwriter.model import Run, Update
from zwriter.settings import Codec, SignalSettings, StoreSettings

Batch = list[Run] | list[Update]


def settings(codec: Codec = "none", flush_interval: float = 1.0) -> StoreSettings:
    """Nothing is synced: rivals and the plain file write to the page cache, too."""
    return StoreSettings(
        default=SignalSettings(codec=codec), durability="none", flush_interval=flush_interval
    )


def writer_in(folder: Path, store: StoreSettings) -> ScanWriter:
    """A writer that will make no master file."""
    return ScanWriter(folder / "scan.zarr", scan_number=1, settings=store, master=None)


def by_add(folder: Path, kind: Kind, count: int, codec: Codec = "none") -> float:
    """Messages a second, a call each, from nothing until all is committed."""
    signal, max_shape = kind.signal, kind.max_shape
    began = time.perf_counter()
    writer = writer_in(folder, settings(codec))
    for i in range(count):
        writer.add(DEVICE, signal, kind.value(i), max_shape=max_shape)
    writer.commit()
    seconds = time.perf_counter() - began
    writer.close()
    check(writer.path, kind, count)
    return count / seconds


def by_apply(
    folder: Path, kind: Kind, count: int, batches: Sequence[Batch], codec: Codec = "none"
) -> float:
    """Messages a second, `count` in batches, until all is committed."""
    began = time.perf_counter()
    writer = writer_in(folder, settings(codec))
    for batch in batches:
        writer.apply(batch)
        writer.commit_due()
    writer.commit()
    seconds = time.perf_counter() - began
    writer.close()
    check(writer.path, kind, count)
    return count / seconds


def check(path: Path, kind: Kind, count: int) -> None:
    """A writer that loses rows is not fast: raises AssertionError."""
    value = open_scan(path).devices[DEVICE][kind.signal].value
    assert value.shape[0] == count * kind.block, f"{value.shape[0]} rows of {count * kind.block}"
    last = kind.rows(count - 1, 1)
    np.testing.assert_array_equal(value[value.shape[0] - kind.block :], last)
