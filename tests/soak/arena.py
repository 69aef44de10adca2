"""One scan under attack: a Redis, a load, services, all processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.soak.load import Load, Pushed
from zwriter.testing.broker import Broker
from zwriter.testing.waiting import until

SCAN_TIMEOUT = 120.0


class Stuck(Exception):
    """Something that should have happened did not."""


class Service:
    """`zwriter run` as a process."""

    def __init__(
        self, url: str, root: Path, settings: Path, log: Path, failpoints: str = ""
    ) -> None:
        self.log = log
        self.failpoints = failpoints
        command = [sys.executable, "-m", "zwriter.cli", "run"]
        command += ["--redis", url, "--root", str(root), "--config", str(settings)]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "ZWRITER_FAILPOINTS": failpoints, "PYTHONFAULTHANDLER": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def said(self, text: str) -> bool:
        """Whether there is such a line in its log."""
        return text.encode() in self.log.read_bytes()

    @property
    def fenced(self) -> bool:
        """Whether it says that another one writes the scan."""
        return self.said("another service has taken it over")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def abort(self) -> None:
        """End it so that its log says what each thread was at."""
        self.process.send_signal(signal.SIGABRT)
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop, as systemd does, once it has started; its exit code."""
        while self.alive and not self.said("zwriter is ready"):
            time.sleep(0.05)
        self.process.terminate()
        try:
            return self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            return -9


class Arena:
    """What an attack may use; `done` counts what it did, by name."""

    def __init__(self, folder: Path, broker: Broker, rng: random.Random, seconds: float) -> None:
        self.folder = folder
        self.broker = broker
        self.rng = rng
        self.done: Counter[str] = Counter()
        self.lossy = False
        self.stack = contextlib.ExitStack()  # what is to last until the scan has been judged
        self.service_url = broker.url
        self.root = folder / "data"
        self.seconds = seconds
        folder.mkdir(parents=True, exist_ok=True)
        self.load = Load(
            broker.url,
            str(folder / "load.log"),
            str(uuid.UUID(int=rng.getrandbits(128))),
            1,
            seconds,
        )
        self.load.save(folder / "load.json")
        self._settings = folder / "zwriter.toml"
        self._settings.write_text(_settings(rng))
        self.service: Service | None = None
        self._services = 0
        self._loading: subprocess.Popen[bytes] | None = None

    # the load

    def start_load(self) -> None:
        with (self.folder / "load.err").open("ab") as output:
            self._loading = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.load", str(self.folder / "load.json")],
                stderr=output,
            )

    def kill_load(self) -> None:
        assert self._loading
        self._loading.kill()
        self._loading.wait()

    @property
    def loading(self) -> bool:
        assert self._loading
        if self._loading.poll() not in (None, 0):
            raise Stuck(f"the load failed: {(self.folder / 'load.err').read_text()[-500:]}")
        return self._loading.poll() is None

    def wait_for_load(self) -> None:
        """Until it pushes."""
        until(lambda: Pushed.read(Path(self.load.log)).count() > 0, "the load to begin", 60)
        self._load_began = time.monotonic()

    @property
    def seconds_left(self) -> float:
        """Of the load, if it is not delayed."""
        return self._load_began + self.seconds - time.monotonic() if self.loading else 0.0

    # the service

    def start_service(self, failpoints: str = "") -> Service:
        self.service = self.another_service(failpoints)
        return self.service

    def another_service(self, failpoints: str = "") -> Service:
        self._services += 1
        log = self.folder / f"service-{self._services:02d}.log"
        return Service(self.service_url, self.root, self._settings, log, failpoints)

    @property
    def store(self) -> Path:
        return self.root / "S00000-00999" / "S00001" / "S00001.zarr"

    @property
    def master(self) -> Path:
        return self.store.with_name("S00001_master.h5")

    @property
    def written(self) -> bool:
        """The store is finished, and so is the master file."""
        side = self.store.with_suffix(".zwriter")
        return self.store.exists() and not side.exists() and self.master.exists()

    def pause(self, low: float, high: float) -> None:
        """Some time, often counted from when the service is ready; less if the scan
        is over or the service has died."""
        if self.rng.random() < 0.8:
            self._until_ready()
        deadline = time.monotonic() + self.rng.uniform(low, high)
        while time.monotonic() < deadline and not (self.written and not self.loading):
            if self.service is not None and not self.service.alive:
                return
            time.sleep(0.02)

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 10
        service = self.service
        while service and service.alive and not service.said("zwriter is ready"):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)

    def until_written(self) -> None:
        """Let the scan be finished, by a service that is started again if it died."""
        deadline = time.monotonic() + SCAN_TIMEOUT
        while not self.written:
            if time.monotonic() > deadline:
                if self.service is not None and self.service.alive:
                    self.service.abort()
                raise Stuck("the scan is not finished; the last service-*.log says why")
            if self.service is None or not self.service.alive:
                self.start_service()
            time.sleep(0.05)

    def close(self) -> None:
        for process in (self._loading, self.service and self.service.process):
            if process is not None and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        self.stack.close()


@contextlib.contextmanager
def tmpfs(folder: Path, megabytes: int) -> Iterator[None]:
    """A small file system of its own at `folder`. Raises OSError where we may not have one."""
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise OSError(made.stderr.decode().strip() or "mount failed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def _settings(rng: random.Random) -> str:
    flush = rng.choice([0.05, 0.2, 0.5])
    durability = rng.choice(["none", "commit", "seal"])
    codec = rng.choice(["none", "lz4", "zstd"])
    chunk = rng.choice([2048, 16384, 65536])
    mode = rng.choice(["reference", "copy", "auto"])
    return f"""
[redis]
drain_timeout = 2.0
[store]
flush_interval = {flush}
durability = {json.dumps(durability)}
default = {{codec = {json.dumps(codec)}, chunk_bytes = {chunk}}}
[master]
mode = {json.dumps(mode)}
"""
