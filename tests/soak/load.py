"""The load of one scan, as a process of its own: numbered pushes of simulated devices.

`python -m tests.soak.load FILE.json`. Before each push it notes "i DEVICE N", after Redis has
acknowledged it "a DEVICE N" (points: "p N"), so that the log says what must be there even if this
process is killed. While Redis is away it tries the same push again and again. Started again with
the same file it goes on behind the last push that it began, with all its counters at 0.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import redis

from zwriter.protocol import PublishedScan, Publisher
from zwriter.sim.devices import Device, device

SPECS = (
    "cam:frames:48x64:u2:25Hz",
    "mcs:spectra:256:u4:40Hz",
    "adc:scalars:x100:20Hz",
    "temp:scalars:x1:20Hz",
    "panda:vectors:10:x20:10Hz",
    "digi:ragged:200:30Hz",
    "xmap:slices:8x400:x50:15Hz",
    "fly:slices:400:x50:30Hz",
    "tof:pieces:100:30Hz",
    "live:replace:50:10Hz",
    "multi:3:x10:10Hz",
    "dynamic:3:x5:10Hz",
)
POINT_RATE = 5.0


@dataclass(frozen=True)
class Load:
    """What is pushed; `start` is the time from which timestamps count."""

    url: str
    log: str
    scan_id: str
    scan_number: int
    seconds: float
    kept: int = 2000
    start: float = 1.7e9
    specs: tuple[str, ...] = SPECS

    @property
    def devices(self) -> dict[str, Device]:
        return {made.name: made for made in map(device, self.specs)}

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Load:
        return cls(**json.loads(path.read_text()))


@dataclass
class Pushed:
    """What a load's log says, per run of the process: device -> numbers of the pushes."""

    begun: list[dict[str, list[int]]] = field(default_factory=list)
    acknowledged: list[dict[str, set[int]]] = field(default_factory=list)
    points: set[int] = field(default_factory=set)
    done: bool = False

    @classmethod
    def read(cls, path: Path) -> Pushed:
        pushed = cls()
        for line in path.read_text().splitlines() if path.exists() else ():
            what, *rest = line.split()
            if what == "run":
                pushed.begun.append({})
                pushed.acknowledged.append({})
            elif what == "i":
                pushed.begun[-1].setdefault(rest[0], []).append(int(rest[1]))
            elif what == "a":
                pushed.acknowledged[-1].setdefault(rest[0], set()).add(int(rest[1]))
            elif what == "p":
                pushed.points.add(int(rest[0]))
            elif what == "done":
                pushed.done = True
        return pushed

    def count(self) -> int:
        """How many pushes were acknowledged."""
        return sum(len(numbers) for run in self.acknowledged for numbers in run.values())


def publish(load: Load) -> None:
    """Publish the scan, from where a process before this one was killed."""
    before = Pushed.read(Path(load.log))
    first = dict.fromkeys(load.devices, 0)
    for run in before.begun:
        first |= {name: numbers[-1] + 1 for name, numbers in run.items()}
    log = os.open(load.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b"run\n")
    with Publisher(load.url) as publisher:
        scan = _until_redis_is_there(lambda: _open(load, publisher))
        began = time.time() - max((n / load.devices[d].rate for d, n in first.items()), default=0)
        for due, name, n in _schedule(load, first, len(before.points)):
            time.sleep(max(began + due - time.time(), 0))
            if not name:
                reading = {"value": n / 2, "timestamp": load.start + n}
                _until_redis_is_there(lambda n=n, r=reading: scan.point(n, {"samx": {"samx": r}}))
                os.write(log, b"p %d\n" % n)
                continue
            made = load.devices[name]
            push = made.push(n, load.start)
            os.write(log, b"i %s %d\n" % (name.encode(), n))
            _until_redis_is_there(
                lambda m=made, p=push: scan.update(m.name, m.stream, p.readings, p.mode, load.kept)
            )
            os.write(log, b"a %s %d\n" % (name.encode(), n))
        _until_redis_is_there(scan.close)
    os.write(log, b"done\n")


def _open(load: Load, publisher: Publisher) -> PublishedScan:
    scan = publisher.open_scan(
        scan_number=load.scan_number,
        scan_id=load.scan_id,
        scan_name="soak",
        monitored=["samx"],
        async_devices=list(load.devices),
    )
    scan._points.update(Pushed.read(Path(load.log)).points)
    return scan


def _schedule(load: Load, first: dict[str, int], first_point: int) -> Any:
    pushes = [
        [(n / d.rate, d.name, n) for n in range(first[d.name], d.pushes(load.seconds))]
        for d in load.devices.values()
    ]
    points = range(first_point, round(load.seconds * POINT_RATE))
    return heapq.merge(*pushes, [(n / POINT_RATE, "", n) for n in points])


def _until_redis_is_there(work: Any) -> Any:
    while True:
        try:
            return work()
        except (redis.ConnectionError, redis.TimeoutError, redis.OutOfMemoryError):
            time.sleep(0.05)


if __name__ == "__main__":
    publish(Load.read(Path(sys.argv[1])))
