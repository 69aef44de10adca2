"""python -m tests.bench.bucket: scans into a bucket, measured; writes docs/benchmarks-s3.md.

The server is Ceph's radosgw where it is installed, else moto, an emulator, and then it is moto that
is measured. It runs on the same cores.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import obstore

from tests.bench import machine
from tests.bench.report import Goal, Group, Line, document, ratio
from zwriter import ScanWriter, open_scan
from zwriter.errors import UsageError
from zwriter.master import write_master
from zwriter.objects import ObjectPath
from zwriter.objects.clients import ObjectStorage
from zwriter.reader import listing
from zwriter.settings import (
    MasterSettings,
    SignalSettings,
    SpoolSettings,
    StorageSettings,
    StoreSettings,
)
from zwriter.ship import Shipment
from zwriter.ship.bucket import Bucket, Data
from zwriter.store.pieces import PIECES
from zwriter.store.shard_index import FIRST_CHUNK
from zwriter.testing.s3 import S3Server, described, s3_server

REPORT = Path(__file__).parents[2] / "docs" / "benchmarks-s3.md"
MiB = 1024 * 1024
FRAME = (1024, 1024)
OBJECT = 64 * MiB
OBJECTS = 16
TURNS = 3
SIDE_BY_SIDE = 4
SCANS = 10_000
INTERVAL = 2.0
PRICES = {"PUT": 5e-6, "LIST": 5e-6, "GET": 4e-7, "DELETE": 0.0}  # dollars a request


class Lake:
    """A server, a bucket, and scans in it. A server each time: Ceph, whose store is in memory here,
    keeps for hours what was deleted."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.options, self.bucket = server.options, server.new_bucket()
        self._folder, self._numbers = folder, count()
        self.storage = ObjectStorage(StorageSettings(**server.options))

    def scan(self, codec: str = "none", **settings: Any) -> ScanWriter:
        return ScanWriter(
            f"s3://{self.bucket}/{next(self._numbers)}/scan.zarr",
            settings=StoreSettings(default=SignalSettings(codec=codec), **settings),
            storage_options=self.options,
            spool=SpoolSettings(folder=self._folder / "spool"),
            master=None,
        )


@contextmanager
def new_lake() -> Iterator[Lake]:
    with (
        tempfile.TemporaryDirectory(prefix="zwriter-bench-") as name,
        s3_server(_server()) as server,
    ):
        yield Lake(server, Path(name))


def shipment_of(scan: ScanWriter) -> Shipment:
    shipment = scan._shipment
    assert shipment is not None
    return shipment


