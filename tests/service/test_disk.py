"""A disk that is full, broken, read-only or slow: reading stops, somebody is told, and when the
disk is well again the scan goes on by itself, with nothing lost and nothing twice."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import redis

from zwriter.model import Verdict
from zwriter.protocol import decode, keys
from zwriter.service import alarms as alarms_module
from zwriter.service import scan_life, scan_run
from zwriter.store import patience
from zwriter.testing.failpoints import failing
from zwriter.testing.waiting import until

FRAME = (256, 256)

# where a step of a scan's life touches the disk
STEPS = [
    "epoch.claimed",
    "journal.appending",
    "quarantine.appending",
    "chunk.written",
    "index.writing",
    "file.renaming",
    "whole.written",
    "commit.linking",
    "commit.linked",
    "device.showing",
    "points.writing",
    "signal.applied",
    "seal.metadata",
    "finish.frames",
    "finish.synced",
    "finish.finished",
    "finish.trimmed",
    "master.written",
    "master.verified",
]


class Refusing:
    """A disk that refuses a few times, and then takes everything."""

    def __init__(self, number: int, times: int = 3) -> None:
        self._number, self.left = number, times

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise OSError(self._number, os.strerror(self._number))


@pytest.fixture
def heard(own_redis) -> Iterator[Callable[[], list[str]]]:
    """The kinds of the alarms that were raised."""
    with redis.Redis.from_url(own_redis.url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(keys.alarms())
        found: list[str] = []

        def kinds() -> list[str]:
            while (message := pubsub.get_message(timeout=0.01)) is not None:
                if message["type"] == "message":
                    found.append(decode(message["data"]).data["info"]["exception_type"])
            return found

        kinds()
        yield kinds


def push(scan, numbers) -> None:
    for n in numbers:
        scan.add("mcs", "counts", n, max_shape=(None,))
        scan.add("mcs", "bad", "no" if n % 2 else [n, n], max_shape=(None, 2))
        scan.replace("det", "last", n)
        scan.point(n, {"samx": {"samx": {"value": n, "timestamp": 1.0}}})


def check(written, count: int) -> None:
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(count))
    assert written.devices["samx"]["samx"].value[:].tolist() == list(range(count))
    assert int(written.devices["det"]["last"].value[()]) == count - 1
    ledger = written.devices["mcs"]["bad"].ledger
    assert (ledger.received, ledger.quarantined) == (count, count // 2)
    signals = [signal for device in written.devices.values() for signal in device.values()]
    assert [signal.ledger.failed for signal in signals] == [None] * len(signals)
    assert written.path.with_name("S00001_master.h5").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_the_disk_refuses_is_done_when_it_does_not(
    beamline, heard, monkeypatch, step, number
):
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(scan_life, "_SETTLE", 0.0)  # all has come when the scan is closed
    refusing = Refusing(number)
    with failing(step, refusing), beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            push(scan, range(20))
        check(beamline.written(1), 20)
    assert refusing.left == 0
    assert "DiskTrouble" in heard()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"needs a file system of its own: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.parametrize("durability", ["none", "commit"])
def test_a_full_disk_is_waited_for(beamline, heard, tmp_path, durability):
    store = beamline.settings.store.model_copy(update={"durability": durability})
    redis_settings = beamline.settings.redis.model_copy(update={"queue_bytes": 2**20})
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 2**16, (100, *FRAME), np.uint16)  # 13 MB that cannot be compressed
    with small_disk(tmp_path / "disk", 32):
        beamline.root = tmp_path / "disk/data"
        beamline.settings = beamline.settings.model_copy(
            update={"root": beamline.root, "store": store, "redis": redis_settings}
        )
        ballast = tmp_path / "disk/ballast"
        with ballast.open("wb") as file, suppress(OSError):
            file.write(bytes(24 * 2**20))
        with beamline.service():
            scan = beamline.publisher.open_scan(scan_number=1)
            for frame in frames:
                scan.add("eiger", "image", frame, max_shape=(None, *FRAME))
            until(lambda: "DiskTrouble" in heard(), "the alarm")
            begun = beamline.live(1).summary()["devices"].get("eiger", {})
            assert begun.get("image", {}).get("rows", 0) < 100
            ballast.unlink()
            scan.close()
            written = beamline.written(1)
        assert written.verdict is Verdict.COMPLETE
        np.testing.assert_array_equal(written.devices["eiger"]["image"].value[...], frames)


def test_a_service_can_be_stopped_while_the_disk_is_full(beamline, heard):
    scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    with failing("file.renaming", Refusing(errno.ENOSPC, times=10**9)), beamline.service():
        push(scan, range(5))
        until(lambda: "DiskTrouble" in heard(), "the alarm")
    scan.close()
    with beamline.service():
        check(beamline.written(1), 5)


def test_a_master_file_that_a_service_could_not_write_is_written_by_the_next(beamline, heard):
    with failing("master.written", Refusing(errno.ENOSPC, times=10**9)), beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            push(scan, range(5))
        until(lambda: "DiskTrouble" in heard(), "the alarm")
    with beamline.service():
        check(beamline.written(1), 5)


def test_a_disk_that_has_no_room_for_the_master_file_is_waited_for(beamline, heard, tmp_path):
    with small_disk(tmp_path / "masters", 1):
        master = beamline.settings.master.model_copy(update={"folder": tmp_path / "masters"})
        beamline.settings = beamline.settings.model_copy(update={"master": master})
        ballast = tmp_path / "masters/ballast"
        with ballast.open("wb") as file, suppress(OSError):
            file.write(bytes(2**20))
        with beamline.service():
            with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
                push(scan, range(5))
            until(lambda: "DiskTrouble" in heard(), "the alarm")
            ballast.unlink()
            assert beamline.written(1).verdict is not None
            assert [*(tmp_path / "masters").rglob("S00001_master.h5")]


def test_a_folder_that_cannot_be_looked_into_keeps_no_service_from_starting(beamline):
    somebodys = beamline.root / "somebodys"
    (somebodys / "S9.zarr" / "zarr.json").mkdir(parents=True)
    (somebodys / "S9.zwriter").mkdir()
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            push(scan, range(5))
        check(beamline.written(1), 5)


def test_what_the_disk_did_not_keep_is_looked_at_and_written_again(beamline, heard, monkeypatch):
    """fsync says only once that something is lost."""
    monkeypatch.setattr(scan_run, "_REOPEN_PAUSE", 0.0)
    store = beamline.settings.store.model_copy(update={"durability": "commit"})
    beamline.settings = beamline.settings.model_copy(update={"store": store})
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        push(scan, range(5))
        beamline.live(1, rows=5)
        with failing("disk.syncing", Refusing(errno.EIO, times=1)):
            push(scan, range(5, 10))
            beamline.live(1, rows=10)
        scan.close()
        check(beamline.written(1), 10)
    assert "DiskTrouble" in heard()


def test_of_an_error_in_many_lines_the_first_one_is_told():
    told, stop = [], threading.Event()
    stop.set()
    disk = patience.WaitForDisk("scan 1", stop, told.append)
    with pytest.raises(OSError, match="full"):
        disk.refused(OSError("the disk is full\nat #1 in H5FDwrite"))
    assert told == ["scan 1 cannot be written, and waits until it can be: the disk is full"]


def test_a_slow_disk_raises_an_alarm(beamline, heard, monkeypatch):
    monkeypatch.setattr(alarms_module, "SLOW", 0.1)
    goes_on = threading.Event()
    with failing("chunk.written", goes_on.wait), beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            push(scan, range(5))
        try:
            until(lambda: "SlowDisk" in heard(), "the alarm")
        finally:
            goes_on.set()
        check(beamline.written(1), 5)


def test_a_signal_that_fails_raises_an_alarm(beamline, heard, monkeypatch):
    from zwriter.store.signal import SignalWriter

    original = SignalWriter.apply

    def broken(writer, items):
        if writer.name == "mcs_broken":
            raise RuntimeError("nobody has foreseen this")
        return original(writer, items)

    monkeypatch.setattr(SignalWriter, "apply", broken)
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            scan.add("mcs", "mcs_broken", 1, max_shape=(None,))
            for n in range(3):
                scan.add("mcs", "counts", n, max_shape=(None,))
        written = beamline.written(1)
    assert written.devices["mcs"]["counts"].value[:].tolist() == [0, 1, 2]
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert "nobody has foreseen this" in written.summary()["devices"]["mcs"]["mcs_broken"]["failed"]
    assert "SignalFailed" in heard()
