"""What this machine can give at best, in the same run: disk, memory, checksums, codecs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
from awscrt.checksums import crc32c

from tests.bench.report import Group, Line
from tests.bench.sizes import MiB, Sizes
from tests.bench.turns import fresh, in_turns
from tests.bench.work import Kind, frames, spectra
from zwriter.settings import SignalSettings
from zwriter.store.codecs import codec_for

_BYTES = 256 * MiB


def limits(sizes: Sizes, folder: Path) -> Group:
    """GB/s of each, medians."""
    rates = in_turns(
        {
            "write to the page cache, 2 MiB a call": lambda: _write(folder, sync=False),
            "the same, then fsync": lambda: _write(folder, sync=True),
            "memcpy": _memcpy,
            "crc32c": _crc,
            "blosc lz4, one thread, frames": lambda: codec_alone(frames(), 64, threads=1),
            "blosc lz4, two threads, frames": lambda: codec_alone(frames(), 64, threads=2),
            "blosc lz4, one thread, spectra": lambda: codec_alone(spectra(), 8192, threads=1),
            "blosc lz4, two threads, spectra": lambda: codec_alone(spectra(), 8192, threads=2),
        },
        sizes.rounds,
    )
    lines = [Line(name, f"{median(values) / 1e9:.3g} GB/s") for name, values in rates.items()]
    remark = """
        XREAD alone, read by hiredis, is below, with what it is compared with. Of frames and spectra
        it is the limit; of small messages making objects of them is most of it, which zwriter does
        not do.
    """
    return Group("Limits of this machine", remark, lines)


def codec_alone(kind: Kind, count: int, threads: int) -> float:
    """Bytes a second of zwriter's own codec (settings' default) on chunks of 2 MiB."""
    codec = codec_for(kind.dtype, SignalSettings())
    step = kind.messages_in(2 * MiB)
    chunks = [kind.rows(first, step) for first in range(0, count, step)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(codec.encode, chunks[:threads]))
        return _speed(lambda: list(pool.map(codec.encode, chunks)), count * kind.nbytes)


def _speed(work: Callable[[], object], nbytes: int) -> float:
    began = time.perf_counter()
    work()
    return nbytes / (time.perf_counter() - began)


def _write(folder: Path, *, sync: bool) -> float:
    frame = frames().values[0]

    def write() -> None:
        with (place / "plain").open("wb", buffering=0) as file:
            for _ in range(_BYTES // frame.nbytes):
                file.write(frame)
            if sync:
                os.fsync(file.fileno())

    with fresh(folder, _BYTES) as place:
        return _speed(write, _BYTES)


def _memcpy() -> float:
    source = np.ones(_BYTES, np.uint8)
    target = np.zeros_like(source)
    return _speed(lambda: np.copyto(target, source), _BYTES)


def _crc() -> float:
    data = frames().values
    turns = _BYTES // sum(frame.nbytes for frame in data)
    views = [frame.reshape(-1).view(np.uint8) for frame in data]
    return _speed(lambda: [crc32c(v) for _ in range(turns) for v in views], _BYTES)
