"""Of two writers of a scan the second counts, whatever the first still has under way."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import numpy as np
import pytest

from tests.ship.lake import Lake
from zwriter.errors import Fenced
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.testing.s3 import S3Server
from zwriter.testing.s3_faults import s3_faults

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def push(scan: ScanWriter, numbers: Iterable[int]) -> None:
    for n in numbers:
        scan.add("eiger", "image", np.full((32, 32), n, np.uint16), float(n))
        scan.add("eiger", "number", n)
        scan.replace("eiger", "last", n)
        scan.point(n, {"samx": {"samx": {"value": n, "timestamp": 1.0}}})


def push_until_fenced(scan: ScanWriter) -> None:
    with pytest.raises(Fenced, match="another writer has taken the scan over"):  # noqa: PT012
        while True:
            push(scan, [1000])
            scan.commit()
            time.sleep(0.01)


def check(lake: Lake, rows: int) -> None:
    assert verify(lake.url).problems == []
    device, numbers = open_scan(lake.url).devices["eiger"], list(range(rows))
    assert device["number"].value[:].tolist() == numbers
    assert device["image"].value[:, 5, 5].tolist() == numbers
    assert device["image"].timestamp is not None
    assert device["image"].timestamp[:].tolist() == numbers
    assert device["last"].value[()] == rows - 1


def end(scan: ScanWriter) -> None:
    scan.status("closed")
    scan.finish()
    scan.close()


@pytest.mark.parametrize("late", ["it writes", "it has finished"])
@pytest.mark.parametrize(
    "key",
    [
        None,
        "*/journal/*",
        "*/image/value/c/*",
        "*/image/timestamp/zarr.json",
        "*/last/value/zarr.json",
        "*/commits/*",
        "*/devices/eiger/zarr.json",
    ],
)
def test_what_the_first_still_sends_changes_nothing(
    lake: Lake, s3: S3Server, monkeypatch: pytest.MonkeyPatch, key: str | None, late: str
) -> None:
    monkeypatch.setattr("zwriter.ship.claim._FRESH", 0.0)
    first = lake.writer()
    push(first, range(20))
    first.flush()
    held = lake.network.hold(method="PUT", key=key, times=1) if key else None
    push(first, range(20, 40))
    first.commit()
    if held:
        held.wait()
    with s3_faults(s3) as network:
        second = lake.writer(lake.shipment("second", network))
        begin = second.ledgers["eiger"]["number"].written
        assert begin in (20, 40)
        push(second, range(begin, 60))
        second.flush()
        if late == "it has finished":
            end(second)
        if held:
            held.release()
        push_until_fenced(first)
        with contextlib.suppress(Fenced):
            first.close()
        if late == "it writes":
            check(lake, 60)
            end(second)
    check(lake, 60)
    lake.check_nothing_else("second")
