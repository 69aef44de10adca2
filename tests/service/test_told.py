"""What the service tells others."""

from __future__ import annotations

import json
import re
import threading

import h5py
import pytest

from zwriter.errors import ServiceError, UsageError
from zwriter.protocol import decode, keys
from zwriter.service import run
from zwriter.settings import Settings
from zwriter.testing.waiting import until


@pytest.fixture
def beamline(beamline_anywhere):
    """On a disk, and in a bucket."""
    return beamline_anywhere


def stopped() -> threading.Event:
    """A service that starts all the same stops at once."""
    stop = threading.Event()
    stop.set()
    return stop


def history(beamline) -> list:
    entries = beamline.client.xrevrange(keys.scan_history(), count=100)
    return [decode(fields[b"data"]).data for _, fields in entries]


def test_the_service_says_that_it_lives(beamline):
    key = keys.service_status("FileWriterManager")
    with beamline.service():
        until(lambda: beamline.client.get(key))
        message = decode(beamline.client.get(key))
        assert 0 < beamline.redis("TTL", key) <= 6
    assert (message.type, message.data["name"]) == ("StatusMessage", "FileWriterManager")
    assert message.data["status"] == 2
    assert message.data["info"]["hostname"]


def test_the_master_file_is_announced_and_done(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        key = keys.scan_file(scan.scan_id, "master")
        until(lambda: beamline.client.get(key))
        announced = decode(beamline.client.get(key))
        scan.close()
        beamline.written(1)
        done = decode(beamline.client.get(key))
    master = str(beamline.store(1).with_name("S00001_master.h5"))
    assert announced.data["file_path"] == done.data["file_path"] == master
    assert (announced.data["done"], done.data["done"]) == (False, True)
    assert done.data["successful"]
    assert done.metadata["verdict"] == "COMPLETE"


def test_a_scan_with_gaps_is_not_called_successful(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        scan.add("mcs", "counts", 1, max_shape=(None,))
        beamline.redis("XADD", keys.async_signal(scan.scan_id, "mcs", "x"), "*", "data", b"\xc1")
        scan.close()
        beamline.written(1)
    done = decode(beamline.client.get(keys.scan_file(scan.scan_id, "master")))
    assert not done.data["successful"]
    assert done.metadata["verdict"] == "COMPLETE_WITH_GAPS"
    assert done.metadata["gaps"] == {"mcs/x": {"missing": 0, "cut": 0, "quarantined": 1}}
    ((_, fields),) = beamline.client.xrevrange(keys.scan_history(), count=1)
    assert decode(fields[b"data"]).metadata == done.metadata


def test_a_scan_has_its_own_line_in_the_history(beamline):
    with beamline.service():
        for number in (1, 2):
            with beamline.publisher.open_scan(
                scan_number=number, scan_name="line_scan", monitored=["samx"], dataset_number=4
            ) as scan:
                scan.add(f"mcs{number}", "counts", [1, 2, 3], max_shape=(None,))
                scan.point(0, {"samx": {"samx": {"value": 1.0, "timestamp": 1.0}}})
            beamline.written(number)
    second, first = history(beamline)
    assert (first["scan_number"], second["scan_number"]) == (1, 2)
    assert second["scan_id"] == scan.scan_id
    assert second["exit_status"] == "closed"
    assert second["dataset_number"] == 4
    assert second["num_monitored_readouts"] == 1
    assert second["file_path"].endswith("S00002_master.h5")
    assert second["start_time"] < second["end_time"]
    info = second["stored_data_info"]
    assert set(info) == {"mcs2", "samx"}
    assert (info["mcs2"]["counts"]["shape"], info["mcs2"]["counts"]["dtype"]) == ([3], "int64")


def test_the_history_says_what_h5py_finds_in_the_file(beamline_on_disk):
    beamline = beamline_on_disk
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, baseline=["samy"]) as scan:
            scan.baseline({"samy": {"samy": {"value": 5}, "name": {"value": "text"}}})
            scan.add("mcs", "counts", 1, max_shape=(None,))
            scan.add("mcs", "events", [1.0, 2.0], max_shape=(None, None))
            scan.add("mcs", "events", [1.0], max_shape=(None, None))
            scan.replace("mcs", "last", 2.0)
            scan.replace("mcs", "names", ["a", "b"])
        beamline.written(1)
    (entry,) = history(beamline)
    with h5py.File(beamline.store(1).with_name("S00001_master.h5")) as file:
        devices = file["entry/collection/devices"]
        there = {
            device: {
                signal: {
                    "shape": list(devices[f"{device}/{signal}/value"].shape) or [1],
                    "dtype": devices[f"{device}/{signal}/value"].dtype.name,
                }
                for signal in devices[device]
            }
            for device in devices
        }
    assert entry["stored_data_info"] == there


def test_what_is_in_the_file_is_told(beamline):
    with beamline.service():
        with beamline.publisher.open_scan(
            scan_number=1, monitored=["samx"], baseline=["samy"]
        ) as scan:
            for i in range(3):
                scan.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
            scan.baseline({"samy": {"samy": {"value": 5, "timestamp": 1.0}}})
        beamline.written(1)
    content = decode(beamline.client.get(keys.file_content())).data
    assert content["data"]["samx"]["samx"]["value"] == [0, 1, 2]
    assert content["data"]["samy"]["samy"]["value"] == 5
    about = content["scan_info"]
    assert about["bec"]["status"] == "closed"
    assert about["bec"]["scan_cli_input"]
    assert about["start_time"] < about["end_time"]
    assert content["scan_info"]["bec"]["scan_number"] == 1


def test_a_scan_that_cannot_be_written_raises_an_alarm(beamline_on_disk):
    beamline = beamline_on_disk
    in_the_way = beamline.root / "S00000-00999" / "S00001"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where the scan's folder should be")
    with beamline.service(), beamline.publisher.open_scan(scan_number=1) as scan:
        until(lambda: beamline.client.get(keys.alarms()))
        key = keys.scan_file(scan.scan_id, "master")
        until(lambda: beamline.client.get(key))
        done = decode(beamline.client.get(key))
    alarm = decode(beamline.client.get(keys.alarms()))
    assert "scan 1 cannot be written" in alarm.data["info"]["error_message"]
    assert (done.data["done"], done.data["successful"]) == (True, False)


def test_a_redis_that_is_not_there_ends_the_service_at_its_start(tmp_path):
    settings = Settings(root=tmp_path, redis={"url": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(ServiceError, match="does not answer"):
        run(settings, threading.Event())


@pytest.mark.parametrize(("place", "mode"), [("disk", "link"), ("bucket", "reference")])
def test_a_mode_that_no_master_file_there_has_ends_the_service_at_its_start(
    redis_url, tmp_path, place, mode
):
    root = tmp_path / "scans" if place == "disk" else "s3://nowhere/scans"
    settings = Settings(root=root, redis={"url": redis_url}, master={"mode": mode})
    with pytest.raises(UsageError, match=f"have mode .*, not {mode}"):
        run(settings, stopped())
    assert not (tmp_path / "scans").exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"root": "/proc"}, "root /proc cannot be used"),  # not even root makes files in there
        ({"root": "{tmp}/file"}, "root {tmp}/file cannot be used"),
        ({"master": {"folder": "/proc"}}, "master.folder /proc cannot be used"),
        ({"master": {"folder": "{tmp}/file"}}, "master.folder {tmp}/file cannot be used"),
        ({"master": {"folder": "s3://bucket/masters"}}, "masters is not on a disk"),
        ({"catalog": "{tmp}"}, "catalog {tmp} is a folder"),
        ({"root": "s3:/bucket/scans"}, "give s3://"),
        ({"catalog": "gs://bucket/scans.parquet"}, "give s3://"),
        ({"path_template": "x"}, "path_template 'x' gives scans the same place"),
    ],
)
def test_settings_that_no_scan_could_be_written_with_end_the_service_at_its_start(
    redis_url, tmp_path, wrong, told
):
    (tmp_path / "file").touch()
    given = json.loads(json.dumps(wrong).replace("{tmp}", str(tmp_path)))
    settings = Settings(**{"root": tmp_path, "redis": {"url": redis_url}, **given})
    with pytest.raises(UsageError, match=re.escape(told.replace("{tmp}", str(tmp_path)))):
        run(settings, stopped())


def test_a_folder_for_master_files_is_made(redis_url, tmp_path):
    folder = tmp_path / "masters" / "here"
    settings = Settings(root=tmp_path, redis={"url": redis_url}, master={"folder": folder})
    run(settings, stopped())
    assert list(tmp_path.rglob("*")) == [folder.parent, folder]


def test_a_template_that_cannot_be_used_ends_the_service_at_its_start(tmp_path):
    with pytest.raises(UsageError, match="path_template"):
        run(Settings(root=tmp_path, path_template="{number}"), threading.Event())
