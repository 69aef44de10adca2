"""A writer that is killed at any step, and another that goes on, leave what one would have."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import zwriter
from tests.faults import workload
from tests.faults.forks import Forks

pytestmark = pytest.mark.slow

LONG = "ZWRITER_SOAK" in os.environ
PASSES = ("first", "middle", "last") if LONG else ("middle",)
DURABILITY = "commit" if LONG else "none"  # it takes its time to sync
COUNTS = [5, 20, 42]
IN_SOURCES = {
    name
    for path in Path(zwriter.__file__).parent.rglob("*.py")
    for name in re.findall(r'failpoint\("([a-z.]+)"\)', path.read_text())
}
OF_SERVICE = {name for name in IN_SOURCES if name.startswith("ingest.")}  # see tests/service
OF_SHIPMENT = {name for name in IN_SOURCES if name.startswith("ship.")}  # on the way to a bucket
OF_TAKEOVER = {name for name in IN_SOURCES if name.startswith("takeover.")}


def order_for(name: str) -> dict[str, Any]:
    """A scan in which the failpoint is passed."""
    return {
        "counts": COUNTS,
        "durability": "commit" if name == "disk.syncing" else DURABILITY,
        # another writer is alive, from whom the scan is taken over, in one step or two
        "rival": name in OF_TAKEOVER,
        "plain": name == "takeover.exchanging",
    }


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> dict[str, Any]:
    """What an undisturbed writer leaves."""
    path = tmp_path_factory.mktemp("calm") / "S1.zarr"
    assert forks.write(path, **order_for(""))["status"] == 0
    return workload.contents(path)


@pytest.fixture(scope="module")
def passes(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> Callable[[dict[str, Any]], dict[str, int]]:
    """How often each failpoint is passed in a scan."""

    @cache
    def of_scan(order: str) -> dict[str, int]:
        path = tmp_path_factory.mktemp("counted") / "S1.zarr"
        found: dict[str, int] = forks.write(path, **json.loads(order))["passes"]
        return found

    return lambda order: of_scan(json.dumps(order))


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", sorted(IN_SOURCES - OF_SERVICE - OF_SHIPMENT))
def test_a_scan_that_is_killed_at_a_failpoint_and_continued_is_as_if_nothing_had_happened(
    tmp_path: Path,
    forks: Forks,
    calm: dict[str, Any],
    passes: Callable[[dict[str, Any]], dict[str, int]],
    name: str,
    which: str,
) -> None:
    order = order_for(name)
    count = passes(order)[name]
    number = {"first": 1, "middle": (count + 1) // 2, "last": count}[which]
    path = tmp_path / "S1.zarr"
    killed = forks.write(path, **order, failpoints=f"{name}=kill@{number}")
    assert killed["status"] == -signal.SIGKILL
    assert forks.write(path, **order_for(""))["status"] == 0
    assert workload.contents(path) == calm
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["S1.zarr", "S1_master.h5"]
