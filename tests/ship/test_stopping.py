"""Nobody waits any more while the object store is away: no call does, either."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.objects import ObjectPath, place
from zwriter.ship import Shipment
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def register(lake: Lake) -> ObjectPath:
    path = place(f"s3://{lake.bucket}/data/.zwriter/open/one", lake.network.options)
    assert isinstance(path, ObjectPath)
    return path


@pytest.mark.parametrize(
    ("call", "method", "key"),
    [
        (Shipment.open, "GET", "*/epochs/*"),
        (Shipment.living_writer, "GET", "*/epochs/*"),
        (Shipment.bring_back, "PUT", "*/epochs/*"),
        (Shipment.clear_beside, "POST", "*"),
        (Shipment.unregister, "POST", "*"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_call_that_waits_is_ended(
    lake: Lake, call: Callable[[Shipment], object], method: str, key: str
) -> None:
    first = lake.writer()
    push(first, range(5))
    first.flush()
    first.close()
    lake.network.answer("AccessDenied", method=method, key=key)
    stop = threading.Event()
    second = lake.shipment("second", registered=register(lake), stop=stop)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call, second)
        until(lambda: lake.told or waiting.done(), "an outage")
        assert not waiting.done()
        stop.set()
        with pytest.raises(OSError, match=r"is not sent: .* refuses access"):
            waiting.result(60)
    lake.network.heal()
    with lake.writer() as scan:
        push(scan, range(5, 10))
    lake.check(10)
