"""A service that stops for a while (SIGSTOP), is replaced, and wakes up, harms nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults import workload
from tests.faults.forks import Forks
from tests.faults.steps import COUNTS
from tests.faults.workload import contents
from zwriter.scan import ScanWriter

pytestmark = pytest.mark.slow

# in each kind of file that a writer changes, before and after it does
STOPS = [
    "chunk.written@9",
    "index.writing@20",
    "file.renaming@30",
    "file.renamed@60",
    "document.writing@5",
    "whole.written@4",
    "commit.linking@5",
    "commit.linked@8",
    "device.showing@6",
    "journal.appending@3",
    "quarantine.appending@4",
    "seal.metadata@2",
    "finish.frames@1",
    "finish.synced@1",
]


def stopping(where: str) -> dict[str, Any]:
    """The order for a writer that stops at a failpoint."""
    return {"counts": COUNTS, "durability": "none", "failpoints": where.replace("@", "=stop@")}


@pytest.mark.parametrize("where", STOPS)
def test_one_that_wakes_when_its_successor_has_finished_changes_nothing(
    tmp_path: Path, forks: Forks, calm: dict[str, Any], where: str
) -> None:
    path = tmp_path / "S1.zarr"
    with forks.stopped(path, **stopping(where)) as wake:
        workload.write(path, workload.settings(), COUNTS)
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        woken = wake()
    assert "Fenced" in woken["error"]
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert contents(path) == calm
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["S1.zarr", "S1_master.h5"]


@pytest.mark.parametrize("where", STOPS[::3])
def test_one_that_wakes_while_its_successor_writes_changes_nothing(
    tmp_path: Path, forks: Forks, calm: dict[str, Any], where: str
) -> None:
    path = tmp_path / "S1.zarr"
    with forks.stopped(path, **stopping(where)) as wake:
        writer = ScanWriter(
            path, scan_id=workload.SCAN_ID, settings=workload.settings(), master=None
        )
        workload.control_messages(writer, 1)
        workload.send(writer, "scalars", 30)
        assert "Fenced" in wake()["error"]
        workload.send(writer, "slices", 15)
        writer.commit()
        writer.close()
    workload.write(path, workload.settings(), COUNTS)
    assert contents(path) == calm
