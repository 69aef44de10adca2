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


def test_an_interrupt_as_a_shard_is_sealed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    path = tmp_path / "S1.zarr"
    with writer(path) as scan:
        for n in range(70):
            scan.add("mcs", "counts", n)
        with monkeypatch.context() as patch:
            patch.setattr("zwriter.store.shard.shard_checksum", interrupt)
            with pytest.raises(KeyboardInterrupt):
                scan.commit()
        for n in range(70, 80):
            scan.add("mcs", "counts", n)
    assert verify(path).problems == []
    read = open_scan(path)
    assert read.devices["mcs"]["counts"].value[:].tolist() == list(range(80))
    assert list(read.quarantine) == []


def test_what_was_shown_of_a_signal_that_fails_in_the_end_goes_back_to_its_commit(tmp_path: Path):
    path = tmp_path / "S1.zarr"
    with writer(path) as scan:
        for n in range(2):
            scan.add("mcs", "counts", n)
        scan.commit()
        scan.add("mcs", "counts", 2)
        with failing("document.written", fault):
            scan.finish()
    assert verify(path).problems == []
    read = open_scan(path)
    assert read.devices["mcs"]["counts"].value[:].tolist() == [0, 1]
    assert len(list(read.quarantine)) == 1
