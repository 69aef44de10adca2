"""The captured scan as a finished store: replayed to a real Redis, written by `zwriter run`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zwriter.testing.fixtures import any_redis

CAPTURE = Path(__file__).parents[1] / "data" / "bec_line_scan_add.msgpack.gz"


def zwriter(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "zwriter.cli", *map(str, arguments)]


@pytest.fixture(scope="session")
def captured_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished store of the captured scan; not to be changed."""
    root = tmp_path_factory.mktemp("captured")
    store = root / "S00000-00999/S00001/S00001.zarr"
    with any_redis(tmp_path_factory.mktemp("redis")) as redis:
        run = zwriter("run", "--redis", redis.url, "--root", root)
        service = subprocess.Popen(run, stderr=subprocess.PIPE, text=True)
        assert service.stderr is not None
        try:
            assert any("is ready" in line for line in service.stderr)
            replay = zwriter("replay", CAPTURE, "--redis", redis.url, "--data-root", root)
            subprocess.run([*replay, "--speed", "100"], check=True)
            deadline = time.monotonic() + 300
            while not store.exists() or store.with_suffix(".zwriter").exists():
                assert service.poll() is None, "the service ended by itself"
                assert time.monotonic() < deadline, "waited in vain for the scan to be finished"
                time.sleep(0.05)
        finally:
            service.send_signal(signal.SIGTERM)
            service.communicate()
    assert service.returncode == 0
    assert store.with_name("S00001_master.h5").exists()
    return store
