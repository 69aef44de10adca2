"""What a writer leaves in its spool, and what it does when that is full."""

from __future__ import annotations

import errno
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import UsageError
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import Settings, SignalSettings
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]

LIMIT = 1024 * 1024
FRAME = np.zeros((128, 256), np.uint16)  # 64 KiB
FRAMES = SignalSettings(codec="none", chunk_bytes=FRAME.nbytes, shard_bytes=4 * FRAME.nbytes)


class Waiting:
    """How often the spool had no room, and had some again."""

    def __init__(self) -> None:
        self.errors: list[OSError] = []
        self.over = 0

    def refused(self, error: OSError) -> None:
        self.errors.append(error)
        time.sleep(0.01)

    def accepted(self) -> None:
        self.over += 1


def taken(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def test_when_it_is_full_writing_waits_for_the_server_and_shards_that_are_there_leave_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.spool._LOOK", 0.0)
    frames, waiting, most = 150, Waiting(), []

    def acquire(scan: ScanWriter) -> None:
        for n in range(frames):
            scan.add("eiger", "image", FRAME + n)
            scan.commit()
            most.append(taken(lake.folder / "spool"))

    lake.network.open = False
    with (
        lake.writer(lake.shipment(limit=LIMIT), waiting, default=FRAMES) as scan,
        ThreadPoolExecutor(1) as pool,
    ):
        acquired = pool.submit(acquire, scan)
        until(lambda: len(waiting.errors) > 20, "a full spool")
        assert len(most) < LIMIT / FRAME.nbytes
        assert waiting.errors[0].errno == errno.ENOSPC
        assert not waiting.over
        lake.network.open = True
        acquired.result()
    assert waiting.over
    assert max(most) < LIMIT + 2 * FRAME.nbytes
    value = open_scan(lake.url).devices["eiger"]["image"].value
    assert value[:, 0, 0].tolist() == list(range(frames))
    assert verify(lake.url).problems == []
    lake.check_nothing_else()


def test_what_it_has_of_a_scan_that_the_bucket_has_is_not_finalized_by_itself(lake: Lake) -> None:
    lake.close_in_outage(20, 30)
    (store,) = lake.folder.glob("spool/**/S1.zarr")
    with pytest.raises(UsageError, match=r"what the spool has of .*S1.zarr: finalize that"):
        finalize(store, Settings())
    lake.network.open = True
    with lake.writer() as scan:
        push(scan, range(30, 40))
    lake.check(40)


def test_a_scan_that_is_closed_in_an_outage_is_gone_on_with(lake: Lake) -> None:
    lake.close_in_outage(20, 40)
    assert taken(lake.folder / "spool")
    scan = lake.writer()
    push(scan, range(40, 50))
    scan.commit()
    lake.network.open = True
    push(scan, range(50, 60))
    scan.status("closed")
    scan.finish()
    scan.close()
    lake.check(60)


@pytest.mark.parametrize("finished", [False, True], ids=["going on", "finished"])
def test_a_writer_stops_while_the_server_is_gone_and_the_next_one_does_the_rest(
    lake: Lake, finished: bool
) -> None:
    stop = threading.Event()
    scan = lake.writer(lake.shipment(stop=stop))
    push(scan, range(30))
    scan.flush()
    lake.network.open = False
    push(scan, range(30, 60))
    scan.commit()
    if finished:
        lake.stop_while_finishing(scan, stop)
    scan.close()
    assert taken(lake.folder / "spool")
    lake.network.open = True
    with lake.writer() as scan:
        assert scan.finished == finished
    lake.check(60)


def test_no_secret_is_in_the_spool_nor_in_the_bucket_nor_told(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "zwriter")
    server = lake.network.server
    found: list[bytes] = []
    with lake.writer() as scan:
        push(scan, range(30))
        scan.flush()
        lake.network.answer("AccessDenied")
        push(scan, range(30, 60))
        scan.commit()
        until(lambda: lake.told, "an outage")
        found += [path.read_bytes() for path in lake.folder.rglob("*") if path.is_file()]
        found += lake.contents()
        lake.network.heal()
    found += lake.contents()
    texts = [*lake.told, *(record.getMessage() for record in caplog.records)]
    assert any("waits in the spool" in text for text in texts)
    for content in (*found, *(text.encode() for text in texts)):
        assert server.secret_access_key.encode() not in content
        assert server.access_key_id.encode() not in content
