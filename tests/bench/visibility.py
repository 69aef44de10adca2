"""Goal 7: how long it takes from XADD until a reader has the row."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np

from tests.bench.report import Goal, Group, Line
from tests.bench.service import OpenScan, running_service, scan_in
from tests.bench.sizes import Sizes
from tests.bench.turns import fresh
from tests.bench.wire import Producer, Wire
from tests.bench.work import DEVICE, Kind, frames, scalars
from zwriter import open_scan
from zwriter.errors import UsageError
from zwriter.protocol import redis_server
from zwriter.settings import StoreSettings

_PACES: tuple[tuple[str, Kind, float], ...] = (("adc", scalars(), 50.0), (DEVICE, frames(), 20.0))
_POLL = 0.02
_FLUSH = StoreSettings().flush_interval


def visibility(sizes: Sizes, folder: Path) -> Group:
    """Two devices push side by side; a reader looks all the time, and reads each new row."""
    delays = _run(folder, sizes.visibility_seconds)
    lines = []
    for device, kind, hertz in _PACES:
        p50, p99 = np.percentile(delays[device], [50, 99])
        lines.append(
            Line(
                f"{kind.name}, {hertz:g} Hz: p99, seconds",
                f"{p99:.2f} s (median {p50:.2f} s, {len(delays[device])} rows)",
                f"flush_interval {_FLUSH:g} s",
                p99,
                Goal(_FLUSH + 0.5, at_most=True),
            )
        )
    remark = f"""
        `zwriter run` with the default flush_interval; `open_scan` and `refresh` each {_POLL} s.
        What
        commits cost is with Redis to store (`make bench`).
    """
    return Group("Live visibility: from XADD until a reader has the row", remark, lines)


def _run(folder: Path, seconds: float) -> dict[str, list[float]]:
    with (
        fresh(folder) as place,
        redis_server(place / "redis") as server,
        running_service(server.url, place, _FLUSH) as service,
        scan_in(service, [device for device, _, _ in _PACES]) as scan,
    ):
        sent: dict[str, list[float]] = {device: [] for device, _, _ in _PACES}
        threads = [
            threading.Thread(target=_push, args=(server.url, scan, pace, seconds, sent[pace[0]]))
            for pace in _PACES
        ]
        for thread in threads:
            thread.start()
        delays = _watch(scan, threads, sent)
        for thread in threads:
            thread.join()
        scan.finish()
    return delays


def _push(
    url: str, scan: OpenScan, pace: tuple[str, Kind, float], seconds: float, sent: list[float]
) -> None:
    device, kind, hertz = pace
    producer = Producer(scan.published.scan_id, kind, device)
    began = time.monotonic()
    with Wire(url) as wire:
        for number in range(int(seconds * hertz)):
            commands = producer.push(number, time.time(), keep=200)
            sent.append(time.monotonic())
            wire.send(commands, 2)
            time.sleep(max(0.0, began + (number + 1) / hertz - time.monotonic()))


def _watch(
    scan: OpenScan, threads: list[threading.Thread], sent: dict[str, list[float]]
) -> dict[str, list[float]]:
    """The delay of every row, in seconds."""
    delays: dict[str, list[float]] = {device: [] for device in sent}
    reader = None
    while any(t.is_alive() for t in threads) or any(len(delays[d]) < len(sent[d]) for d in sent):
        time.sleep(_POLL)
        if reader is None:
            try:
                reader = open_scan(scan.store)
            except UsageError:
                continue
        reader.refresh()
        for device, kind, _ in _PACES:
            if device in reader.devices and kind.signal in reader.devices[device]:
                value = reader.devices[device][kind.signal].value
                seen, rows = len(delays[device]), value.shape[0]
                if rows > seen:
                    np.testing.assert_array_equal(value[rows - 1], kind.value(rows - 1))
                    now = time.monotonic()
                    delays[device] += [now - at for at in sent[device][seen:rows]]
    return delays
