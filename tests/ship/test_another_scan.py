"""A scan that is begun in an outage, where the bucket has another one: that stays as it is."""

from __future__ import annotations

from threading import Event

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import UsageError
from zwriter.model import Verdict
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import Settings
from zwriter.testing.failpoints import failing

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


@pytest.mark.parametrize("finish", [False, True], ids=["unfinished", "finished"])
def test_it_stays_untouched_and_the_new_one_is_written_to_its_end_in_the_spool(
    lake: Lake, finish: bool
) -> None:
    write_another(lake, finish=finish)
    there = [lake.objects(), lake.contents()]
    lake.network.open = False
    scan = lake.writer()
    push(scan, range(5))
    scan.commit()
    lake.network.open = True
    with pytest.raises(UsageError, match="another scan, other; one stays in"):
        scan.flush()
    push(scan, range(5, 10))
    scan.status("closed")
    with pytest.raises(UsageError, match="another scan, other"):
        scan.finish()
    scan.close()
    assert any("another scan, other" in text for text in lake.told)
    with pytest.raises(UsageError, match="another scan, other: choose another path"):
        lake.writer()
    assert [lake.objects(), lake.contents()] == there
    (store,) = lake.folder.glob("spool/**/S1.zarr")
    verdict, _ = finalize(store, Settings())
    assert verdict is Verdict.COMPLETE
    assert verify(store).problems == []
    assert list(open_scan(store).record.points) == list(range(10))


def test_one_that_has_only_claimed_the_place_has_it(lake: Lake) -> None:
    claimed, go_on = Event(), Event()

    def stop_at_the_claim() -> None:
        claimed.set()
        go_on.wait(30)

    shipment = lake.shipment("other")
    with failing("ship.claimed", stop_at_the_claim):
        other = ScanWriter(shipment.store, scan_id="other", master=None, shipment=shipment)
        assert claimed.wait(30)
        with pytest.raises(UsageError, match="another scan, other: choose another path"):
            lake.writer()
        lake.network.open = False
        scan = lake.writer()  # which cannot see it
        lake.network.open = True
        with pytest.raises(UsageError, match="another scan, other; one stays in"):
            scan.flush()
        scan.close()
        go_on.set()
        with other:
            push(other, range(5))
    assert open_scan(lake.url).scan_id == "other"
    assert list(open_scan(lake.url).record.points) == list(range(5))


def test_a_scan_is_not_finished_because_another_one_is(lake: Lake) -> None:
    write_another(lake, finish=True)
    assert open_scan(lake.url).finished
    assert not lake.shipment().is_finished("one")


def test_a_finished_scan_is_known_to_be_so_whatever_its_first_machine_still_has(lake: Lake) -> None:
    first = lake.writer()
    push(first, range(5))
    first.flush()
    first.close()
    assert not lake.shipment().is_finished("one")
    with lake.writer(lake.shipment("second")) as second:
        push(second, range(5, 10))
    assert lake.shipment("third").is_finished("one")
    assert lake.shipment().is_finished("one")
