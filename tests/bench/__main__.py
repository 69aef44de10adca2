"""python -m tests.bench [--quick] [--only NAME ...]: measures, prints, writes docs/benchmarks.md.

BENCH_DIR: where data is written (default: the system's temporary directory), and removed.
BENCH_BEC_PYTHON: a Python that has bec-server (default: that of .venv-bec-server).
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import machine
from tests.bench.appending import appending
from tests.bench.bec import against_bec
from tests.bench.finalize import finalize
from tests.bench.growth import growth
from tests.bench.limits import limits
from tests.bench.long_scan import long_scans
from tests.bench.many_signals import many_signals
from tests.bench.redis_to_store import redis_to_store
from tests.bench.report import Group, document
from tests.bench.sizes import FULL, QUICK, GiB, Sizes
from tests.bench.visibility import visibility

GROUPS: dict[str, Callable[[Sizes, Path], Group]] = {
    "limits": limits,
    "appending": appending,
    "redis": redis_to_store,
    "bec": against_bec,
    "many": many_signals,
    "visibility": visibility,
    "long": long_scans,
    "growth": growth,
    "finalize": finalize,
}
log = logging.getLogger(__name__)

REPORT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
MEMORY = 6 * GiB


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--quick", action="store_true", help="smaller sizes; writes no report")
    parser.add_argument("--only", nargs="+", choices=GROUPS, help="these parts; writes no report")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    sizes = QUICK if options.quick else FULL
    parent = Path(os.environ.get("BENCH_DIR", tempfile.gettempdir()))
    _check_room(parent, sizes)
    before = machine.load()
    print(*machine.describe(parent), f"load averages: {before}", sep="\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="zwriter-bench-", dir=parent) as folder:
        groups, failed = _measure(options.only or list(GROUPS), sizes, Path(folder))
    if not (options.quick or options.only or failed):
        text = document(machine.describe(parent), (before, machine.load()), groups)
        REPORT.write_text(text)
        print(f"written: {REPORT}")
    return int(failed)


def _measure(names: list[str], sizes: Sizes, folder: Path) -> tuple[list[Group], bool]:
    """(the groups, whether any could not be measured); each is printed when it is there."""
    groups = []
    failed = False
    for name in names:
        began = time.monotonic()
        try:
            group = GROUPS[name](sizes, folder)
        except Exception:  # hours of other measurements are not thrown away for one
            log.exception("%s: could not be measured", name)
            failed = True
            continue
        groups.append(group)
        print(f"\n{group.markdown()}({time.monotonic() - began:.0f} s)", flush=True)
    return groups, failed


def _check_room(parent: Path, sizes: Sizes) -> None:
    """Ends the program when the benchmark would fill the disk or the memory."""
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    if free < sizes.disk_bytes:
        needed = sizes.disk_bytes / GiB
        sys.exit(f"{parent} has {free / GiB:.0f} GiB free, {needed:.0f} are needed: set BENCH_DIR")
    if machine.available_memory() < MEMORY:
        sys.exit(f"less than {MEMORY / GiB:g} GiB of memory is available: end other programs")


if __name__ == "__main__":
    sys.exit(main())
