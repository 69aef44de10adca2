"""Objects on their way, one by one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from tests.ship.lake import Lake
from zwriter.errors import ZwriterError
from zwriter.objects import ObjectPath, place
from zwriter.reader import open_scan
from zwriter.settings import SignalSettings
from zwriter.ship.bucket import Bucket
from zwriter.ship.documents import Documents
from zwriter.ship.outage import Outage
from zwriter.ship.values import ValueShipment
from zwriter.store.whole import WholeArray
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def bucket_of(lake: Lake) -> Bucket:
    path = place(lake.url, lake.network.options)
    assert isinstance(path, ObjectPath)
    return Bucket(path.parent, Outage("objects", lake.told.append))


def test_what_cannot_be_sent_whole_is_sent_in_parts(lake: Lake) -> None:
    lake.network.answer("InternalError", times=1, method="PUT", key="*/large")
    bucket, data = bucket_of(lake), np.random.default_rng(0).bytes(20_000_000)
    bucket.put("large", data)
    assert bucket.read("large") == data
    assert bucket.is_as_sent("large", bucket.tag("large"))
    assert bucket.folder.unfinished_uploads() == []
    parts = [request.uploaded for request in lake.requests("PUT", "/large")[1:]]
    assert len(parts) == 3
    assert max(parts) < 9_000_000


def test_what_is_too_large_for_one_request_is_sent_in_several_at_a_time(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.bucket._WHOLE", 8_000_000)
    bucket, data = bucket_of(lake), np.random.default_rng(0).bytes(20_000_000)
    held = lake.network.hold(method="PUT", key="*/large")
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(bucket.put, "large", data)
        try:
            until(lambda: len(lake.requests("PUT", "/large")) == 3, "all parts, none answered")
        finally:
            held.release()
        sent.result()
    assert bucket.read("large") == data
    assert not bucket.is_uncertain("large")
    assert bucket.is_as_sent("large", bucket.tag("large"))
    assert all("uploadId" in request.query for request in lake.requests("PUT", "/large"))
    bucket_of(lake).put("large", data[:-1])
    assert not bucket.is_as_sent("large", bucket.tag("large"))


def test_one_request_that_is_refused_is_no_outage_and_one_that_lasts_is_told_once(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.outage._TELL", 0.5)
    bucket = bucket_of(lake)
    lake.network.answer("SlowDown", times=1, method="PUT")
    bucket.put("once", b"data")
    assert len(lake.requests("PUT", "/once")) == 2
    assert lake.told == []
    lake.network.open = False
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(bucket.put, "long", b"data")
        until(lambda: lake.told, "an outage")
        lake.network.open = True
        sent.result()
    begin, over = lake.told
    assert "waits in the spool" in begin
    assert "is sent again" in over


@pytest.mark.parametrize("shape", [(), (3,)], ids=["a scalar", "an array"])
def test_the_value_that_a_commit_says_is_not_overwritten_before_the_next_one(
    lake: Lake, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    bucket = bucket_of(lake)
    array = WholeArray(tmp_path / "value", SignalSettings(), None)
    sent = ValueShipment(tmp_path / "value", "node", bucket, Documents(bucket, "S1.zarr"))
    for committed in range(5):
        array.write(np.full(shape, committed), ["x"] * len(shape), {})
        array.state()
        sent.read()
        sent.send()
        sent.show()
        sent.committed()
        key = sent.keys[1]
        value = bucket.read(key)
        for unfinished in (10, 20, 30):
            array.write(np.full(shape, unfinished + committed), ["x"] * len(shape), {})
            array.state()
            sent.read()
            sent.send()
            if unfinished > 10:
                sent.show()
            assert bucket.read(key) == value


def test_values_that_are_replaced_faster_than_they_are_sent_reach_the_bucket(lake: Lake) -> None:
    """And so do the rows of their device."""
    lake.network.delay = 0.05
    stop = Event()

    def write() -> None:
        number = 0
        while not stop.wait(0.02):
            for signal in range(20):
                scan.replace("cam", f"last{signal}", number)
            scan.add("cam", "number", number)
            scan.commit()
            number += 1

    def rows() -> int:
        try:
            return len(open_scan(lake.url).devices["cam"]["number"].value)
        except (ZwriterError, KeyError):
            return 0

    with lake.writer() as scan, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            until(lambda: rows() > 10, "rows", seconds=60)
        finally:
            stop.set()
            writing.result()
            lake.network.delay = 0.0
