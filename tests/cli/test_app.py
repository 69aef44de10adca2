from __future__ import annotations

import subprocess
import sys

import pytest
from typer.main import get_command

import zwriter
from zwriter.cli import app
from zwriter.errors import Fenced, ServiceError, StoreError, UsageError, ZwriterError

COMMANDS = get_command(app).commands


def test_the_version_is_the_packages(cli):
    assert cli("--version").stdout == f"{zwriter.__version__}\n"


def test_help_names_every_command_and_every_exit_code(cli):
    text = cli("--help").stdout
    assert all(name in text for name in COMMANDS)
    errors = (ZwriterError, UsageError, StoreError, Fenced, ServiceError)
    assert all(f"{error.exit_code}: " in text for error in errors)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_it_does(cli, command: str):
    result = cli(command, "--help")
    assert result.exit_code == 0
    assert COMMANDS[command].help


def test_an_unknown_option_is_wrong_usage(cli):
    assert cli("ls", "--nonsense").exit_code == 2


def test_help_needs_none_of_the_heavy_libraries():
    code = (
        "import sys; from zwriter.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('zarr', 'h5py', 'redis', 'numpy') if name in sys.modules])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.splitlines()[-1] == "[]"
