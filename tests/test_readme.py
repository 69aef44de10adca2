"""What the README says works as it is written there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import zwriter
from zwriter.cli import app

README = (Path(__file__).parents[1] / "README.md").read_text()
STORE = "/data/S00000-00999/S00001/S00001.zarr"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that stands for `/data`, with the scan that the README looks at."""
    store = Path(STORE.replace("/data", str(tmp_path)))
    with zwriter.ScanWriter(store, scan_number=1) as scan:
        for _ in range(3):
            scan.add("eiger", "eiger_image", np.ones((8, 8), "u2"))
            scan.add("mcs", "counts", 1)
    return tmp_path


def test_its_python_runs(root: Path, redis_url: str):
    names = {"zwriter": zwriter, "frame": np.ones((512, 512), "u2")}
    for block in python_blocks():
        code = block.replace('"/data', f'"{root}').replace("redis://localhost", redis_url)
        exec(compile(code, "README.md", "exec"), names)
    assert zwriter.verify(root).exit_code == 0


def test_its_commands_on_a_scan_run(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(root)
    said = re.findall(r"^\$ \S*zwriter (.*?)(?: +#.*)?$", README, re.MULTILINE)
    commands = [line.replace("/data", str(root)) for line in said if not line.startswith("run ")]
    assert len(commands) >= 3
    for command in commands:
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 0, (command, result.output)
