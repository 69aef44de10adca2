"""Redis is stopped in mid-scan and comes back, with and without what it held."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from zwriter.model import Verdict


class RedisThatStops:
    """A Redis at a fixed place, which can be stopped and started."""

    def __init__(self, folder: Path, until: Callable[..., None]) -> None:
        self.url = f"unix://{folder}/redis.sock"
        self._folder = folder
        self._until = until

    def start(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("needs redis-server")
        command = [program, "--port", "0", "--unixsocket", "redis.sock", "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        self._process = subprocess.Popen(
            command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._until(self._answers, "Redis to start")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        shutil.rmtree(self._folder / "appendonlydir")

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url, retry=None) as client:
            try:
                return bool(client.info("server")["process_id"] == self._process.pid)
            except redis.ConnectionError:
                return False


@pytest.fixture
def broker(until) -> Iterator[RedisThatStops]:
    with tempfile.TemporaryDirectory(prefix="zw-") as folder:
        broker = RedisThatStops(Path(folder), until)
        broker.start()
        yield broker
        broker.stop()


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [False, True], ids=["keeps its data", "forgets its data"])
def test_a_scan_goes_on_after_redis_was_away(broker, beamline_at, tmp_path, forgets):
    with beamline_at(broker.url, tmp_path) as beamline, beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        for i in range(10):
            scan.add("mcs", "counts", i, max_shape=(None,))
            scan.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
        beamline.live(1, rows=10)
        broker.stop()
        if forgets:
            broker.forget()
        broker.start()
        for i in range(10, 20):
            scan.add("mcs", "counts", i, max_shape=(None,))
            scan.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
        scan.close()
        written = beamline.written(1)
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(20))
    assert written.devices["samx"]["samx"].value[:].tolist() == list(range(20))
    assert written.verdict is Verdict.COMPLETE
