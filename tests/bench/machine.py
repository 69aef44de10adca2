"""What the figures were measured on."""

from __future__ import annotations

import mmap
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_PACKAGES = (
    "zwriter",
    "numpy",
    "numcodecs",
    "hiredis",
    "redis",
    "msgpack",
    "h5py",
    "zarr",
    "tensorstore",
    "acquire-zarr",
)


def describe(folder: Path) -> list[str]:
    """Lines about the machine; `folder` is where the benchmark writes."""
    memory = _field("/proc/meminfo", "MemTotal").split()[0]
    return [
        f"CPU: {_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        f"memory: {int(memory) / 2**20:.0f} GiB",
        f"file system: {_file_system(folder)}",
        f"kernel: {platform.release()}",
        f"Python {platform.python_version()}, {_output('redis-server', '--version')}",
        ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
        f"zwriter's commit: {_output('git', 'describe', '--always', '--dirty')}",
    ]


def load() -> str:
    """How busy the machine is: the load averages of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    return int(_field("/proc/meminfo", "MemAvailable").split()[0]) * 1024


def touch_memory(nbytes: int) -> None:
    """Have the machine get memory now, from its host: what a virtual machine has not used for a
    while takes up to ten times as long at its first touch as a copy does."""
    with mmap.mmap(-1, min(nbytes, available_memory() // 2)) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        pages = np.frombuffer(memory, np.uint8)[::4096]
        pages[...] = 1
        del pages


def most_memory_of(work: Callable[[], T]) -> tuple[T, int]:
    """What it returns, and by how many bytes this process grew meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest value begins anew
    before = int(_field("/proc/self/status", "VmRSS").split()[0])
    result = work()
    return result, (int(_field("/proc/self/status", "VmHWM").split()[0]) - before) * 1024


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"


def _file_system(folder: Path) -> str:
    """The kind of the file system whose mount point is the longest prefix of `folder`."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    path = folder.resolve()
    return max((m for m in mounts if path.is_relative_to(m[0])), key=lambda m: len(m[0]))[1]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return f"({command[0]} is not there)"
