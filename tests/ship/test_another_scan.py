"""A scan that is begun in an outage, where the bucket has another one: that stays as it is."""

from __future__ import annotations

import time

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import Fenced, UsageError
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.ship import Shipment
from zwriter.store.scan_store import own_attributes

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def write_another(lake: Lake, *, finish: bool) -> None:
    shipment = lake.shipment("other")
    scan = ScanWriter(shipment.store, scan_id="other", master=None, shipment=shipment)
    push(scan, range(5))
    scan.status("open")
    scan.flush()
    if finish:
        scan.status("closed")
        scan.finish()
    scan.close()


def is_finished(shipment: Shipment) -> bool:
    """Whether it takes its scan for finished."""
    known: object = shipment.is_finished
    return bool(known("one")) if callable(known) else bool(known)


@pytest.mark.parametrize("finish", [False, True], ids=["unfinished", "finished"])
def test_it_stays_untouched_and_the_writer_is_told_which_it_is(lake: Lake, finish: bool) -> None:
    write_another(lake, finish=finish)
    there = [lake.objects(), lake.contents()]
    lake.network.open = False
    scan = lake.writer()
    push(scan, range(5))
    scan.commit()
    lake.network.open = True
    with pytest.raises((Fenced, UsageError), match="another scan, other"):  # noqa: PT012
        while True:
            scan.commit()
            time.sleep(0.01)
    scan.close()
    assert [lake.objects(), lake.contents()] == there
    with pytest.raises((Fenced, UsageError), match="other"):  # noqa: PT012
        scan = lake.writer()
        scan.flush()
    assert [lake.objects(), lake.contents()] == there
    found = [own_attributes(path.parent) for path in lake.folder.glob("spool/**/S1.zarr/zarr.json")]
    assert [own["scan_id"] for own in found] == ["one"]


def test_a_scan_is_not_finished_because_another_one_is(lake: Lake) -> None:
    write_another(lake, finish=True)
    assert open_scan(lake.url).finished
    assert not is_finished(lake.shipment())


def test_a_finished_scan_is_known_to_be_so_whatever_its_first_machine_still_has(lake: Lake) -> None:
    first = lake.writer()
    push(first, range(5))
    first.flush()
    first.close()
    assert not is_finished(lake.shipment())
    with lake.writer(lake.shipment("second")) as second:
        push(second, range(5, 10))
    assert is_finished(lake.shipment("third"))
    assert is_finished(lake.shipment())
