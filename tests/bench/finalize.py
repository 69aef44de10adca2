"""Goal 10: the master file that refers to the data takes as long for 1 GiB as for 16 GiB."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench import ours
from tests.bench.report import Goal, Group, Line, ratio
from tests.bench.sizes import GiB, Sizes
from tests.bench.turns import fresh, in_turns
from tests.bench.work import DEVICE, frames
from zwriter import export

_ROUNDS = 15  # of some milliseconds


def finalize(sizes: Sizes, folder: Path) -> Group:
    """`finish` is measured once a size, the master file again and again."""
    small, large = sizes.finalize_bytes
    with ExitStack() as stack:
        places = {nbytes: stack.enter_context(fresh(folder)) for nbytes in (small, large)}
        finished = {nbytes: _write(place, nbytes) for nbytes, place in places.items()}
        os.sync()
        seconds = in_turns(
            {str(nbytes): partial(_export, place) for nbytes, place in places.items()},
            _ROUNDS,
        )
    quick, slow = seconds[str(small)], seconds[str(large)]
    lines = [
        Line(
            f"master file, reference, {large / GiB:g} GiB",
            f"{median(slow) * 1e3:.3g} ms",
            f"{small / GiB:g} GiB: {median(quick) * 1e3:.3g} ms",
            ratio(slow, quick),
            Goal(1.2, at_most=True),
        ),
        Line(
            f"finish (seal, judge), {large / GiB:g} GiB",
            f"{finished[large] * 1e3:.3g} ms",
            f"{small / GiB:g} GiB: {finished[small] * 1e3:.3g} ms",
            finished[large] / finished[small],
        ),
    ]
    return Group("Finalize", str(finalize.__doc__), lines)


def _write(place: Path, nbytes: int) -> float:
    """A finished store of `nbytes` of frames; the seconds that `finish` took."""
    kind = frames()
    writer = ours.writer_in(place, ours.settings())
    for number in range(nbytes // kind.nbytes):
        writer.add(DEVICE, kind.signal, kind.value(number))
    writer.commit()
    began = time.perf_counter()
    writer.finish()
    seconds = time.perf_counter() - began
    writer.close()
    return seconds


def _export(place: Path) -> float:
    out = place / "scan_master.h5"
    out.unlink(missing_ok=True)
    began = time.perf_counter()
    export(place / "scan.zarr", out, mode="reference")
    return time.perf_counter() - began
