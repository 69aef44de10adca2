"""What it costs to bring a steady stream into a bucket, interval by interval."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.ship import pace, tail
from zwriter.ship.ahead import SentAhead
from zwriter.ship.carrier import Carrier
from zwriter.ship.device import DeviceShipment
from zwriter.ship.documents import Documents
from zwriter.store.layout import DEVICES
from zwriter.store.shard_index import FIRST_CHUNK

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
        self.deleted = Counter[str]()

    @contextmanager
    def memory(self, nbytes: int) -> Iterator[memoryview]:
        yield memoryview(bytearray(nbytes))

    def put(self, key: str, data: Any) -> None:
        kind = "chunks" if "/c/" in key else key.split("/")[1]
        kind = "documents" if key.endswith("zarr.json") else kind
        self.puts[kind] += 1
        self.sent[kind] += len(data)

    def create(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True

    def names(self, key: str) -> list[str]:
        return []

    def delete(self, keys: list[str]) -> None:
        self.deleted.update(key.split("/")[1] for key in keys)

    @property
    def pieces(self) -> int:
        """How many there are."""
        return self.puts["pieces"] - self.deleted["pieces"]


@dataclass
class Stream:
    """A device that is looked at each two seconds."""

    scan: ScanWriter
    shipment: DeviceShipment
    bucket: Counting
    clock: SimpleNamespace
    interval: int = 0  # how many there were

    def passes(self) -> None:
        """What was added is committed, and sent if it is due."""
        self.clock.now = 2.0 * self.interval
        self.interval += 1
        self.scan.commit()
        self.shipment.ship(all_of_it=False)

    @property
    def sent(self) -> int:
        """Bytes of rows, in shards and pieces, if the scan ended now; shards have heads besides."""
        sent, commit = self.bucket.sent, self.shipment._committed()
        assert commit is not None
        rest = sum(work.shard.nbytes for work in self.shipment._works(commit))
        heads = self.bucket.puts["chunks"] * FIRST_CHUNK
        return sent["chunks"] - heads + sent["pieces"] + rest

    def rows(self, signal: str) -> int:
        """How many the bucket has."""
        assert self.shipment.shipped is not None
        rows: int = self.shipment.shipped["signals"][signal]["rows"]
        return rows

    def written(self, signal: str) -> int:
        """How many updates the bucket has."""
        assert self.shipment.shipped is not None
        updates: int = self.shipment.shipped["signals"][signal]["ledger"]["written"]
        return updates


@contextmanager
def stream(folder: Path, settings: StoreSettings = SETTINGS, threads: int = 1) -> Iterator[Stream]:
    clock = SimpleNamespace(now=0.0)
    clock.time = clock.monotonic = lambda: clock.now
    bucket: Any = Counting()
    ours: Any = SimpleNamespace(number=1, check=lambda: None, show_life=lambda: None)
    store, node = folder / "S1.zarr", f"{DEVICES}/cam"
    documents = Documents(bucket, "S1.zarr")
    with (
        pytest.MonkeyPatch.context() as patch,
        ThreadPoolExecutor(threads) as pool,
        ScanWriter(store, settings=settings, master=None) as scan,
    ):
        patch.setattr(pace, "time", clock)
        ahead = SentAhead(pool, lambda: None)
        carrier = Carrier(bucket, documents, ours, "spool", pool, ahead, 2.0)
        shipment = DeviceShipment(store / node, node, "S1.zwriter", carrier)
        yield Stream(scan, shipment, bucket, clock)


@pytest.mark.parametrize("rows", [1, 7, 50], ids=lambda rows: f"{rows * 4} KiB an interval")
def test_a_stream_is_there_soon_and_sent_three_times_at_most_by_few_requests(
    tmp_path: Path, rows: int
) -> None:
    with stream(tmp_path) as cam:
        for n in range(INTERVALS):
            for row in range(rows):
                cam.scan.add("cam", "line", ROW + row, float(n))
            cam.passes()
            assert n + 1 - cam.rows("line") // rows <= 1 + n // 50
        cam.shipment.ship(all_of_it=True)
    data = INTERVALS * rows * (ROW.nbytes + 8)
    puts, sent = cam.bucket.puts, cam.bucket.sent
    assert sent["chunks"] + sent["pieces"] < 3 * data
    commits = puts["commits"]
    assert commits <= INTERVALS + 1
    assert puts["pieces"] < commits
    # values and timestamps, each a shard that grows and at most a few that are full
    assert puts["chunks"] <= 2 * commits + data // 2**20 + 1
    assert puts["documents"] <= 3 * commits + 1  # of both arrays, and the device's


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("rows", [1, 3, 7, 13, 20, 50], ids=lambda rows: f"{rows} an interval")
def test_whenever_a_stream_ends_it_was_sent_again_twice_and_a_seventh_at_most(
    tmp_path: Path, rows: int, codec: Any
) -> None:
    signal = SETTINGS.default.model_copy(update={"codec": codec})
    noise = np.random.default_rng(0).integers(0, 2**32, (rows, 1024), np.uint32)  # stays as large
    with stream(tmp_path, SETTINGS.model_copy(update={"default": signal})) as cam:
        for n in range(INTERVALS):
            for row in noise:
                cam.scan.add("cam", "line", row ^ n, float(n))
            cam.passes()
            chunks = (n + 1) * rows // 4 + 1  # the last one is as large before it is whole
            assert cam.sent < 3.15 * chunks * 4 * (ROW.nbytes + 8)


@pytest.mark.parametrize(
    "value",
    [np.zeros(512), "x" * 3000, "short"],
    ids=["what compresses well", "long strings", "short strings"],
)
def test_rows_are_there_soon_whatever_they_take_in_a_shard(tmp_path: Path, value: Any) -> None:
    settings = StoreSettings(flush_interval=60, durability="none")
    with stream(tmp_path, settings) as cam:
        for n in range(INTERVALS * 3):
            cam.scan.add("cam", "line", value)
            cam.passes()
            assert n + 1 - cam.rows("line") <= 1 + n // 50
    assert cam.bucket.puts["pieces"] <= INTERVALS * 3
    assert cam.bucket.sent["commits"] / cam.bucket.puts["commits"] < 5000


def test_a_large_row_that_is_filled_slowly_is_there_soon_and_sent_once(tmp_path: Path) -> None:
    width, each = 2**18, 1024  # float64: a row is 2 MiB
    with stream(tmp_path) as cam:
        for n in range(INTERVALS):
            cam.scan.add_slice("cam", "map", 0, np.full(each, n + 0.5), max_shape=(None, width))
            cam.passes()
            assert n + 1 - cam.written("map") <= 1 + n // 50
    data = INTERVALS * each * 8
    assert cam.bucket.sent["pieces"] < 1.05 * data
    assert cam.bucket.puts["chunks"] <= 2  # its value and its length, as they began


def test_many_large_rows_that_are_filled_in_turns_are_not_in_memory_at_once(
    tmp_path: Path,
) -> None:
    width, rows = 2**17, 64  # float64: a row is 1 MiB

    def fill(value: float) -> None:
        for row in range(rows):
            cam.scan.add_slice("cam", "map", row, np.full(16, value), max_shape=(None, width))

    with stream(tmp_path) as cam:
        fill(0.5)
        cam.passes()
        fill(1.5)
        tracemalloc.start()
        cam.passes()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert cam.bucket.puts["pieces"] == 1
        assert cam.written("map") == 2 * rows
    assert peak < 16 * 2**20


def test_strings_that_are_filled_in_place_count_as_long_as_they_are(tmp_path: Path) -> None:
    values = [f"{n:03000}" for n in range(2000)]  # 6 MB: more than comes in pieces
    with stream(tmp_path) as cam:
        for _ in range(4):
            cam.scan.add_slice("cam", "map", 0, values, max_shape=(None, 10_000))
            cam.passes()
        assert cam.bucket.puts["pieces"] == 0


def test_what_comes_later_is_there_at_once(tmp_path: Path) -> None:
    with stream(tmp_path) as cam:
        for n in range(30):
            for row in range(50):
                cam.scan.add("cam", "line", ROW + row, float(n))
            cam.passes()
        cam.shipment.ship(all_of_it=True)
        cam.scan.add("cam", "another", 1.0)
        cam.passes()
        assert cam.rows("another") == 1
        cam.scan.add("cam", "another", 1.0, timestamp=2.0)
        cam.passes()
        assert cam.rows("another") == 2


def test_pieces_are_not_larger_than_they_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "LIMIT", 4 * ROW.nbytes)
    with stream(tmp_path) as cam:
        for n in range(3 * INTERVALS):
            cam.scan.add("cam", "line", ROW, float(n))
            cam.passes()
            assert n + 1 - cam.rows("line") <= 4


def test_what_comes_fast_comes_in_shards_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "LIMIT", 4 * ROW.nbytes)
    with stream(tmp_path) as cam:
        for n in range(INTERVALS):
            for row in range(5):
                cam.scan.add("cam", "line", ROW + row, float(n))
            cam.passes()
            assert n < 10 or 3 * cam.rows("line") >= 5 * n  # heads of shards count, too
    assert cam.bucket.puts["pieces"] == 0


def test_a_commit_does_not_name_more_and_more_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "MOST", 5)
    with stream(tmp_path) as cam:
        for n in range(40):
            cam.scan.add("cam", "line", ROW, float(n))
            cam.passes()
            assert cam.rows("line") == n + 1
            assert cam.bucket.pieces <= 5


def test_a_slow_signal_is_there_soon_beside_one_that_is_large_and_pauses(tmp_path: Path) -> None:
    with stream(tmp_path) as cam:
        for n in range(50):
            for row in range(50):
                cam.scan.add("cam", "line", ROW + row, float(n))
            cam.scan.add("cam", "slow", float(n), float(n))
            cam.passes()
        for n in range(50, 100):
            cam.scan.add("cam", "slow", float(n), float(n))
            cam.passes()
            assert n + 1 - cam.rows("slow") <= 1 + n // 50


def test_what_waited_for_a_while_does_not_make_a_stream_a_fast_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "LIMIT", 4 * ROW.nbytes)
    with stream(tmp_path) as cam:
        for n in range(INTERVALS):
            cam.scan.add("cam", "line", ROW, float(n))
            if 60 <= n < 90:  # others are sent, or the server is gone
                cam.interval += 1
                continue
            cam.passes()
            assert n + 1 - cam.rows("line") <= 4
