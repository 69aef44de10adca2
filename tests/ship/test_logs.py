"""A log on its way into a bucket is there as a whole, or as it was before."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.ship.lake import Lake
from zwriter.objects import place
from zwriter.ship import logs
from zwriter.ship.bucket import Bucket, Data
from zwriter.ship.logs import LogShipment
from zwriter.ship.outage import Outage
from zwriter.store.framed import FramedLog, read_frames
from zwriter.store.log_parts import LogPart, chosen, open_log

KEY = "S1.zarr.zwriter/quarantine"


class WatchedBucket(Bucket):
    """Keeps what a reader finds behind each object that is put."""

    def __init__(self, url: str) -> None:
        super().__init__(place(url).parent, Outage("a log"))
        self.found: list[bytes] = []
        self.longest = 0

    def put(self, key: str, data: Data) -> None:
        super().put(key, data)
        self.longest = max(self.longest, len(data))
        with suppress(FileNotFoundError), open_log(self.folder / KEY) as log:
            self.found.append(log.read())


def test_a_long_log_goes_in_parts_and_replaces_an_older_one_in_one_step(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PART_BYTES", 1000)
    log = FramedLog(tmp_path / "quarantine")
    for number in range(60):
        log.append(b"%d" % number * (2000 if number == 30 else 50))
    bucket = WatchedBucket(lake.url)
    LogShipment(log.path, bucket, KEY, 1).ship()
    whole = log.path.read_bytes()
    newer = LogShipment(log.path, bucket, KEY, 2)
    newer.ship()
    assert set(bucket.found) == {whole}
    assert len(bucket.found) > len(bucket.names(KEY))
    log.append(b"more")
    newer.ship()
    log.close()
    assert list(read_frames(bucket.folder / KEY)) == list(read_frames(log.path))
    assert bucket.longest <= 8000  # the long record has 4008
    names = bucket.names(KEY)
    assert {part.epoch for name in names if (part := LogPart.of(name))} == {2}
    assert len(chosen(names)) == len(names)


def test_small_parts_are_joined_and_large_ones_stay_as_they_are(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PART_BYTES", 1000)
    bucket = WatchedBucket(lake.url)
    with FramedLog(tmp_path / "quarantine") as log:
        shipment = LogShipment(log.path, bucket, KEY, 1)
        for number in range(100):
            log.append(b"%03d" % number * 5)
            shipment.ship()
            assert bucket.found[-1] == log.path.read_bytes()
    assert bucket.longest <= 1000
    assert len(bucket.names(KEY)) < 30
