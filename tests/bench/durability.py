"""What each `durability` costs a scan: `python -m tests.bench.durability DIR`, on the disk of DIR.

Commits follow one another without a pause; the writer makes about one a second.
"""

from __future__ import annotations

import statistics
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from zwriter import ScanWriter
from zwriter.settings import StoreSettings

FRAME = np.random.default_rng(1).integers(0, 4096, (512, 512)).astype("<u2")
COMMITS = 20
# devices with one scalar each, frames: of each commit
LOADS = ((1, 0), (10, 0), (100, 0), (0, 40))


def measure(path: Path, durability: str, devices: int, frames: int) -> str:
    """A line: how long a commit takes, and finishing the scan."""
    settings = StoreSettings(flush_interval=60, durability=durability)
    with ScanWriter(path, settings=settings, master=None) as scan:
        took = []
        begun = time.perf_counter()
        for count in range(COMMITS):
            for device in range(devices):
                scan.add(f"device{device}", "value", count, 1.0)
            for _ in range(frames):
                scan.add("camera", "image", FRAME, 1.0)
            start = time.perf_counter()
            scan.commit()
            took.append(time.perf_counter() - start)
        written = time.perf_counter()
    finished = time.perf_counter() - written
    commit = statistics.median(took) * 1000
    speed = frames * COMMITS * FRAME.nbytes / 1e6 / (written - begun)
    return (
        f"{durability:7} {devices:4} scalars, {frames:3} frames a commit:"
        f" commit {commit:7.1f} ms, finish {finished:5.2f} s, {speed:4.0f} MB/s"
    )


if __name__ == "__main__":
    for load, setting in product(LOADS, ("none", "seal", "commit")):
        with TemporaryDirectory(dir=sys.argv[1]) as folder:
            print(measure(Path(folder, "S1.zarr"), setting, *load), flush=True)
