"""Goal 5: zwriter against BEC's own AsyncWriter, on the same messages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench.redis_to_store import in_this_process
from tests.bench.report import Goal, Group, Line, rate, ratio
from tests.bench.service import new_scan_id
from tests.bench.sizes import Sizes
from tests.bench.turns import Rates, fresh, in_turns
from tests.bench.wire import Producer, Wire, preload
from tests.bench.work import DEVICE, Kind, frames, scalars, spectra
from zwriter.errors import UsageError
from zwriter.protocol import redis_server

_OURS, _BEC = "zwriter", "BEC's AsyncWriter"


def against_bec(sizes: Sizes, folder: Path) -> Group:
    """Raises UsageError if bec-server's environment is not there."""
    lines = [
        _line(sizes, folder, frames(), sizes.frames, sizes.bec_frames, Goal(5)),
        _line(sizes, folder, spectra(), sizes.spectra, sizes.bec_messages, Goal(50)),
        _line(sizes, folder, scalars(), sizes.scalars, sizes.bec_messages, Goal(100)),
    ]
    remark = f"""
        Both read the same messages, which wait in Redis. BEC's writer takes all that waits in one
        reply and flushes once, which is its best case; it is given only the first
        {sizes.bec_frames} frames, {sizes.bec_messages} of the others: more would take minutes.
    """
    return Group("Redis to store, against BEC's AsyncWriter", remark, lines)


def _line(sizes: Sizes, folder: Path, kind: Kind, count: int, bec_count: int, goal: Goal) -> Line:
    rates = _measure(sizes, folder, kind, count, bec_count)
    compared = f"{_BEC}: {rate(rates[_BEC], kind.nbytes)}"
    mine, theirs = rates[_OURS], rates[_BEC]
    return Line(kind.name, rate(mine, kind.nbytes), compared, ratio(mine, theirs), goal)


def _measure(sizes: Sizes, folder: Path, kind: Kind, count: int, bec_count: int) -> Rates:
    many, few = Producer(new_scan_id(), kind), Producer(new_scan_id(), kind)
    with (
        fresh(folder) as place,
        redis_server(place / "redis") as server,
        _bec_writer(server.url, place) as bec,
        Wire(server.url) as wire,
    ):
        preload(wire, many, count)
        preload(wire, few, bec_count)
        return in_turns(
            {
                _OURS: lambda: in_this_process(server.url, many, place, kind, count),
                _BEC: lambda: bec_count / bec(few, bec_count),
            },
            sizes.rounds,
        )


@contextmanager
def _bec_writer(url: str, folder: Path) -> Iterator[Callable[[Producer, int], float]]:
    """BEC's writer as a function: the seconds for a producer's messages."""
    python = Path(os.environ.get("BENCH_BEC_PYTHON", ".venv-bec-server/bin/python"))
    if not python.exists():
        raise UsageError(f"{python} is not there: run `make bench`, which makes it")
    script = Path(__file__).with_name("bec_writer.py")
    with (
        (folder / "bec.log").open("w") as log,
        subprocess.Popen(
            [str(python), str(script), urlsplit(url).path, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def seconds(producer: Producer, rows: int) -> float:
            print(producer.scan_id, DEVICE, producer.signal, rows, file=process.stdin, flush=True)
            for line in process.stdout:  # its log may be there, too
                if line.startswith("seconds "):
                    return float(line.split()[1])
            raise RuntimeError((folder / "bec.log").read_text()[-500:])

        yield seconds
        process.stdin.close()
