"""Goals 8 and 9: memory and speed while a scan of frames grows, in the real service."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.report import Goal, Group, Line
from tests.bench.service import OpenScan, Service, running_service, scan_in
from tests.bench.sizes import GiB, MiB, Sizes
from tests.bench.turns import fresh
from tests.bench.wire import Producer, Wire
from tests.bench.work import DEVICE, frames
from zwriter.protocol import redis_server
from zwriter.settings import RedisSettings

_AHEAD = 512  # messages that wait in Redis at most: 1 GiB of frames


@dataclass(frozen=True)
class _Look:
    """What was seen of the service at one moment."""

    time: float
    rows: int
    cpu: float
    rss: int


def long_scans(sizes: Sizes, folder: Path) -> Group:
    """Scans of several lengths; the service is a new one for each."""
    lines = [line for nbytes in sizes.memory_bytes for line in _lines(folder, nbytes)]
    remark = """
        `zwriter run`, uncompressed 2 MiB frames pushed as fast as it takes them (at most 1 GiB
        waits in Redis). Memory: the growth of RSS from ready to its highest; limit: queue + 64
        MiB. Last tenth against the first, judged by the service's CPU time, since a disk that is
        slower than the page cache holds back the later frames of a long scan whoever writes them.
    """
    return Group("Long scans of frames", remark, lines)


def _lines(folder: Path, nbytes: int) -> list[Line]:
    count = nbytes // frames().nbytes
    grown, looks = _run(folder, count)
    limit = RedisSettings().queue_bytes + 64 * MiB
    name = f"{nbytes / GiB:g} GiB"
    lines = [
        Line(
            f"memory, {name}",
            f"{grown / MiB:.0f} MiB",
            f"limit {limit / MiB:.0f} MiB",
            grown / limit,
            Goal(1, at_most=True),
        )
    ]
    first = _cost(looks, 0, count // 10)
    last = _cost(looks, count - count // 10, count)
    if first and last and nbytes >= 10 * GiB:
        lines += [
            Line(
                f"CPU a frame, last tenth of {name}",
                f"{last[1] * 1e3:.3g} ms",
                f"first tenth: {first[1] * 1e3:.3g} ms",
                last[1] / first[1],
                Goal(1.1, at_most=True),
            ),
            Line(
                f"time a frame, last tenth of {name}",
                f"{last[0] * 1e3:.3g} ms",
                f"first tenth: {first[0] * 1e3:.3g} ms",
                last[0] / first[0],
            ),
        ]
    return lines


def _cost(looks: list[_Look], begin: int, end: int) -> tuple[float, float] | None:
    """(seconds, CPU seconds) a row between the looks around rows `begin` and `end`."""
    inside = [look for look in looks if begin <= look.rows <= end]
    if len(inside) < 2 or inside[-1].rows == inside[0].rows:
        return None
    first, last = inside[0], inside[-1]
    rows = last.rows - first.rows
    return (last.time - first.time) / rows, (last.cpu - first.cpu) / rows


def _run(folder: Path, count: int) -> tuple[int, list[_Look]]:
    """(growth of RSS in bytes, what was seen at each new commit)"""
    with (
        fresh(folder) as place,
        redis_server(place / "redis") as server,
        running_service(server.url, place) as service,
        scan_in(service, [DEVICE]) as scan,
        Wire(server.url) as wire,
    ):
        before = service.rss
        producer = Producer(scan.published.scan_id, frames())
        looks = [_look(service, scan)]
        for number in range(count):
            while number - looks[-1].rows >= _AHEAD:
                _look_again(service, scan, looks)
            wire.send(producer.push(number, time.time(), keep=_AHEAD + 64), 2)
            if number % 16 == 0:
                _look_again(service, scan, looks, wait=0)
        while looks[-1].rows < count:
            _look_again(service, scan, looks)
        grown = service.most_rss - before
        scan.finish()
    return grown, looks


def _look_again(service: Service, scan: OpenScan, looks: list[_Look], wait: float = 0.02) -> None:
    seen = _look(service, scan)
    if seen.rows > looks[-1].rows:
        looks.append(seen)
    else:
        time.sleep(wait)


def _look(service: Service, scan: OpenScan) -> _Look:
    commit = scan.commit(DEVICE)
    rows = commit["signals"].get(frames().signal, {"rows": 0})["rows"]
    return _Look(commit["time"], rows, service.cpu_seconds, service.rss)
