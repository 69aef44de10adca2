"""A service whose root is in a bucket: what dies, and where the scan goes on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import pytest

from tests.service.conftest import Beamline
from tests.service.disturbed import SERVICE, arrays, push
from zwriter.errors import BeingWritten
from zwriter.model import Verdict
from zwriter.objects import place
from zwriter.reader import open_scan, verify
from zwriter.service.finalize import finalize
from zwriter.settings import SpoolSettings
from zwriter.ship import Spool
from zwriter.testing.fixtures import any_redis
from zwriter.testing.scans import names_in
from zwriter.testing.waiting import until

pytestmark = pytest.mark.s3

FAILPOINTS = [
    "ship.claimed",
    "ship.sending",
    "ship.log_sent",
    "ship.shards_sent",
    "ship.piece_sent",
    "ship.documents_sent",
    "ship.creating",
    "ship.committed",
]
ELSEWHERE = [
    "ship.claimed",
    "ship.piece_sent",
    "ship.documents_sent",
    "ship.finishing",
    "ship.finished",
]
AT_THE_END = ["ship.finishing", "ship.finished", "ship.cleaned", "master.written"]


@pytest.fixture
def beamline(own_redis, tmp_path, bucket, beamline_in):
    with beamline_in(own_redis.url, f"s3://{bucket}/data", tmp_path / "spool") as beamline:
        yield beamline


@contextlib.contextmanager
def service(beamline, spool: Path, failpoints: str = "") -> Iterator[subprocess.Popen]:
    """A service on a machine of its own, with the spool there, that is killed when the block is
    left, or at a failpoint."""
    settings = beamline.settings.model_dump(mode="json")
    settings["redis"]["url"] = beamline.url  # model_dump hides it
    settings["spool"]["folder"] = str(spool)
    command = [sys.executable, "-c", SERVICE, json.dumps(settings)]
    environment = os.environ | {"ZWRITER_FAILPOINTS": failpoints}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a service writes of the same scan when nothing happens to it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with (
        any_redis(folder) as redis,
        contextlib.closing(Beamline(redis.url, folder / "data")) as beamline,
        beamline.service(),
    ):
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        push(scan, range(60))
        scan.close()
        return arrays(beamline.written(1))


def test_a_scan_is_finished_in_the_bucket_with_a_master_file_and_nothing_stays_behind(
    beamline, tmp_path
):
    scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    with beamline.service():
        push(scan, range(30))
        scan.close()
        written = beamline.finished(1)
    assert written.verdict is Verdict.COMPLETE
    report = verify(written.path)
    assert not report.problems
    assert not report.gaps
    folder = written.path.parent
    assert names_in(folder) == ["S00001.zarr", "S00001_master.h5"]
    assert names_in(place(str(beamline.root))) == ["S00000-00999"]
    assert [path for path in (tmp_path / "spool").rglob("*") if path.is_file()] == []
    master = tmp_path / "master.h5"
    master.write_bytes((folder / "S00001_master.h5").read_bytes())
    with h5py.File(master) as file:
        assert file["entry/collection/devices/mcs/counts/value"].shape == (30,)


def test_a_bucket_that_is_gone_when_a_scan_begins_is_waited_for(beamline, bucket, storage):
    with beamline.service():
        storage.filesystem.call_s3("delete_bucket", Bucket=bucket)
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        push(scan, range(30))
        spooled = Spool(beamline.settings.spool, beamline.store(1)).store
        until((spooled / "zarr.json").exists, "the scan in the spool")
        scan.close()
        storage.filesystem.call_s3("create_bucket", Bucket=bucket)
        assert beamline.finished(1).verdict is Verdict.COMPLETE


@pytest.mark.outage
def test_another_machine_goes_on_with_what_the_bucket_has_and_what_redis_has(
    beamline, tmp_path, expected
):
    scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    for machine, begin in enumerate((0, 20, 40)):
        with service(beamline, tmp_path / f"machine-{machine}"):
            push(scan, range(begin, begin + 13))
            beamline.live(1, rows=begin + 1)
            push(scan, range(begin + 13, begin + 20))
    scan.close()
    with service(beamline, tmp_path / "last"):
        written = beamline.finished(1)
    assert written.verdict is Verdict.COMPLETE
    assert arrays(written) == expected
    assert not verify(written.path).problems


@pytest.mark.outage
@pytest.mark.parametrize(
    ("failpoint", "other_machine"),
    [
        *((failpoint, False) for failpoint in (*FAILPOINTS, *AT_THE_END)),
        *((failpoint, True) for failpoint in ELSEWHERE),
    ],
)
def test_whatever_step_a_service_dies_at_the_scan_goes_on(
    beamline, tmp_path, expected, failpoint, other_machine
):
    scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    # a log is sent only if there is more of it: a busy machine may send it twice in all
    at_pass = {"ship.claimed": 1, "ship.log_sent": 2, "ship.piece_sent": 1}.get(failpoint, 3)
    at_pass = 1 if failpoint in AT_THE_END else at_pass
    with service(beamline, tmp_path / "first", f"{failpoint}=kill@{at_pass}") as process:
        for n in range(60 if failpoint in AT_THE_END else 30):
            push(scan, [n])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        if failpoint in AT_THE_END:
            scan.close()
        process.wait(60)
    with service(beamline, tmp_path / ("second" if other_machine else "first")):
        if failpoint not in AT_THE_END:
            push(scan, range(30, 60))
            scan.close()
        written = beamline.finished(1)
        assert written.verdict is Verdict.COMPLETE
        assert not verify(written.path).problems
    assert arrays(open_scan(written.path)) == expected


@pytest.mark.parametrize("other_machine", [False, True], ids=["same machine", "another machine"])
def test_a_scan_whose_service_is_dead_is_finalized_with_what_was_committed(
    beamline, tmp_path, monkeypatch, other_machine
):
    scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    with service(beamline, tmp_path / "first"):
        push(scan, range(20))
        beamline.live(1, rows=20)
        spool = SpoolSettings(folder=tmp_path / "first")
        here = beamline.settings.model_copy(update={"spool": spool})
        with pytest.raises(BeingWritten, match="is being written by process"):
            finalize(beamline.store(1), here)
    if other_machine:
        monkeypatch.setattr("zwriter.ship.ownership._ALIVE", 0.0)
        spool = SpoolSettings(folder=tmp_path / "second")
    settings = beamline.settings.model_copy(update={"spool": spool})
    verdict, master = finalize(beamline.store(1), settings)
    assert verdict is Verdict.ABORTED
    assert master.exists()
    written = open_scan(beamline.store(1))
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(20))
    assert not verify(written.path).problems
    assert names_in(place(str(beamline.root))) == ["S00000-00999"]
    assert finalize(str(beamline.store(1)), settings)[0] is Verdict.ABORTED
