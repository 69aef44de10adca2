"""A scan that was killed on its way to the end is finished by `finalize`, killed itself or not."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults import workload
from tests.faults.forks import Forks
from tests.faults.steps import COUNTS
from zwriter.reader import open_scan
from zwriter.service.finalize import finalize
from zwriter.settings import Settings

pytestmark = pytest.mark.slow

ORDER = {"counts": COUNTS, "durability": "none"}
FINISHING = [
    *("finish.frames", "finish.consolidated", "finish.synced"),
    *("finish.finished", "master.written", "master.verified", "master.renamed"),
    *("finish.trimmed", "finish.cleaned"),
]
STARTING = ["epoch.claimed", "journal.appending", "journal.appended", "file.renaming"]
STARTING += [
    "seal.metadata",
    "file.renamed",
    "commit.linking",
    "commit.linked",
    "index.writing",
    "whole.written",
]
SETTINGS = Settings(store=workload.settings("none"))


def data(found: dict[str, Any]) -> dict[str, Any]:
    """All of these contents but for what is said of the scan's end."""
    about = ("/entry/collection/metadata", "/entry/end_time")
    master = {name: node for name, node in found["master"].items() if not name.startswith(about)}
    return {name: node for name, node in found.items() if name != "journal"} | {"master": master}


def kill(forks: Forks, path: Path, where: str, **order: Any) -> None:
    answer = forks.write(path, **ORDER, **order, failpoints=where)
    assert answer["status"] == -signal.SIGKILL


@pytest.mark.parametrize("name", FINISHING)
def test_a_scan_that_was_killed_while_it_was_finished_has_all_its_data_and_a_whole_master_file(
    tmp_path: Path, forks: Forks, calm: dict[str, Any], name: str
) -> None:
    path = tmp_path / "S1.zarr"
    kill(forks, path, f"{name}=kill@1")
    verdict, master = finalize(path, SETTINGS)
    assert data(workload.contents(path)) == data(calm)
    assert master == tmp_path / "S1_master.h5"
    assert verdict == open_scan(path).verdict
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["S1.zarr", "S1_master.h5"]


@pytest.mark.parametrize("name", STARTING + FINISHING)
def test_finalizing_that_was_killed_and_is_repeated_is_as_if_nothing_had_happened(
    tmp_path: Path, forks: Forks, name: str
) -> None:
    """A scan that was killed in the middle: what is committed then is what there is."""
    path, other = tmp_path / "one" / "S1.zarr", tmp_path / "other" / "S1.zarr"
    for scan in (path, other):
        scan.parent.mkdir()
        kill(forks, scan, "device.showing=kill@5")
    finalize(other, SETTINGS)
    kill(forks, path, f"{name}=kill@1", finalize=True)
    finalize(path, SETTINGS)
    assert data(workload.contents(path)) == data(workload.contents(other))
    assert open_scan(path).record.entries == open_scan(other).record.entries
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["S1.zarr", "S1_master.h5"]


def test_a_shard_whose_sealing_was_not_committed_is_sealed_as_the_commit_has_it(
    tmp_path: Path, forks: Forks
) -> None:
    """Its file is longer than what is in it now; its HDF5 side is not."""
    path = tmp_path / "S1.zarr"
    kill(forks, path, "seal.metadata=kill@1")
    finalize(path, SETTINGS)
    found = workload.contents(path)
    assert found["entry/collection/devices/one/scalars/value"][1] == (1200,)


def test_a_scan_whose_end_was_not_heard_is_aborted(tmp_path: Path, forks: Forks) -> None:
    kill(forks, tmp_path / "S1.zarr", "device.showing=kill@5")
    verdict, _ = finalize(tmp_path / "S1.zarr", SETTINGS)
    scan = open_scan(tmp_path / "S1.zarr")
    assert verdict == scan.verdict == "ABORTED"
    assert scan.record.reason is not None
    assert "its writer died" in scan.record.reason
