"""A writer that is killed at any step, and another that goes on, leave what one would have."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.faults import workload
from tests.faults.forks import Forks
from tests.faults.steps import STEPS, order_for

pytestmark = pytest.mark.slow

LONG = "ZWRITER_SOAK" in os.environ
PASSES = ("first", "middle", "last") if LONG else ("middle",)
DURABILITY = "commit" if LONG else "none"  # it takes its time to sync


def order(name: str) -> dict[str, Any]:
    return order_for(name, "commit" if name == "disk.syncing" else DURABILITY)


@pytest.fixture(scope="module")
def passes(
    tmp_path_factory: pytest.TempPathFactory, forks: Forks
) -> Callable[[dict[str, Any]], dict[str, int]]:
    """How often each failpoint is passed in a scan."""

    @cache
    def of_scan(said: str) -> dict[str, int]:
        path = tmp_path_factory.mktemp("counted") / "S1.zarr"
        found: dict[str, int] = forks.write(path, **json.loads(said))["passes"]
        return found

    return lambda scan: of_scan(json.dumps(scan))


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("name", STEPS)
def test_a_scan_that_is_killed_at_a_failpoint_and_continued_is_as_if_nothing_had_happened(
    tmp_path: Path,
    forks: Forks,
    calm: dict[str, Any],
    passes: Callable[[dict[str, Any]], dict[str, int]],
    name: str,
    which: str,
) -> None:
    count = passes(order(name))[name]
    number = {"first": 1, "middle": (count + 1) // 2, "last": count}[which]
    path = tmp_path / "S1.zarr"
    killed = forks.write(path, **order(name), failpoints=f"{name}=kill@{number}")
    assert killed["status"] == -signal.SIGKILL
    assert forks.write(path, **order(""))["status"] == 0
    assert workload.contents(path) == calm
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["S1.zarr", "S1_master.h5"]
