from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from zwriter.cli import app

UNIT = Path(__file__).parents[2] / "deploy" / "zwriter.service"


def exec_start() -> list[str]:
    (line,) = (line for line in UNIT.read_text().splitlines() if line.startswith("ExecStart="))
    return shlex.split(line.removeprefix("ExecStart="))


def test_the_unit_runs_a_command_that_there_is():
    _, name, *options = exec_start()
    command = get_command(app).commands[name]
    with command.make_context(name, options) as context:
        assert context.params["config"] == Path("/etc/zwriter/zwriter.toml")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path):
    unit = tmp_path / "zwriter.service"
    unit.write_text(UNIT.read_text().replace(exec_start()[0], sys.executable))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False
    )
    assert [line for line in checked.stderr.splitlines() if "zwriter" in line] == []
    assert checked.returncode == 0
