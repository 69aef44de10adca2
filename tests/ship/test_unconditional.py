"""A server on which two writers could not know of each other gets nothing, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import UsageError
from zwriter.model import Verdict
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import Settings
from zwriter.testing.s3 import S3Server
from zwriter.testing.s3_faults import S3Faults, s3_faults

pytestmark = [pytest.mark.s3, pytest.mark.outage]

SERVERS: dict[str, Callable[[S3Faults], None]] = {
    "ignores it": lambda network: network.ignore_conditions(),
    "refuses it": lambda network: network.answer("NotImplemented", method="PUT", key="*/epochs/*"),
}
servers = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)


def refused_scan(lake: Lake) -> ScanWriter:
    scan = lake.writer()
    push(scan, range(5))
    with pytest.raises(UsageError, match=f"{lake.network.server.endpoint} .*If-None-Match"):
        scan.flush()
    push(scan, range(5, 10))
    return scan


@servers
def test_it_is_told_once_and_the_scan_is_written_to_its_end_in_the_spool(
    lake: Lake, server: Callable[[S3Faults], None]
) -> None:
    server(lake.network)
    scan = refused_scan(lake)
    scan.status("closed")
    with pytest.raises(UsageError, match="set `endpoint` to a server that can be used"):
        scan.finish()
    scan.close()
    (told,) = lake.told
    assert told.startswith(f"{lake.url} cannot be sent and waits in the spool, the scan goes on: ")
    assert "\n" not in told
    assert lake.objects() == {}
    (store,) = lake.folder.glob("spool/**/S1.zarr")
    assert finalize(store, Settings())[0] is Verdict.COMPLETE
    assert verify(store).problems == []
    assert list(open_scan(store).record.points) == list(range(10))


@servers
def test_who_goes_on_with_it_sends_it_to_another_server(
    lake: Lake, s3: S3Server, server: Callable[[S3Faults], None]
) -> None:
    server(lake.network)
    refused_scan(lake).close()
    with s3_faults(s3) as network, lake.writer(lake.shipment(network=network)) as scan:
        push(scan, range(10, 20))
    lake.check(20)
