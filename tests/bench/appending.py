"""Goals 1 to 3: `ScanWriter` against a plain file, the codec alone, and what else there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench import ours
from tests.bench.limits import codec_alone
from tests.bench.report import Goal, Group, Line, rate, ratio
from tests.bench.rivals import RIVALS, Rival, plain_file
from tests.bench.sizes import Sizes
from tests.bench.turns import Rates, fresh, in_turns
from tests.bench.work import Kind, blocks, frames, spectra, vectors
from zwriter.settings import Codec

_ADD, _APPLY, _SINGLY = "add", "apply", "apply, one by one"
_PLAIN, _CODEC = "a plain file", "the codec alone, two threads"
_GOALS = {
    ("acquire-zarr", "frames", "none"): Goal(4),
    ("h5py resize + write + flush", "frames", "none"): Goal(1.5),
}


def appending(sizes: Sizes, folder: Path) -> Group:
    """Each kind of data, uncompressed; frames also compressed."""
    lines = [
        *_lines(sizes, folder, frames(), sizes.frames, "none", Goal(0.85)),
        *_lines(sizes, folder, frames(), sizes.frames, "lz4", Goal(0.9)),
        *_lines(sizes, folder, spectra(), sizes.spectra, "none", Goal(0.7)),
        *_lines(sizes, folder, vectors(), sizes.vectors, "none", None),
        *_lines(sizes, folder, blocks(), sizes.blocks, "none", Goal(0.6)),
    ]
    remark = """
        From nothing until every row is committed; values without timestamps, as the rivals write
        them; nothing is synced, except by acquire-zarr, which cannot do without. `add`: one call a
        message. `apply`: batches of messages as the service has decoded them (which is measured
        below); `apply, one by one`: of messages that differ in more than their values.
    """
    return Group("Appending, without Redis", remark, lines)


def _lines(
    sizes: Sizes, folder: Path, kind: Kind, count: int, codec: Codec, goal: Goal | None
) -> list[Line]:
    rates = _measure(sizes, folder, kind, count, codec)
    name = f"{kind.name}{', lz4' if codec == 'lz4' else ''}"

    def line(how: str, other: str, wanted: Goal | None) -> Line:
        compared = f"{other}: {rate(rates[other], kind.nbytes)}"
        measured = rate(rates[how], kind.nbytes)
        return Line(f"{name}, {how}", measured, compared, ratio(rates[how], rates[other]), wanted)

    limit = _PLAIN if codec == "none" else _CODEC
    lines = [line(how, limit, goal) for how in (_ADD, _APPLY)]
    if _SINGLY in rates:
        lines.append(line(_SINGLY, limit, None))
    if kind is vectors():
        speed = median(rates[_APPLY]) / 1e6
        work = f"{name}, {_APPLY}: millions of updates a second"
        lines.append(Line(work, f"{speed:.3g}", "", speed, Goal(1)))
    usual = _ADD if kind is frames() else _APPLY
    return lines + [
        line(usual, rival, _GOALS.get((rival, kind.name, codec)))
        for rival in RIVALS
        if rival in rates
    ]


def _measure(sizes: Sizes, folder: Path, kind: Kind, count: int, codec: Codec) -> Rates:
    batches = list(kind.batches(count))

    def placed(write: Callable[[Path], float]) -> float:
        with fresh(folder, count * kind.nbytes) as place:
            return write(place)

    def apply(given: Sequence[ours.Batch]) -> float:
        return placed(lambda place: ours.by_apply(place, kind, count, given, codec))

    contenders: dict[str, Callable[[], float]] = {}
    if codec == "none":
        contenders[_PLAIN] = lambda: placed(lambda place: plain_file(place, kind, count))
    else:
        pool = len(kind.values)
        contenders[_CODEC] = lambda: codec_alone(kind, max(count, pool), threads=2) / kind.nbytes
    contenders[_ADD] = lambda: placed(lambda place: ours.by_add(place, kind, count, codec))
    contenders[_APPLY] = lambda: apply(batches)
    if kind is vectors():
        updates = list(kind.singly(count))
        contenders[_SINGLY] = lambda: apply(updates)
    wanted = RIVALS if kind.name in sizes.rivals_for else {}
    for name, rival in wanted.items():
        fitting = _fitting_count(rival, folder, kind, count, codec, sizes.rival_seconds)
        contenders[name] = partial(placed, partial(_run, rival, kind, fitting, codec))
    return in_turns(contenders, sizes.rounds)


def _run(rival: Rival, kind: Kind, count: int, codec: Codec, place: Path) -> float:
    return rival(place, kind, count, codec)


def _fitting_count(
    rival: Rival, folder: Path, kind: Kind, count: int, codec: Codec, seconds: float
) -> int:
    """As many messages as take the rival at least `seconds`, so that opening and closing are not
    what is measured; at most `count`."""
    fitting = min(count, 16)
    while fitting < count:
        began = time.perf_counter()
        with fresh(folder) as place:
            rival(place, kind, fitting, codec)
        if time.perf_counter() - began > seconds:
            break
        fitting = min(count, fitting * 4)
    return fitting
