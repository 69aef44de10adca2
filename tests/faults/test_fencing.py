"""A service that stops for a while (SIGSTOP), is replaced, and wakes up, harms nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults import workload
from tests.faults.workload import contents
from zwriter.scan import ScanWriter

ROOT = Path(__file__).parents[2]
COUNTS = [5, 20, 42]
PROGRAM = """
import json, sys
from pathlib import Path
from tests.faults import workload
workload.write(Path(sys.argv[1]), workload.settings("none"), json.loads(sys.argv[2]))
"""
# in each kind of file that a writer changes, before and after it does
STOPS = [
    "chunk.written@9",
    "index.writing@20",
    "file.renaming@30",
    "file.renamed@60",
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


@contextmanager
def stopped(path: Path, where: str) -> Iterator[subprocess.Popen[str]]:
    """A process that writes the scan and stops at a failpoint, until it is sent SIGCONT."""
    name, _, number = where.partition("@")
    environment = os.environ | {"ZWRITER_FAILPOINTS": f"{name}=stop@{number}"}
    command = [sys.executable, "-c", PROGRAM, str(path), json.dumps(COUNTS)]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            yield process
        finally:
            process.kill()


def wake(process: subprocess.Popen[str]) -> str:
    """Let it go on to its end; what it says then."""
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    return errors


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("calm") / "S1.zarr"
    workload.write(path, workload.settings(), COUNTS)
    return contents(path)


@pytest.mark.parametrize("where", STOPS)
def test_one_that_wakes_when_its_successor_has_finished_changes_nothing(
    tmp_path: Path, calm: dict[str, Any], where: str
) -> None:
    path = tmp_path / "S1.zarr"
    with stopped(path, where) as process:
        workload.write(path, workload.settings(), COUNTS)
        before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
        errors = wake(process)
    assert "Fenced" in errors
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    assert contents(path) == calm
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["S1.zarr", "S1_master.h5"]


@pytest.mark.parametrize("where", STOPS[::3])
def test_one_that_wakes_while_its_successor_writes_changes_nothing(
    tmp_path: Path, calm: dict[str, Any], where: str
) -> None:
    path = tmp_path / "S1.zarr"
    with stopped(path, where) as process:
        writer = ScanWriter(
            path, scan_id=workload.SCAN_ID, settings=workload.settings(), master=None
        )
        workload.control_messages(writer, 1)
        workload.send(writer, "scalars", 30)
        assert "Fenced" in wake(process)
        workload.send(writer, "slices", 15)
        writer.commit()
        writer.close()
    workload.write(path, workload.settings(), COUNTS)
    assert contents(path) == calm
