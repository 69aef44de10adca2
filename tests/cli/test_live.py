from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
import pytest
import redis
from typer.main import get_command

from zwriter.cli import app
from zwriter.protocol import ScanStatus, decode, keys
from zwriter.settings import Settings
from zwriter.testing.waiting import until

ABSENT = "unix:///nobody-listens-here.sock"


def test_simulate_publishes_a_scan_of_the_devices_that_were_named(cli, redis_url: str):
    result = cli(
        "simulate", "--redis", redis_url, "--device", "adc:scalars:x5:20Hz", "--seconds", "0.2"
    )
    assert result.exit_code == 0
    assert result.stdout.startswith("scan 1 ")
    assert result.stdout.endswith("4 updates\n")
    with redis.Redis.from_url(redis_url) as client:
        status = ScanStatus.of(decode(client.get(keys.scan_status())))
        assert status.status == "closed"
        assert client.xlen(keys.async_signal(status.scan_id, "adc", "adc_value")) == 4


def test_the_next_simulated_scan_has_the_next_number(cli, redis_url: str):
    short = ("simulate", "--redis", redis_url, "--device", "ragged", "--seconds", "0.1")
    cli(*short, "--scan-number", "41")
    assert cli(*short).stdout.startswith("scan 42 ")


def test_replay_sends_what_was_captured(cli, redis_url: str, tmp_path: Path):
    capture = tmp_path / "capture.msgpack.gz"
    with gzip.open(capture, "wb") as file:
        file.write(msgpack.packb({"format": "bec-capture-1", "snapshot": {}}))
        file.write(msgpack.packb([0.0, [b"SET", b"a", b"1"]]))
        file.write(msgpack.packb([3600.0, [b"SET", b"b", b"2"]]))
    result = cli("replay", capture, "--redis", redis_url, "--speed", "inf")
    assert (result.exit_code, result.stdout) == (0, "2 commands\n")
    with redis.Redis.from_url(redis_url) as client:
        assert client.mget("a", "b") == [b"1", b"2"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("simulate", "--redis", ABSENT, "--device", "nonsense"),
        ("simulate", "--redis", "nonsense://"),
        ("replay", __file__, "--redis", ABSENT, "--speed", "0"),
        ("replay", "/nothing/there", "--redis", ABSENT),
        ("run", "--config", "/nothing/there.toml"),
        ("run", "--config", __file__),
        ("run", "--redis", "nonsense"),
    ],
)
def test_wrong_usage_ends_with_2(cli, wrong: tuple[str, ...]):
    result = cli(*wrong)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr


def test_a_setting_that_is_not_known_is_named(cli, tmp_path: Path):
    config = tmp_path / "zwriter.toml"
    config.write_text("[store]\nflush = 1\n")
    result = cli("run", "--config", config)
    assert result.exit_code == 2
    assert "store.flush" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_help_of_run_has_the_defaults_of_the_settings():
    options = {option.name: option.help for option in get_command(app).commands["run"].params}
    settings = Settings()
    assert options["redis"].endswith(f"Default: {settings.redis.url.get_secret_value()}.")
    assert options["root"].endswith(f"Default: {settings.root}.")


def test_run_makes_no_folder_where_there_is_no_redis(cli, tmp_path: Path):
    root = tmp_path / "scans"
    assert cli("run", "--redis", ABSENT, "--root", root).exit_code == 6
    assert not root.exists()


@pytest.mark.parametrize("command", [("simulate",), ("run",)])
def test_without_redis_a_command_ends_with_6(cli, command: tuple[str, ...]):
    result = cli(*command, "--redis", ABSENT)
    assert result.exit_code == 6
    assert result.stderr.count("\n") == 1


def test_a_redis_that_refuses_what_is_sent_ends_a_command_with_6(cli, own_redis, tmp_path: Path):
    capture = tmp_path / "capture.msgpack.gz"
    with gzip.open(capture, "wb") as file:
        file.write(msgpack.packb({"format": "bec-capture-1", "snapshot": {}}))
        file.write(msgpack.packb([0.0, [b"SET", b"a", b"1"]]))
    with own_redis.client() as admin:
        admin.config_set("maxmemory", "1")
    for command in (("simulate",), ("replay", capture)):
        result = cli(*command, "--redis", own_redis.url)
        assert result.exit_code == 6
        assert "refuses: " in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_redis_that_dies_ends_a_simulation_with_6(cli, own_redis):
    with ThreadPoolExecutor() as pool, own_redis.client() as client:
        killed = pool.submit(kill_once_a_scan_is_open, client, own_redis.pid)
        result = cli("simulate", "--redis", own_redis.url, "--seconds", "600")
        killed.result()
    assert result.exit_code == 6
    assert "does not answer" in result.stderr
    assert result.stderr.count("\n") == 1


def kill_once_a_scan_is_open(client: redis.Redis, pid: int) -> None:
    until(lambda: client.exists(keys.scan_status()), "the scan")
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("directory", ["file", "/proc/demo"])
def test_a_demo_that_cannot_write_ends_with_2(cli, tmp_path: Path, directory: str):
    (tmp_path / "file").touch()
    result = cli("demo", tmp_path / directory)
    assert result.exit_code == 2
    assert "cannot be used" in result.stderr
    assert result.stderr.count("\n") == 1


def test_run_writes_what_is_published_and_ends_well_when_it_is_asked_to(
    cli, redis_url: str, tmp_path: Path
):
    command = [sys.executable, "-m", "zwriter.cli", "run", "--redis", redis_url, "--root", tmp_path]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "zwriter is ready" not in process.stderr.readline():
            assert process.poll() is None
        cli("simulate", "--redis", redis_url, "--device", "pco:frames:8x8", "--seconds", "0.2")
        while "COMPLETE" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 0
    (line,) = json.loads(cli("ls", tmp_path, "--json").stdout)
    assert (line["scan_number"], line["verdict"]) == (1, "COMPLETE")
    assert cli("verify", tmp_path).exit_code == 0
