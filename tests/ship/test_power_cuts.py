"""The power was cut, and the spool has lost what the bucket has."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import NotSynced, StoreError
from zwriter.objects import place
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.store.layout import DEVICES

pytestmark = [pytest.mark.s3, pytest.mark.outage]

SIGNALS = [
    *("det/last", "det/pieces", "det/rows", "eiger/image"),
    *("mcs/counts", "mcs/mixed", "mcs/ragged"),
]


def written(scan: ScanWriter) -> dict[str, int]:
    return {
        f"{device}/{signal}": ledger.written
        for device, signals in scan.ledgers.items()
        for signal, ledger in signals.items()
    }


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
    assert written(scan) == dict.fromkeys(SIGNALS, 10)
    with scan:
        push(scan, range(10, 24))
    (aside,) = lake.folder.glob("spool/aside-*")
    assert (aside / "S1.zarr").exists()
    shutil.rmtree(aside)
    lake.check(24)


@pytest.mark.parametrize("away", [False, True], ids=["the bucket is there", "it is away"])
def test_a_spool_that_has_lost_its_last_commits_goes_on_from_the_bucket(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, away: bool
) -> None:
    scan = lake.writer()
    push(scan, range(5))
    scan.flush()
    shutil.copytree(lake.folder / "spool", lake.folder / "before")
    push(scan, range(5, 10))
    scan.flush()
    lake.network.open = False
    scan.close()
    shutil.rmtree(lake.folder / "spool")
    (lake.folder / "before").rename(lake.folder / "spool")
    monkeypatch.setattr("zwriter.store.epochs.boot_id", lambda: "another boot")
    lake.network.open = not away
    scan = lake.writer()
    if away:
        assert written(scan) == dict.fromkeys(SIGNALS, 5)
        push(scan, range(5, 12))  # once more: they were read again
        scan.commit()
        lake.network.open = True
        with pytest.raises(NotSynced, match="the bucket has more of it than the spool"):
            scan.flush()
        scan.close()
        scan = lake.writer()
    assert written(scan) == dict.fromkeys(SIGNALS, 10)
    with scan:
        push(scan, range(10, 24))
    for aside in lake.folder.glob("spool/aside-*"):
        shutil.rmtree(aside)
    lake.check(24)


def test_a_bucket_that_has_lost_what_was_committed_is_left_as_it_is_to_whom_has_it(
    lake: Lake,
) -> None:
    scan = lake.writer()
    push(scan, range(5))
    scan.flush()
    shard = place(f"{lake.url}/{DEVICES}/mcs/counts/value/c/0")
    older = shard.read_bytes()
    push(scan, range(5, 2100))
    scan.flush()
    lake.network.open = False
    scan.close()
    lake.network.open = True
    shard.write_bytes(older)
    there = without_claims(lake)
    with pytest.raises(StoreError, match="mcs/counts/value: shard 0 lacks what was committed"):
        lake.writer(lake.shipment("second"))
    assert without_claims(lake) == there
    with lake.writer() as scan:
        push(scan, range(2100, 2110))
    counts = open_scan(lake.url).devices["mcs"]["counts"]
    assert counts.value[:].tolist() == list(range(2110))
    assert verify(lake.url).problems == []
    lake.check_nothing_else()


def without_claims(lake: Lake) -> dict[str, int]:
    return {url: nbytes for url, nbytes in lake.objects().items() if "/epochs/" not in url}
