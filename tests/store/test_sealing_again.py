"""What a finish that was interrupted has sealed."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.store.layout import DEVICES
from zwriter.testing.failpoints import failing, fault

SETTINGS = StoreSettings(
    flush_interval=60, default=SignalSettings(chunk_bytes=256, shard_bytes=512), durability="none"
)


def writer(path: Path) -> ScanWriter:
    return ScanWriter(path, scan_id="one", settings=SETTINGS, master=None)


def test_rows_that_come_after_an_interrupted_finish_are_sealed_with_the_others(tmp_path: Path):
    path = tmp_path / "S1.zarr"
    scan = writer(path)
    for n in range(100):
        scan.add("mcs", "counts", n)
    with (
        failing("finish.frames", fault),
        pytest.raises(RuntimeError, match="a fault"),
    ):
        scan.finish()
    scan.close()
    with writer(path) as scan:
        for n in range(100, 105):
            scan.add("mcs", "counts", n)
    report = verify(path)
    assert report.problems == []
    assert open_scan(path).devices["mcs"]["counts"].value[:].tolist() == list(range(105))
    with h5py.File(path / DEVICES / "mcs/counts/value/c/1") as shard:
        assert shard["data"][:].tolist() == list(range(64, 105))
