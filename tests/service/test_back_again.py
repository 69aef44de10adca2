"""A machine comes back with its spool after another one has finished its scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.service.conftest import Beamline
from tests.service.disturbed import push
from tests.service.test_bucket import service
from zwriter.model import Verdict
from zwriter.objects import ObjectPath
from zwriter.protocol import RedisServer
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def content(folder: ObjectPath) -> dict[str, bytes]:
    names = [url.removeprefix(f"{folder}/") for url in folder.sizes()]
    return {name: (folder / name).read_bytes() for name in names}


def test_the_finished_scan_stays_as_it_is_and_what_the_spool_had_is_put_aside(
    own_redis: RedisServer, bucket: str, tmp_path: Path
) -> None:
    beamline = Beamline(own_redis.url, f"s3://{bucket}/data")
    folder = beamline.store(1).parent
    assert isinstance(folder, ObjectPath)
    scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
    with service(beamline, tmp_path / "first"):
        push(scan, range(10))
        beamline.live(1, rows=10)
    with service(beamline, tmp_path / "second"):
        push(scan, range(10, 20))
        scan.close()
        beamline.finished(1)
    finished = content(folder)
    with service(beamline, tmp_path / "first"):
        another = beamline.publisher.open_scan(scan_number=2, monitored=["samx"])
        push(another, range(5))
        another.close()
        assert beamline.finished(2).verdict is Verdict.COMPLETE
        assert content(folder).keys() == finished.keys()
        stores = {name: data for name, data in finished.items() if ".zarr/" in name}
        assert {name: content(folder)[name] for name in stores} == stores
        until(lambda: [*tmp_path.glob("first/aside-*/S00001.zarr")], "a store that is put aside")
    beamline.close()
