"""The power was cut, and the spool has lost what the bucket has."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.store.scan_store import DEVICES

pytestmark = [pytest.mark.s3, pytest.mark.outage]

SIGNALS = [
    *("det/last", "det/pieces", "det/rows", "eiger/image"),
    *("mcs/counts", "mcs/mixed", "mcs/ragged"),
]


@pytest.mark.parametrize("name", ["mcs/counts/value/c/0", "eiger/image/timestamp/c/0"])
@pytest.mark.parametrize("more", [0, 3], ids=["all was sent", "some was not sent"])
def test_a_spool_whose_shards_are_damaged_and_whose_commits_are_not_goes_on_from_the_bucket(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, name: str, more: int
) -> None:
    scan = lake.writer()
    push(scan, range(5))
    scan.flush()
    shard = lake.shipment().path / DEVICES / name
    nbytes = shard.stat().st_size
    push(scan, range(5, 10))
    scan.flush()
    lake.network.open = False
    push(scan, range(10, 10 + more))
    scan.commit()
    scan.close()
    lake.network.heal()
    assert shard.stat().st_size > nbytes
    os.truncate(shard, nbytes)
    monkeypatch.setattr("zwriter.store.epochs.boot_id", lambda: "another boot")
    scan = lake.writer()
    written = {
        f"{device}/{signal}": ledger.written
        for device, signals in scan.ledgers.items()
        for signal, ledger in signals.items()
    }
    assert written == dict.fromkeys(SIGNALS, 10)
    with scan:
        push(scan, range(10, 24))
    (aside,) = lake.folder.glob("spool/aside-*")
    assert (aside / "S1.zarr").exists()
    shutil.rmtree(aside)
    lake.check(24)
