"""Goal 9: small messages; the last ones of a long scan cost no more than the first."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from tests.bench import ours
from tests.bench.report import Goal, Group, Line
from tests.bench.sizes import Sizes
from tests.bench.turns import fresh
from tests.bench.work import Kind, scalars, vectors


def growth(sizes: Sizes, folder: Path) -> Group:
    """`ScanWriter.apply` with commits each second; CPU time of the process a message, since what
    else the machine does shows in the time of a few seconds; making the updates is not counted.
    """
    lines = [_line(sizes, folder, kind) for kind in (scalars(), vectors())]
    return Group("Long scans of small messages", str(growth.__doc__), lines)


def _line(sizes: Sizes, folder: Path, kind: Kind) -> Line:
    count = sizes.growth_messages // 2
    with fresh(folder) as warm:
        ours.by_apply(warm, kind, count // 10, list(kind.batches(count // 10)))
    scans = [_cpu_by_tenth(folder, kind, count) for _ in range(sizes.rounds)]
    first, last = (median(scan[i] for scan in scans) / (count / 10) * 1e6 for i in (0, -1))
    return Line(
        f"CPU a message, {kind.name}, last tenth of {count / 1e6:g} M",
        f"{last:.3g} us",
        f"first tenth: {first:.3g} us",
        median(scan[-1] / scan[0] for scan in scans),
        Goal(1.1, at_most=True),
    )


def _cpu_by_tenth(folder: Path, kind: Kind, count: int) -> list[float]:
    tenths = [0.0] * 10
    with fresh(folder, count * kind.nbytes) as place:
        writer = ours.writer_in(place, ours.settings())
        batches = kind.batches(count)
        writer.apply(next(batches))
        writer.commit()  # the files are made: that is not a message's cost
        done = 0
        for batch in batches:
            done += sum(map(len, batch))
            began = time.process_time()
            writer.apply(batch)
            writer.commit_due()
            tenths[done * 10 // (count + 1)] += time.process_time() - began
        writer.commit()
        writer.close()
        ours.check(writer.path, kind, count)
    return tenths
