"""A power cut at any step: what was promised to outlast it does, and the scan that is continued is
as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import workload
from tests.faults.forks import Forks
from tests.faults.power import cut
from tests.faults.steps import OF_TAKEOVER, STEPS, order_for

LONG = "ZWRITER_SOAK" in os.environ
KINDS = [(durability, torn) for torn in (False, True) for durability in ("commit", "seal")]
CUTS = [
    (name, share, *kind)
    for number, name in enumerate(STEPS)
    for share in ((0.0, 0.3, 0.5, 0.8, 1.0) if LONG else (0.5,))
    for kind in (KINDS if LONG else [KINDS[number % len(KINDS)]])
]
AT_A_SYNC = [
    ("disk.syncing", number / 100, "commit", torn)
    for torn in (False, True)
    for number in range(0, 100, 1 if LONG else 25)
]


@pytest.fixture(scope="module")
def passes(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> Callable[[dict[str, Any]], dict[str, int]]:
    """How often each failpoint is passed in a scan."""
    known: dict[str, dict[str, int]] = {}

    def of_scan(order: dict[str, Any]) -> dict[str, int]:
        key = json.dumps(order)
        if key not in known:
            folder = tmp_path_factory.mktemp("counted")
            (folder / "data").mkdir()
            (folder / "synced").mkdir()
            order = {**order, "record": str(folder / "synced")}
            known[key] = forks.write(folder / "data" / "S1.zarr", **order)["passes"]
        return known[key]

    return of_scan


class Machine:
    """Writes a scan, has its power cut, and goes on."""

    def __init__(self, folder: Path, forks: Forks) -> None:
        self._folder, self._forks, self._boots = folder, forks, 0
        self.data = folder / "data-0"
        self.data.mkdir()

    def write(self, **order: Any) -> dict[str, Any]:
        """What `Forks.write` says; the machine has not run before, or its power was cut."""
        self.synced = self._folder / f"synced-{self._boots}"
        self.synced.mkdir()
        more = {"record": str(self.synced), "boot": f"boot {self._boots}"}
        return self._forks.write(self.data / "S1.zarr", **order, **more)

    def cut(self, torn: random.Random | None) -> None:
        self._boots += 1
        before, self.data = self.data, self._folder / f"data-{self._boots}"
        cut(before, self.synced, self.data, torn)
        shutil.rmtree(before)

    def positions(self, what: str) -> dict[str, int]:
        """Of each stream, up to where it was "committed", or found to be when "opened"."""
        path = self.synced / what
        known = json.loads(path.read_text()) if path.exists() else {}
        return {stream: int(entry.partition("-")[0]) for stream, entry in known.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "share", "durability", "torn"), [*CUTS, *AT_A_SYNC])
def test_a_scan_that_is_continued_after_a_power_cut_is_as_if_nothing_had_happened(
    tmp_path: Path,
    forks: Forks,
    calm: dict[str, Any],
    passes: Callable[[dict[str, Any]], dict[str, int]],
    name: str,
    share: float,
    durability: str,
    torn: bool,
) -> None:
    order = order_for(name, durability)
    count = passes(order)[name]
    number = min(int(share * count) + 1, count)
    rng = random.Random(f"{name} {number}") if torn else None
    machine = Machine(tmp_path, forks)
    killed = machine.write(**order, failpoints=f"{name}=kill@{number}")
    assert killed["status"] == -signal.SIGKILL
    committed = machine.positions("committed")
    machine.cut(rng)
    assert machine.write(**order_for("", durability))["status"] == 0
    if durability == "commit" and "opened" in [path.name for path in machine.synced.iterdir()]:
        opened = machine.positions("opened")
        assert all(opened.get(stream, 0) >= entry for stream, entry in committed.items())
    assert workload.contents(machine.data / "S1.zarr") == calm
    assert sorted(entry.name for entry in machine.data.iterdir()) == ["S1.zarr", "S1_master.h5"]


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("name", [step for step in OF_TAKEOVER if step != "takeover.exchanging"])
def test_the_power_may_fail_again_while_the_scan_is_being_continued(
    tmp_path: Path, forks: Forks, calm: dict[str, Any], name: str, torn: bool
) -> None:
    rng = random.Random(name) if torn else None
    machine = Machine(tmp_path, forks)
    order = order_for("", "commit")
    killed = machine.write(**order, failpoints="commit.linked=kill@9")
    assert killed["status"] == -signal.SIGKILL
    machine.cut(rng)
    killed = machine.write(**order, failpoints=f"{name}=kill@1")
    assert killed["status"] == -signal.SIGKILL
    machine.cut(rng)
    assert machine.write(**order)["status"] == 0
    assert workload.contents(machine.data / "S1.zarr") == calm


@pytest.mark.parametrize("durability", ["commit", "seal"])
def test_a_finished_scan_outlasts_a_power_cut(
    tmp_path: Path, forks: Forks, calm: dict[str, Any], durability: str
) -> None:
    machine = Machine(tmp_path, forks)
    assert machine.write(**order_for("", durability))["status"] == 0
    machine.cut(None)
    assert workload.contents(machine.data / "S1.zarr") == calm
