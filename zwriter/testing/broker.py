"""A Redis that is stopped, killed and started again, with and without what it held.

>>> with broker() as redis:
...     redis.kill()
...     redis.forget()
...     redis.start()
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from zwriter.errors import ServiceError
from zwriter.protocol.server import embedded_program

START_TIMEOUT = 30.0
_EVERY_WRITE = ("--save", "", "--appendonly", "yes", "--appendfsync", "always")


class Broker:
    """A Redis at a fixed unix socket that writes all it acknowledges to its disk: redis-server
    where it is on PATH, else the embedded one.

    Made by `broker`. `options` are more of its command line.
    """

    def __init__(self, folder: Path, options: tuple[str, ...] = ()) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with what it has on its disk. Raises ServiceError if it does not start."""
        program = shutil.which("redis-server") or embedded_program()
        command = [program, "--port", "0", "--unixsocket", "redis.sock", *_EVERY_WRITE]
        with (self._folder / "redis.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *self._options],
                cwd=self._folder,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"Redis did not start; {self._folder}/redis.log says why")
            time.sleep(0.01)

    def kill(self) -> None:
        """End it as kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def terminate(self) -> None:
        """End it as an administrator does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def forget(self) -> None:
        """Remove what it has on its disk. Only while it is stopped."""
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)

    @property
    def client(self) -> redis.Redis:
        """A client of its own for the caller to close; it does not try again."""
        return redis.Redis.from_url(self.url, protocol=3, retry=None)

    def _answers(self) -> bool:
        assert self._process is not None
        with self.client as client:
            try:
                same = client.info("server")["process_id"] == self._process.pid
                return bool(same and client.ping())  # not while it loads, unlike INFO
            except redis.ConnectionError:
                return False


@contextmanager
def broker(*options: str) -> Iterator[Broker]:
    """A started Broker in a folder of its own, which is stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="zwriter-redis-") as folder:
        made = Broker(Path(folder), options)
        made.start()
        try:
            yield made
        finally:
            made.kill()
