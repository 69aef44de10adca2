"""How far the store is behind the devices, from what any reader sees."""

from __future__ import annotations

import time
from typing import Any

from rich.table import Table

from zwriter.reader import Scan
from zwriter.sim.devices import Device
from zwriter.sim.simulation import Simulation


class Progress:
    """Rows, MB/s and lag of a simulated scan, as the commits in its store tell them.

    lag: the age, in seconds, of the oldest push that no reader sees yet
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._devices: dict[str, dict[str, dict[str, Any]]] = {}
        self._printed = 0

    def update(self, scan: Scan) -> None:
        self._devices = scan.summary()["devices"]

    def second_has_passed(self) -> bool:
        """Once for each second since the scan's start."""
        second = int(time.time() - self._simulation.start)
        passed, self._printed = second > self._printed, second
        return passed

    def line(self) -> str:
        elapsed = time.time() - self._simulation.start
        lag = max(map(self._lag, self._simulation.devices.values()))
        rows = sum(self._sum(name, "rows") for name in self._devices)
        size = sum(self._sum(name, "bytes") for name in self._devices) / 1e6
        return (
            f"{elapsed:5.1f} s   {rows:>9,} rows   {size:7.1f} MB   "
            f"{size / elapsed:6.1f} MB/s   lag {lag:.1f} s"
        )

    def table(self) -> Table:
        table = Table(box=None, caption=self.line(), caption_style="bold", caption_justify="left")
        for heading in ("device", "kind"):
            table.add_column(heading)
        for heading in ("pushed", "in the store", "rows", "MB", "lag/s"):
            table.add_column(heading, justify="right")
        for device in self._simulation.devices.values():
            table.add_row(
                device.name,
                device.kind,
                str(self._simulation.pushed[device.name]),
                str(self._seen(device)),
                f"{self._sum(device.name, 'rows'):,}",
                f"{self._sum(device.name, 'bytes') / 1e6:.1f}",
                f"{self._lag(device):.1f}",
            )
        return table

    def _seen(self, device: Device) -> int:
        """How many pushes are committed: each carries equally many signals."""
        return self._sum(device.name, "received") // len(device.push(0).readings)

    def _lag(self, device: Device) -> float:
        seen = self._seen(device)
        if seen >= self._simulation.pushed[device.name]:
            return 0.0
        return max(0.0, time.time() - self._simulation.start - seen / device.rate)

    def _sum(self, device: str, fact: str) -> int:
        return sum(signal[fact] for signal in self._devices.get(device, {}).values())
