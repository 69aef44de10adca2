"""The server has done it and the writer has not heard of it: it is not done twice."""

from __future__ import annotations

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.objects import place

pytestmark = [pytest.mark.s3, pytest.mark.outage]


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("PUT", "*/commits/mcs/*"),
        ("PUT", "*/epochs/*"),
        ("PUT", "*/eiger/image/value/c/*"),
        ("PUT", "*/det/last/value/*"),
        ("PUT", "*/journal/*"),
        ("PUT", "*/zarr.json"),
        ("POST", "*"),  # deletes
    ],
)
def test_what_was_done_without_an_answer_is_recognised(lake: Lake, method: str, key: str) -> None:
    lake.network.lose_answers(times=3, method=method, key=key)
    with lake.writer() as scan:
        for n in range(0, 60, 10):
            push(scan, range(n, n + 10))
            scan.flush()
    assert [r.method for r in lake.network.log if r.status is None] == [method] * 3
    for kind in ("epochs/", "commits/mcs/"):
        numbers = {int(r.key.rpartition("/")[2]) for r in lake.requests("PUT", kind)}
        assert numbers == set(range(1, len(numbers) + 1))
    assert {int(r.key.rpartition("/")[2]) for r in lake.requests("PUT", "epochs/")} == {1}
    lake.check(60)


def test_what_is_done_late_of_a_process_before_this_one_is_sent_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version of a shard that grew takes the place of the sealed one."""
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 0.1)
    scan = lake.writer()
    push(scan, range(3))
    scan.flush()
    (shard,) = (url for url in lake.objects() if "/eiger/image/value/c/0/" in url)
    older = place(shard, lake.network.options)
    data = older.read_bytes()
    push(scan, range(3, 30))
    scan.flush()
    scan.close()
    scan = lake.writer()
    scan.flush()
    older.write_bytes(data)
    push(scan, range(30, 60))
    scan.status("closed")
    scan.finish()
    scan.close()
    lake.check(60)