def throughput() -> Group:
    """Frames from the first `add` until the scan is finished in the bucket."""
    pixels = np.random.default_rng(1).integers(0, 65536, (OBJECT // (2 * MiB), *FRAME), np.uint16)
    data = [os.urandom(OBJECT) for _ in range(2)]
    nbytes = OBJECTS * OBJECT
    seconds: dict[str, list[float]] = {"plain": [], "none": [], "lz4": []}
    cpu: dict[str, list[float]] = {"plain": [], "none": [], "lz4": []}
    requests: Counter[str] = Counter()
    objects = grown = 0
    for turn in range(TURNS + 1):
        for kind in seconds:
            with new_lake() as lake:
                machine.touch_memory(6 * 1024 * MiB)
                if kind == "plain":
                    with timed() as took:
                        _put_plainly(lake, data)
                else:
                    write = partial(_write_frames, lake, pixels, kind)
                    (took, requests, objects), grown = machine.most_memory_of(write)
            if turn:
                seconds[kind].append(took[0])
                cpu[kind].append(took[1] / (nbytes / 1e9))
    plain = [1 / s for s in seconds["plain"]]
    told = _rate(seconds["plain"], nbytes)
    goal = Goal(0.85)
    lines = []
    for kind, name in (("none", "frames"), ("lz4", "frames, lz4 (of noise)")):
        ours = [1 / s for s in seconds[kind]]
        against = f"plain PUTs: {told}"
        lines.append(Line(name, _rate(seconds[kind], nbytes), against, ratio(ours, plain), goal))
        lines.append(
            Line(
                f"{name}: CPU",
                f"{median(cpu[kind]):.2f} s/GB",
                f"plain PUTs: {median(cpu['plain']):.2f} s/GB",
            )
        )
    lines.append(Line("frames: objects of a scan", str(objects)))
    lines.append(Line("frames: requests of a scan", _counts(requests)))
    lines.append(Line("frames: growth of memory", f"{grown / MiB:.0f} MiB"))
    remark = f"""
        {nbytes // MiB} MiB of 2 MiB frames that cannot be compressed, from the first `add` to the
        end of `finish`, against as many bytes put by obstore as objects of 64 MiB, {SIDE_BY_SIDE}
        at a time. CPU: of this process, all threads; the server is another. Before each turn 6 GiB
        of memory are touched and let go: else a virtual machine measures how fast its host gives
        memory.
    """
    return Group("Throughput", remark, lines)


def _write_frames(
    lake: Lake, pixels: np.ndarray[Any, Any], codec: str
) -> tuple[list[float], Counter[str], int]:
    with lake.scan(codec) as scan:
        with timed() as took:
            for _ in range(OBJECTS):
                for frame in pixels:
                    scan.add("eiger", "image", frame)
            scan.finish()
        path = scan.path
        assert isinstance(path, ObjectPath)
        return took, shipment_of(scan).bucket.requests, len(path.sizes())


def _put_plainly(lake: Lake, data: list[bytes]) -> None:
    client = lake.storage.writer(lake.bucket)

    def put(number: int) -> None:
        obstore.put(client, f"plain/{number}", data[number % 2], use_multipart=False)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(put, range(OBJECTS)))


def streams() -> Group:
    """Steady streams: bytes and requests, an interval at a time."""
    lines = []
    for name, rows_each, row, intervals in (
        ("80 B/s", 20, 1, 300),
        ("1 kB/s", 250, 1, 300),
        ("100 kB/s", 25, 1000, 300),
        ("10 MB/s", 20, 125_000, 12),
    ):
        interval = 0.05 if rows_each * row * 8 < 100_000 else 0.2
        with new_lake() as lake:
            sent, nbytes, requests, commits = _stream(lake, rows_each, row, intervals, interval)
        rows = sent["shards"] + sent["pieces"]
        work = f"{name}, {intervals * INTERVAL:.0f} s: rows sent again / data"
        goal = Goal(2.0, at_most=True)
        told = f"{nbytes / 1e6:.3g} MB of data, {rows / 1e6:.3g} MB of rows sent"
        lines.append(Line(work, told, "", (rows - nbytes) / nbytes, goal))
        rest = (
            f"heads {sent['heads'] / 1e6:.3g} MB, documents and commits {sent['rest'] / 1e6:.3g} MB"
        )
        again = (sent.total() - nbytes) / nbytes
        lines.append(Line(f"{name}: with all else", rest, "", again))
        puts = requests["PUT"] / max(commits, 1)
        each = f"{commits} commits, {puts:.3g} PUTs each; {_counts(requests)}"
        lines.append(Line(f"{name}: requests", each))
    remark = """
        One signal with its timestamps, values that cannot be compressed, rows as often as the rate
        says. What matters is how much comes in an interval, so intervals here are shorter than 2 s,
        and as many as the time says. Rows are sent in pieces, in shards that grow, and in the end.
        All else: heads of shards (16 KiB each time), documents, commits, signs of life.
    """
    return Group("Steady streams", remark, lines)


def _stream(
    lake: Lake, rows_each: int, row: int, intervals: int, interval: float
) -> tuple[Counter[str], int, Counter[str], int]:
    rng = np.random.default_rng(2)
    with lake.scan(flush_interval=interval) as scan:
        shipment, begun = shipment_of(scan), time.monotonic()
        sent = _counted(shipment.bucket)
        for number in range(intervals):
            for _ in range(rows_each):
                scan.add("adc", "trace", rng.random(row) if row > 1 else rng.random(), time.time())
            scan.commit()
            time.sleep(max(0.0, begun + (number + 1) * interval - time.monotonic()))
        scan.finish()
        commits = shipment.commits
        nbytes = intervals * rows_each * (row + 1) * 8
        sent["rest"] = shipment.bucket.sent_bytes - sent.total()
        return sent, nbytes, shipment.bucket.requests, commits


def _counted(bucket: Bucket) -> Counter[str]:
    """Bytes that it puts, of shards and pieces."""
    sent = Counter[str]()
    put = bucket.put

    def counted(key: str, data: Data) -> None:
        put(key, data)
        if "/c/" in key:
            sent["heads"] += FIRST_CHUNK
            sent["shards"] += len(data) - FIRST_CHUNK
        elif f"/{PIECES}/" in key:
            sent["pieces"] += len(data)

    bucket.put = counted
    return sent


def latency() -> Group:
    """From `add` until a reader of the bucket has the row."""
    lines = []
    for name, shape, pause in (
        ("a scalar each 0.1 s", (), 0.1),
        ("a 2 MiB frame each 0.05 s", FRAME, 0.05),
    ):
        with new_lake() as lake:
            seconds = sorted(_delays(lake, shape, pause))
        at = [seconds[int(len(seconds) * share)] for share in (0.5, 0.99)]
        lines.append(Line(name, f"p50 {at[0]:.2f} s, p99 {at[1]:.2f} s"))
    remark = f"20 s of it, flush_interval {INTERVAL:g} s; the reader looks each 0.1 s."
    return Group("Live latency", remark, lines)


def _delays(lake: Lake, shape: tuple[int, ...], pause: float) -> list[float]:
    added: list[float] = []
    delays: list[float] = []
    with lake.scan() as scan:
        scan.add("d", "s", np.zeros(shape))
        scan.flush()
        added.append(0.0)
        reader = open_scan(scan.path)
        done = threading.Event()

        def read() -> None:
            seen = 1
            while not done.wait(0.1):
                reader.refresh()
                rows = reader.commits["d"].signals["s"].rows
                now = time.monotonic()
                delays.extend(now - added[row] for row in range(seen, rows))
                seen = rows

        thread = threading.Thread(target=read)
        thread.start()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            added.append(time.monotonic())
            scan.add("d", "s", np.zeros(shape))
            scan.commit_due()
            time.sleep(pause)
        done.set()
        thread.join()
    return delays


def cost() -> Group:
    """What an hour of a typical scan asks for."""
    with new_lake() as lake:
        return _cost(lake)


def _cost(lake: Lake) -> Group:
    seconds = 40
    slow = [f"slow{n}" for n in range(20)]
    frame = np.random.default_rng(3).integers(0, 65536, (256, 256), np.uint16)
    with lake.scan() as scan:
        begun, step = time.monotonic(), 0.1
        for number in range(int(seconds / step)):
            for _ in range(10):
                scan.add("eiger", "image", frame)
            for name in slow:
                scan.add("slow", name, float(number), time.time())
            if number % 10 == 0:
                scan.point(number // 10, {"samx": {"samx": {"value": 1.0, "timestamp": 1.0}}})
            scan.commit_due()
            time.sleep(max(0.0, begun + (number + 1) * step - time.monotonic()))
        requests = shipment_of(scan).bucket.requests.copy()
    hour = {method: number * 3600 / seconds for method, number in requests.items()}
    dollars = sum(PRICES[method] * number for method, number in hour.items())
    remark = f"""
        A detector of 100 Hz (128 KiB frames; with larger ones there is a PUT more for each 64
        MiB), 20 signals of 10 Hz in one device, points at 1 Hz; measured for {seconds} s, before it
        is finished. An hour has fewer requests than this says, since growing objects are sent less
        often as they get larger. Prices are assumed, AWS' list for S3 Standard: PUT and LIST
        $0.005, GET $0.0004 for 1000 requests, DELETE nothing; storage and traffic not counted.
    """
    lines = [
        Line("requests an hour", ", ".join(f"{m} {n:,.0f}" for m, n in sorted(hour.items()))),
        Line("cost an hour", f"${dollars:.3f}"),
    ]
    return Group("Cost", remark, lines)


def export() -> Group:
    """A scan of frames copied into an HDF5 file, against plain GETs of its objects."""
    with new_lake() as lake:
        return _export(lake)


def _export(lake: Lake) -> Group:
    pixels = np.random.default_rng(1).integers(0, 65536, (OBJECT // (2 * MiB), *FRAME), np.uint16)
    with lake.scan() as scan:
        for _ in range(OBJECTS):
            for frame in pixels:
                scan.add("eiger", "image", frame)
    path = scan.path
    assert isinstance(path, ObjectPath)
    keys = [url for url, nbytes in path.sizes().items() if nbytes > MiB]
    client = lake.storage.writer(lake.bucket)
    prefix = f"s3://{lake.bucket}/"
    ours: list[float] = []
    plain: list[float] = []
    for turn in range(TURNS + 1):
        with timed() as got, ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(lambda u: obstore.get(client, u.removeprefix(prefix)).bytes(), keys))
        out = Path("/dev/shm") / f"zwriter-bench-{os.getpid()}.h5"
        try:
            with timed() as copied:
                write_master(path, out, settings=MasterSettings(mode="copy"))
        finally:
            out.unlink(missing_ok=True)
        if turn:
            plain.append(1 / got[0])
            ours.append(1 / copied[0])
    nbytes = OBJECTS * OBJECT
    against = f"plain GETs: {_rate([1 / p for p in plain], nbytes)}"
    line = Line("copy into a file", _rate([1 / o for o in ours], nbytes), against)
    judged = Line(line.work, line.measured, line.compared, ratio(ours, plain), Goal(0.8))
    remark = f"""
        The scan of the first table, {nbytes // MiB} MiB, into a file in /dev/shm, checksums
        verified.
    """
    return Group("Export", remark, [judged])


def listing_scans() -> Group:
    """`zwriter ls`, each scan in a folder of its own."""
    with new_lake() as lake:
        return _listing_scans(lake)


def _listing_scans(lake: Lake) -> Group:
    with lake.scan() as scan:
        for number in range(10):
            scan.add("eiger", "image", np.zeros((4, 3)), float(number))
    path = scan.path
    assert isinstance(path, ObjectPath)
    client, root = lake.storage.writer(lake.bucket), (path / "zarr.json").read_bytes()

    def put(number: int) -> None:
        obstore.put(client, f"many/S{number // 1000}/S{number}/S{number}.zarr/zarr.json", root)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(put, range(SCANS)))
    seconds = []
    for _ in range(TURNS):
        with timed() as took:
            lines = listing(f"s3://{lake.bucket}/many", storage_options=lake.options)
        assert len(lines) == SCANS
        seconds.append(took)
    wall, cpu = (median(took[i] for took in seconds) for i in (0, 1))
    remark = f"{SCANS} finished scans, each in a folder of its own; only their root documents."
    return Group(
        "Listing", remark, [Line("zwriter ls", f"{wall:.1f} s, {cpu:.1f} s of CPU of this process")]
    )


@contextmanager
def timed() -> Iterator[list[float]]:
    """Seconds, and seconds of CPU of this process."""
    took: list[float] = []
    begun, cpu = time.perf_counter(), time.process_time()
    yield took
    took += [time.perf_counter() - begun, time.process_time() - cpu]


def _rate(seconds: list[float], nbytes: int) -> str:
    return f"{nbytes / median(seconds) / 1e6:.4g} MB/s"


def _counts(requests: Counter[str]) -> str:
    return ", ".join(f"{method} {number}" for method, number in sorted(requests.items()))


def _server() -> str:
    try:
        described("radosgw")
    except UsageError:
        return "moto"
    return "radosgw"


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    before = machine.load()
    groups = []
    for part in (throughput, export, streams, latency, cost, listing_scans):
        group = part()
        print(group.markdown(), flush=True)
        groups.append(group)
    facts = machine.describe(Path(tempfile.gettempdir()))
    facts = [*facts, f"server: {described(_server())}, on the same cores"]
    text = document(facts, (before, machine.load()), groups)
    text = text.replace("# Benchmarks\n", "# Benchmarks of scans in a bucket\n", 1)
    source = "`make bench-s3` (source: `tests/bench/bucket.py`)"
    REPORT.write_text(text.replace("`make bench` (source: `tests/bench`)", source))
    print(f"written: {REPORT}")


if __name__ == "__main__":
    main()
