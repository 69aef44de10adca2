"""How much is measured: by `make bench`, and by `make bench-quick`."""

from __future__ import annotations

from dataclasses import dataclass

MiB = 2**20
GiB = 2**30


@dataclass(frozen=True)
class Sizes:
    """rounds: turns that count, after one to warm up; counts are messages; times are seconds."""

    rounds: int
    frames: int
    spectra: int
    vectors: int
    blocks: int
    scalars: int
    rival_seconds: float  # what a slow rival takes at least; it then writes less
    rivals_for: tuple[str, ...]  # kinds that rivals write, too
    commit_costs: bool  # they show only in runs of several seconds
    bec_frames: int
    bec_messages: int
    many_signals_seconds: float
    visibility_seconds: float
    memory_bytes: tuple[int, ...]
    growth_messages: int
    finalize_bytes: tuple[int, int]

    @property
    def disk_bytes(self) -> int:
        """What must be free."""
        return max(*self.memory_bytes, *self.finalize_bytes, 3 * GiB) + 2 * GiB


QUICK = Sizes(
    rounds=2,
    frames=192,
    spectra=40_000,
    vectors=250_000,
    blocks=25_000,
    scalars=100_000,
    rival_seconds=0.3,
    rivals_for=("frames",),
    commit_costs=False,
    bec_frames=50,
    bec_messages=1000,
    many_signals_seconds=6,
    visibility_seconds=6,
    memory_bytes=(2 * GiB,),
    growth_messages=6_000_000,
    finalize_bytes=(GiB // 4, 4 * GiB),
)

FULL = Sizes(
    rounds=11,  # of short turns: a virtual machine stops for tens of milliseconds now and then
    frames=512,
    spectra=100_000,
    vectors=1_000_000,
    blocks=100_000,
    scalars=500_000,
    rival_seconds=1.0,
    rivals_for=("frames", "spectra", "vectors", "blocks"),
    commit_costs=True,
    bec_frames=200,
    bec_messages=5000,
    many_signals_seconds=30,
    visibility_seconds=30,
    memory_bytes=(2 * GiB, 20 * GiB),
    growth_messages=60_000_000,
    finalize_bytes=(GiB, 16 * GiB),
)
