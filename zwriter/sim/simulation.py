"""A simulated scan: motors step, devices push, all at their own pace."""

from __future__ import annotations

import heapq
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from zwriter.protocol import PublishedScan, Publisher, ScanStatus, decode, keys
from zwriter.sim.devices import Device

_POINT = ""
POINT_RATE = 5.0  # scan points a second


class Simulation:
    """One scan of simulated devices.

    devices: what pushes, besides the motors samx, samy and the counter bpm4i at each scan point
    seconds: how long; each device pushes as often as its rate says, however late
    speed: 1 real time, infinity as fast as Redis takes it

    `pushed` says, also while it runs, how many pushes of each device have been made; `start` is the
    scan's start in seconds since 1970, from which the timestamps count.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        *,
        seconds: float = 10.0,
        speed: float = 1.0,
        scan_number: int = 1,
    ) -> None:
        self.devices = {device.name: device for device in devices}
        self.seconds = seconds
        self.speed = speed
        self.scan_number = scan_number
        self.points = round(seconds * POINT_RATE)
        self.start = time.time()
        self.pushed = dict.fromkeys(self.devices, 0)
        self.scan_id = ""

    def run(self, publisher: Publisher, stop: threading.Event | None = None) -> None:
        """Publish the scan, open to closed; closed as "aborted" when `stop` is set."""
        stop = stop or threading.Event()
        self.start = time.time()
        publisher.beamline_state("shutter", "valid", "open")
        with self._open(publisher) as scan:
            self.scan_id = scan.scan_id
            scan.baseline(_readings(self.start, samz=0.25, ring_current=400.0))
            for device in self.devices.values():
                setting = {"value": 1 / device.rate, "timestamp": self.start}
                scan.configuration(device.name, {f"{device.name}_acquire_period": setting})
            for due, name, n in self._schedule():
                wait = self.start + due / self.speed - time.time()
                if stop.wait(max(wait, 0.0)):
                    scan.close("aborted", "user")
                    return
                self._publish(scan, name, n)

    def point(self, n: int) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """What the motors and the counter are at point n."""
        x = n / max(self.points - 1, 1)
        return _readings(
            self.start + n / POINT_RATE,
            samx=-5 + 10 * x,
            samy=2.5,
            bpm4i=round(1000 * math.exp(-(((x - 0.5) / 0.15) ** 2))),
        )

    def _open(self, publisher: Publisher) -> PublishedScan:
        return publisher.open_scan(
            scan_number=self.scan_number,
            scan_name="line_scan",
            scan_type="step",
            num_points=self.points,
            monitored=["samx", "samy", "bpm4i"],
            baseline=["samz", "ring_current"],
            async_devices=list(self.devices),
            scan_report_devices=["samx"],
            user_metadata={"sample": "simulated"},
        )

    def _schedule(self) -> Iterable[tuple[float, str, int]]:
        """(seconds after the start, device, number of the push), in time; "" stands for a point."""
        pushes = [
            [(n / device.rate, device.name, n) for n in range(device.pushes(self.seconds))]
            for device in self.devices.values()
        ]
        return heapq.merge(*pushes, [(n / POINT_RATE, _POINT, n) for n in range(self.points)])

    def _publish(self, scan: PublishedScan, name: str, n: int) -> None:
        if name == _POINT:
            scan.point(n, self.point(n))
            return
        device = self.devices[name]
        push = device.push(n, self.start)
        # a minute's worth, as a device would be set up whose reader may fall behind
        kept = max(1000, round(60 * device.rate))
        scan.update(name, device.stream, push.readings, push.mode, kept)
        self.pushed[name] = n + 1


def _readings(timestamp: float, **values: float) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        name: {name: {"value": value, "timestamp": timestamp}} for name, value in values.items()
    }


def next_scan_number(client: redis.Redis) -> int:
    """One more than that of the last scan that was published in this Redis."""
    last = client.get(keys.scan_status())
    if not isinstance(last, bytes):
        return 1
    return (ScanStatus.of(decode(last)).scan_number or 0) + 1
