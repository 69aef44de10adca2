"""What a reader of the bucket may find at any moment while a scan is on its way there."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.ship.lake import Lake
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings
from zwriter.ship.bucket import Bucket
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]

ORDER = ("value", "timestamp", "length", "row", "offsets")  # as they are published


class Sent:
    """Objects that are put into a bucket: when each was begun, and when it was there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._moments: list[tuple[str, str]] = []
        self._stopped = False
        put = Bucket.put

        def noted(bucket: Bucket, key: str, data: Any) -> None:
            self._note("begun", key)
            put(bucket, key, data)
            self._note("there", key)

        monkeypatch.setattr(Bucket, "put", noted)

    def forget(self) -> None:
        """Begin now."""
        self._moments.clear()

    def stop(self) -> None:
        """Note nothing any more."""
        self._stopped = True

    def _note(self, what: str, key: str) -> None:
        if not self._stopped:
            self._moments.append((what, key))

    def begun(self, part: str) -> list[int]:
        """When objects whose keys have this part were begun."""
        return self._when("begun", part)

    def there(self, part: str) -> list[int]:
        return self._when("there", part)

    def _when(self, what: str, part: str) -> list[int]:
        return [at for at, (kind, key) in enumerate(self._moments) if kind == what and part in key]


def push(scan: ScanWriter, begin: int, end: int) -> None:
    for n in range(begin, end):
        piece = np.arange(3) + n
        scan.add_slice("det", "slices", n, piece, float(n), max_shape=(None, 200))
        scan.add_slice("det", "pieces", n % 5, piece, float(n), max_shape=(None, None))
        scan.add("det", "ragged", piece[: n % 4], float(n), max_shape=(None, None))
        scan.add("det", "short", piece[: n % 3 + 1], float(n), max_shape=(None, 3))


@pytest.fixture
def sent(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """All that is sent of 10 rows that follow 10 that are there, in one go."""
    sent, shipment = Sent(monkeypatch), lake.shipment()
    shipment.interval = 60.0
    with lake.writer(shipment, flush_interval=60.0) as scan:
        push(scan, 0, 10)
        scan.flush()
        sent.forget()
        push(scan, 10, 20)
        scan.flush()
        sent.stop()
    return sent


@pytest.mark.parametrize(
    ("signal", "array"),
    [
        ("slices", "length"),
        ("short", "length"),
        ("ragged", "offsets"),
        ("pieces", "offsets"),
        ("pieces", "row"),
    ],
)
def test_rows_are_told_of_when_their_values_are_there(sent: Sent, signal: str, array: str) -> None:
    values, tells = f"/{signal}/value/c/", f"/{signal}/{array}/c/"
    assert sent.there(values)
    assert max(sent.there(values)) < min(sent.begun(tells))


@pytest.mark.parametrize("signal", ["slices", "short", "ragged", "pieces"])
def test_documents_are_sent_in_the_order_in_which_they_are_published(
    sent: Sent, signal: str
) -> None:
    documents = [f"/{signal}/{name}/zarr.json" for name in ORDER]
    documents = [document for document in documents if sent.begun(document)]
    assert len(documents) > 2
    for before, after in pairwise(documents):
        assert sent.there(before) < sent.begun(after)


def test_a_stream_that_pauses_is_in_the_bucket_in_the_end(lake: Lake) -> None:
    def rows() -> int:
        return len(open_scan(lake.url).devices["cam"]["line"].value)

    settings = SignalSettings(codec="none", chunk_bytes=64 * 1024, shard_bytes=16 * 1024 * 1024)
    shipment = lake.shipment()
    shipment.interval = 0.05
    with lake.writer(shipment, default=settings) as scan:
        for n in range(40):
            scan.add("cam", "line", np.full(4096, n))  # 32 KiB
        scan.flush()
        assert rows() == 40
        commits = shipment.commits
        scan.add("cam", "line", np.full(4096, 40))
        scan.commit()
        until(lambda: shipment.commits > commits, "a commit with the last row")
        assert rows() == 41
