"""Another machine goes on with a scan; and whatever the first has sent, has held or still has in
its spool when it comes back, the scan is what the second makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import UsageError

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def begin_and_die(lake: Lake) -> None:
    """The first machine writes 30 of 60, of which the bucket has 20, and is gone."""
    first = lake.writer()
    push(first, range(20))
    first.flush()
    lake.network.open = False
    push(first, range(20, 30))
    first.commit()
    first.close()
    lake.network.open = True


def aside(lake: Lake, spool: str = "spool") -> list[Path]:
    """Stores that are put aside in a spool."""
    return sorted((lake.folder / spool).glob("aside-*/*.zarr/zarr.json"))


def state_of(lake: Lake) -> list[object]:
    return [lake.objects(), lake.contents()]


def test_a_finished_scan_stays_as_it_is_when_the_machine_that_began_it_comes_back(
    lake: Lake,
) -> None:
    begin_and_die(lake)
    with lake.writer(lake.shipment("second")) as second:
        push(second, range(20, 60))
    finished = state_of(lake)
    with pytest.raises(UsageError, match="is finished"):
        lake.writer()
    assert state_of(lake) == finished
    lake.check(60, "second")
    assert len(aside(lake)) == 1
