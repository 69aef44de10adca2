"""What it costs to bring a steady stream into a bucket, interval by interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.ship import pace
from zwriter.ship.device import DeviceShipment
from zwriter.ship.documents import Documents
from zwriter.store.layout import DEVICES

INTERVALS = 120
ROW = np.zeros(1024, np.float32)  # 4 KiB
SETTINGS = StoreSettings(
    flush_interval=60,
    durability="none",
    default=SignalSettings(codec="none", chunk_bytes=16 * 1024, shard_bytes=1024 * 1024),
)


class Counting:
    """A bucket that keeps names only; sent: bytes by kind of object."""

    def __init__(self) -> None:
        self.puts, self.sent = Counter[str](), Counter[str]()

    @contextmanager
    def memory(self, nbytes: int) -> Iterator[memoryview]:
        yield memoryview(bytearray(nbytes))

    def put(self, key: str, data: Any) -> None:
        kind = "chunks" if "/c/" in key else key.partition("/")[0]
        kind = "documents" if key.endswith("zarr.json") else kind
        self.puts[kind] += 1
        self.sent[kind] += len(data)

    def create(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True

    def names(self, key: str) -> list[str]:
        return []

    def delete(self, keys: list[str]) -> None:
        pass


@pytest.mark.parametrize("rows", [1, 7, 50], ids=lambda rows: f"{rows * 4} KiB an interval")
def test_a_stream_is_there_soon_and_sent_three_times_at_most_by_few_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    clock = SimpleNamespace(now=0.0)
    clock.time = clock.monotonic = lambda: clock.now
    monkeypatch.setattr(pace, "time", clock)
    bucket: Any = Counting()
    ours: Any = SimpleNamespace(number=1, check=lambda: None)
    with (
        ThreadPoolExecutor(1) as pool,
        ScanWriter(tmp_path / "S1.zarr", settings=SETTINGS, master=None) as scan,
    ):
        node = f"{DEVICES}/cam"
        shipment = DeviceShipment(
            *(
                tmp_path / "S1.zarr" / node,
                node,
                bucket,
                Documents(bucket, "S1.zarr"),
                "commits",
                "pieces",
            ),
            *(ours, "spool", pool, 2.0, frozenset()),
        )
        for n in range(INTERVALS):
            clock.now = 2.0 * n
            for row in range(rows):
                scan.add("cam", "line", ROW + row, float(n))
            scan.commit()
            shipment.ship(all_of_it=False)
            assert shipment.shipped is not None
            there = shipment.shipped["signals"]["line"]["rows"] // rows
            assert n + 1 - there <= 1 + n // 50
        shipment.ship(all_of_it=True)
    data = INTERVALS * rows * (ROW.nbytes + 8)
    assert bucket.sent["chunks"] + bucket.sent["pieces"] < 3 * data
    commits = bucket.puts["commits"]
    assert commits <= INTERVALS + 1
    assert bucket.puts["pieces"] < commits
    # values and timestamps, each a shard that grows and at most a few that are full
    assert bucket.puts["chunks"] <= 2 * commits + data // 2**20 + 1
    assert bucket.puts["documents"] <= 3 * commits + 1  # of both arrays, and the device's
