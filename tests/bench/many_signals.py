"""Goal 6: 200 signals at 100 Hz each: no growing lag, and little dearer than one signal."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.report import Goal, Group, Line
from tests.bench.service import OpenScan, running_service, scan_in
from tests.bench.sizes import Sizes
from tests.bench.turns import fresh
from tests.bench.wire import Producer, Wire
from tests.bench.work import scalars, vectors
from zwriter.protocol import redis_server

_DEVICES, _SIGNALS, _HERTZ = 40, 5, 100
_PER_SECOND = _DEVICES * _SIGNALS * _HERTZ
_TICK = 0.05
_LOOK = 0.7  # seconds; not a multiple of the commits' interval


@dataclass(frozen=True)
class _Result:
    """first: CPU seconds until all signals have rows; cpu_per_message: since then; lags: messages
    that were pushed and not yet committed, one a look; late: seconds that the producer was behind
    at the end."""

    first: float
    cpu_per_message: float
    lags: list[float]
    late: float


def many_signals(sizes: Sizes, folder: Path) -> Group:
    """Both scans have the same number of messages a second."""
    many = _run(folder, sizes.many_signals_seconds, _many())
    one = _run(folder, sizes.many_signals_seconds / 2, [("one", "one_signal")])
    quarter = len(many.lags) // 4
    early = median(many.lags[quarter : 2 * quarter]) / _PER_SECOND
    late = median(many.lags[-quarter:]) / _PER_SECOND
    lines = [
        Line(
            "growth of the lag, seconds",
            f"{late:.2f} s in the last quarter",
            f"{early:.2f} s in the second quarter",
            late - early,
            Goal(0.25, at_most=True),
        ),
        Line(
            "CPU a message, 200 signals",
            f"{many.cpu_per_message * 1e6:.1f} us",
            f"one signal: {one.cpu_per_message * 1e6:.1f} us",
            many.cpu_per_message / one.cpu_per_message,
            Goal(2, at_most=True),
        ),
        Line("CPU until each signal has its files, 200 signals", f"{many.first:.2f} s"),
        Line("the producer's own delay at the end", f"{many.late:.2f} s"),
    ]
    remark = f"""
        `zwriter run`; {_DEVICES} devices of {_SIGNALS} signals, half scalars, half vectors of 10,
        {_HERTZ} Hz each: {_PER_SECOND} messages/s. The one signal is scalars, as many messages a
        second. CPU is counted once each signal has rows and so its files, which is a line of its
        own. Lag: messages pushed and not yet committed, as seconds; it includes the wait for the
        commit, up to a second.
    """
    return Group("200 signals", remark, lines)


def _many() -> list[tuple[str, str]]:
    return [(f"dev{d}", f"dev{d}_sig{s}") for d in range(_DEVICES) for s in range(_SIGNALS)]


def _run(folder: Path, seconds: float, names: list[tuple[str, str]]) -> _Result:
    devices = sorted({device for device, _ in names})
    with (
        fresh(folder) as place,
        redis_server(place / "redis") as server,
        running_service(server.url, place) as service,
        scan_in(service, devices) as scan,
        Wire(server.url) as wire,
    ):
        ticks = _ticks(scan.published.scan_id, names, seconds)
        before = service.cpu_seconds
        _push(wire, scan, devices, ticks[:1])
        _wait_for(ticks[:1], scan, devices)
        began = service.cpu_seconds
        lags, late = _push(wire, scan, devices, ticks[1:])
        _wait_for(ticks, scan, devices)
        spent = service.cpu_seconds - began
        scan.finish()
    return _Result(began - before, spent / _count(ticks[1:]), lags, late)


def _count(ticks: list[tuple[bytes, int]]) -> int:
    return sum(count for _, count in ticks)


def _wait_for(ticks: list[tuple[bytes, int]], scan: OpenScan, devices: list[str]) -> None:
    while sum(_rows(scan, devices)) < _count(ticks):
        time.sleep(0.1)


def _ticks(scan_id: str, names: list[tuple[str, str]], seconds: float) -> list[tuple[bytes, int]]:
    """(commands, messages) of each tick, made beforehand."""
    producers = [
        Producer(scan_id, (scalars(), vectors())[i % 2], device, signal)
        for i, (device, signal) in enumerate(names)
    ]
    each = round(_PER_SECOND * _TICK) // len(producers)
    return [
        (
            b"".join(
                producer.push(tick * each + i, time.time())
                for i in range(each)
                for producer in producers
            ),
            each * len(producers),
        )
        for tick in range(round(seconds / _TICK))
    ]


def _push(
    wire: Wire, scan: OpenScan, devices: list[str], ticks: list[tuple[bytes, int]]
) -> tuple[list[float], float]:
    lags: list[float] = []
    pushed = sum(_rows(scan, devices))
    began = looked = time.monotonic()
    for tick, (commands, count) in enumerate(ticks):
        wire.send(commands, 2 * count)
        pushed += count
        if time.monotonic() - looked > _LOOK:
            looked = time.monotonic()
            lags.append(pushed - sum(_rows(scan, devices)))
        time.sleep(max(0.0, began + (tick + 1) * _TICK - time.monotonic()))
    return lags, time.monotonic() - began - len(ticks) * _TICK


def _rows(scan: OpenScan, devices: list[str]) -> list[int]:
    return [rows for device in devices for rows in scan.rows(device).values()]
