"""What nobody has foreseen happens on the way into the bucket."""

from __future__ import annotations

import threading

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake, finishing
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]


class Fault:
    """Happens at so many passes of a failpoint; without a number, at all."""

    def __init__(self, times: int | None = None) -> None:
        self.times, self.attempts = times, 0

    def __call__(self) -> None:
        self.attempts += 1
        if self.times is None or self.attempts <= self.times:
            fault()


def test_it_is_told_once_and_waited_over_and_stopping_ends_the_wait(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 3600.0)
    stop, failure = threading.Event(), Fault()
    scan = lake.writer(lake.shipment(stop=stop))
    push(scan, range(5))
    scan.flush()
    scan.status("closed")
    with failing("ship.sending", failure):
        end = finishing(scan)
        until(lambda: failure.attempts and (lake.told or failure.attempts > 3), "a fault")
        assert failure.attempts <= 2  # one may have been before its end
        stop.set()
        with pytest.raises(OSError, match="is not all sent; it is in the spool"):
            end.result(60)
        scan.close()
    assert len(lake.told) == 1
    assert "a fault (failpoint)" in lake.told[0]
    with lake.writer():
        pass
    lake.check(5)


def test_it_is_told_when_it_is_over_and_the_scan_is_finished(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 0.05)
    with lake.writer() as scan:
        push(scan, range(5))
        scan.flush()
        scan.status("closed")
        with failing("ship.sending", Fault(times=5)):
            scan.finish()
    begin, over = lake.told
    assert "a fault (failpoint)" in begin
    assert over == f"{lake.url} is sent again"
    lake.check(5)
