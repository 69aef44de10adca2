"""Scans that another service has, or had, and what nobody could read for long."""

from __future__ import annotations

import os
import time

import h5py
import pytest

from zwriter.ingest import connect
from zwriter.model import Verdict
from zwriter.protocol import keys
from zwriter.reader import verify
from zwriter.settings import RedisSettings
from zwriter.store.layout import side_folder
from zwriter.testing.fixtures import any_redis


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zwriter.service.scan_run._LOOK_PAUSE", 0.1)
    monkeypatch.setattr("zwriter.service.scan_life._LONG", 1)


def test_a_service_goes_on_when_one_that_was_started_beside_it_is_stopped(beamline):
    scan = beamline.publisher.open_scan(scan_number=1)
    listener = beamline.client.pubsub()
    listener.subscribe(keys.alarms())
    with beamline.service():
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1, rows=1)
        with beamline.service():
            scan.add("mcs", "counts", 2, max_shape=(None,))
            beamline.live(1, rows=2)
        scan.add("mcs", "counts", 3, max_shape=(None,))
        beamline.live(1, rows=3)
        scan.close()
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE
    assert written.devices["mcs"]["counts"].value[:].tolist() == [1, 2, 3]
    told = [listener.get_message(timeout=1.0) for _ in range(2)]
    assert any(b"TakenOver" in (message or {}).get("data", b"") for message in told[1:])


def test_a_service_of_another_redis_leaves_a_scan_alone_that_its_own_does_not_know(
    beamline, beamline_at, tmp_path
):
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1, rows=1)
    with (
        any_redis(tmp_path / "another") as redis,
        beamline_at(redis.url, beamline.root) as other,
        other.service(),
    ):
        with other.publisher.open_scan(scan_number=2):
            pass
        other.written(2)
    with beamline.service():
        scan.add("mcs", "counts", 2, max_shape=(None,))
        scan.close()
        assert beamline.written(1).verdict is Verdict.COMPLETE


def test_a_stream_whose_name_is_not_utf8_harms_no_other(beamline):
    with beamline.service(), beamline.publisher.open_scan(scan_number=1) as scan:
        key = keys.async_signal(scan.scan_id, "other", "stream").encode()
        beamline.redis("XADD", key.replace(b"other", b"\xff"), "*", "data", b"1")
        scan.add("mcs", "counts", 1, max_shape=(None,))
    with beamline.service():
        written = beamline.written(1)
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert written.devices["mcs"]["counts"].value[:].tolist() == [1]
    assert any("cannot be used in a path" in entry.reason for entry in written.quarantine)


@pytest.mark.parametrize("lists", [True, False])
def test_what_redis_may_have_forgotten_is_never_complete(beamline, lists):
    """`lists`: whether those that say how much was pushed are still there."""
    scan = beamline.publisher.open_scan(scan_number=1)
    with beamline.service():
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.live(1, rows=1)
    scan.close()
    client = connect(RedisSettings(url=beamline.url))
    if not lists:
        for key in client.scan_iter(match=keys.async_signal_index(scan.scan_id, "*", "*")):
            client.delete(key)
    long_ago = time.time() - 2 * keys.INDEX_TTL
    for path in side_folder(beamline.store(1)).rglob("*"):
        os.utime(path, (long_ago, long_ago))
    with beamline.service():
        written = beamline.written(1)
    assert written.verdict is (Verdict.COMPLETE if lists else Verdict.COMPLETE_WITH_GAPS)


def test_a_master_file_that_somebody_else_writes_during_the_scan_stays_and_ours_is_beside_it(
    beamline,
):
    master = beamline.store(1).with_name("S00001_master.h5")
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1) as scan:
            scan.add("mcs", "counts", 1, max_shape=(None,))
            beamline.live(1, rows=1)
            with h5py.File(master, "w") as file:
                file["theirs"] = 1
        assert beamline.written(1).verdict is Verdict.COMPLETE
    with h5py.File(master) as file:
        assert list(file) == ["theirs"]
    assert verify(master.with_name(f"S00001_master_{scan.scan_id}.h5")).problems == []
