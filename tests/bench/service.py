"""`zwriter run` as a process of its own, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zwriter.errors import ServiceError
from zwriter.protocol import PublishedScan, Publisher

_TIMEOUT = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Service:
    """A running service that writes below `root`."""

    root: Path
    pid: int
    url: str

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def rss(self) -> int:
        """Bytes of memory now."""
        return self._status("VmRSS")

    @property
    def most_rss(self) -> int:
        """The most bytes of memory so far."""
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise ServiceError(f"process {self.pid} has no {name}: it has ended")


@dataclass(frozen=True)
class OpenScan:
    """A scan that was opened; `store` is where it will be; `opened`: seconds since 1970."""

    published: PublishedScan
    store: Path
    opened: float

    def commit(self, device: str) -> dict[str, Any]:
        """The copy of the device's last commit (docs/format.md); without rows if there is none."""
        path = self.store / "entry/collection/devices" / device / "zarr.json"
        try:
            found = json.loads(path.read_bytes())["attributes"]["zwriter"]
        except (FileNotFoundError, KeyError):
            found = {}
        return {"time": self.opened, "signals": {}, **found}

    def rows(self, device: str) -> dict[str, int]:
        return {name: signal["rows"] for name, signal in self.commit(device)["signals"].items()}

    def wait_for_rows(self, device: str, name: str, rows: int) -> float:
        """The time of the commit that held `rows`."""
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            commit = self.commit(device)
            if commit["signals"].get(name, {"rows": 0})["rows"] >= rows:
                return float(commit["time"])
            time.sleep(0.05)
        raise ServiceError(f"{self.store}: {rows} rows of {name} never came")

    def finish(self) -> None:
        """End the scan and wait until it has its master file."""
        self.published.close()
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            if (self.store.parent / f"{self.store.stem}_master.h5").exists():
                return
            time.sleep(0.05)
        raise ServiceError(f"{self.store} was never finished")

    def remove(self) -> None:
        """Make room for the next one."""
        shutil.rmtree(self.store)


@contextmanager
def running_service(url: str, root: Path, flush_interval: float = 1.0) -> Iterator[Service]:
    """A service that is ready. It compresses nothing and syncs nothing."""
    environment = {
        **os.environ,
        "ZWRITER__STORE__DEFAULT__CODEC": "none",
        "ZWRITER__STORE__DURABILITY": "none",
        "ZWRITER__STORE__FLUSH_INTERVAL": str(flush_interval),
        "ZWRITER__MASTER__MODE": "reference",
    }
    command = [sys.executable, "-m", "zwriter.cli", "run", "--redis", url, "--root", str(root)]
    log = root / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stderr=output, stdout=output)
    try:
        deadline = time.monotonic() + _TIMEOUT
        while b"zwriter is ready" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"the service did not start: {log.read_text()[-500:]}")
            time.sleep(0.02)
        yield Service(root, process.pid, url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(_TIMEOUT)


@contextmanager
def scan_in(
    service: Service, devices: list[str], number: int = 1, scan_id: str | None = None
) -> Iterator[OpenScan]:
    """An open scan of `devices`. It is left open: `finish` ends it."""
    base = service.root / f"S{number:05d}"
    with Publisher(service.url) as publisher:
        opened = time.time()
        published = publisher.open_scan(
            scan_number=number,
            scan_id=scan_id or new_scan_id(),
            async_devices=devices,
            file_base=str(base),
        )
        yield OpenScan(published, base.with_suffix(".zarr"), opened)


def new_scan_id() -> str:
    return str(uuid.uuid4())
