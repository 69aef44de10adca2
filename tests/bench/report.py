"""What was measured, as a table: ratios, goals, and whether they are reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from textwrap import fill


@dataclass(frozen=True)
class Goal:
    """A limit that a ratio (or, where the line says so, the value itself) has to keep."""

    limit: float
    at_most: bool = False

    def reached(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"


@dataclass(frozen=True)
class Line:
    """One comparison. `judged` is what the goal is about, mostly a ratio."""

    work: str
    measured: str
    compared: str = ""
    judged: float | None = None
    goal: Goal | None = None

    @property
    def reached(self) -> bool | None:
        if self.goal is None or self.judged is None:
            return None
        return bool(self.goal.reached(self.judged))  # of numpy it may be another kind of True

    @property
    def cells(self) -> list[str]:
        verdict = {None: "", True: "yes", False: "**no**"}[self.reached]
        judged = "" if self.judged is None else f"{self.judged:.3g}"
        return [self.work, self.measured, self.compared, judged, str(self.goal or ""), verdict]


@dataclass(frozen=True)
class Group:
    """Lines that belong together. `remark` says what exactly was measured."""

    title: str
    remark: str
    lines: Sequence[Line]

    def markdown(self) -> str:
        head = ["work", "measured", "compared with", "ratio", "goal", "reached"]
        rows = [head, ["---"] * len(head), *(line.cells for line in self.lines)]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return f"## {self.title}\n{_filled(self.remark)}\n\n{table}\n"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of single turns: what slows a whole turn down cancels out."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def rate(messages_per_second: Sequence[float], nbytes: int) -> str:
    """A median rate for people: MB/s of messages of `nbytes`, or messages/s of small ones."""
    middle = median(messages_per_second)
    if nbytes < 1000:
        return f"{middle / 1000:.4g} k/s"
    return f"{middle * nbytes / 1e6:.4g} MB/s"


def document(machine: Sequence[str], load: tuple[str, str], groups: Sequence[Group]) -> str:
    """The whole report. `load` is the machine's load averages before and after."""
    judged = [line for group in groups for line in group.lines if line.reached is not None]
    reached = sum(line.reached is True for line in judged)
    before, after = load
    about = """
        Written by `make bench` (source: `tests/bench`). A ratio is the median of the ratios of
        single turns: all that is compared was measured in turns, in one run, after one turn to
        warm up. Before each, as much as it writes is written and removed: else a virtual machine
        measures how fast its host gives it memory. Absolute figures hold for this machine only.
    """
    return "\n".join(
        [
            f"# Benchmarks\n{_filled(about)}\n",
            *(f"- {line}" for line in machine),
            f"- load averages: {before} before, {after} after\n",
            f"{reached} of {len(judged)} goals are reached.\n",
            *(group.markdown() for group in groups),
        ]
    )


def _filled(text: str) -> str:
    return fill(" ".join(text.split()), 120)
