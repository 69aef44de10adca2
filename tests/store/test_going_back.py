"""A power cut damages what is newest: the store goes back as far as it must, and no further."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zwriter.scan import ScanWriter
from zwriter.settings import StoreSettings
from zwriter.store.layout import DEVICES


def test_a_device_goes_back_to_the_newest_commit_that_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, settings = tmp_path / "S1.zarr", StoreSettings(flush_interval=60, durability="none")
    scan = ScanWriter(path, scan_id="one", settings=settings, master=None)
    shard, sizes = path / DEVICES / "mcs/second/value/c/0", []
    for n in range(3):
        scan.add("mcs", "first", n)
        scan.add("mcs", "second", n)
        scan.commit()
        sizes.append(shard.stat().st_size)
    scan.close()
    os.truncate(shard, sizes[1])
    monkeypatch.setattr("zwriter.store.epochs.boot_id", lambda: "another boot")
    with ScanWriter(path, scan_id="one", settings=settings, master=None) as scan:
        written = {name: ledger.written for name, ledger in scan.ledgers["mcs"].items()}
    assert written == {"first": 2, "second": 2}
