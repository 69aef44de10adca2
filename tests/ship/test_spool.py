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
from tests.ship.lake import SETTINGS, Lake
from zwriter.errors import StoreError, UsageError
from zwriter.model import Verdict
from zwriter.objects import place
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import Settings, SignalSettings, SpoolSettings
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


def test_who_finalizes_waits_for_what_passes_and_not_for_long(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = lake.writer()
    push(scan, range(20))
    scan.flush()
    scan.close(keep=True)
    spool = SpoolSettings(folder=lake.folder / "spool")
    settings = Settings(storage=lake.network.options, spool=spool)
    lake.network.answer("SlowDown", method="PUT", key="*zarr.json")
    monkeypatch.setattr("zwriter.service.finalize._PATIENCE", 0.3)
    with pytest.raises(StoreError, match=r"not all sent.*SlowDown"):
        finalize(lake.url, settings)
    monkeypatch.setattr("zwriter.service.finalize._PATIENCE", 60.0)
    lake.network.heal()
    lake.network.answer("SlowDown", times=2, method="PUT", key="*zarr.json")
    assert finalize(lake.url, settings)[0] is Verdict.ABORTED
    assert verify(lake.url).problems == []


@pytest.mark.parametrize("when", ["while it is written", "between two writers"])
def test_a_scan_that_was_removed_from_the_bucket_is_ended_in_the_spool(
    lake: Lake, when: str
) -> None:
    scan = lake.writer()
    push(scan, range(20))
    scan.flush()
    if when == "between two writers":
        scan.close()
    for url in lake.objects():
        place(url, lake.network.options).delete()
    if when == "between two writers":
        scan = lake.writer()
    push(scan, range(20, 40))
    with pytest.raises(UsageError, match=r"was removed while .*`zwriter finalize .*` ends it"):
        scan.flush()
    push(scan, range(40, 60))
    scan.commit()
    scan.close()
    assert any("was removed" in text for text in lake.told)
    (store,) = lake.folder.glob("spool/**/S1.zarr")
    finalize(store, Settings())
    assert verify(store).problems == []
    assert list(open_scan(store).record.points) == list(range(60))


def test_a_scan_that_was_never_sent_goes_to_an_endpoint_that_was_mended(lake: Lake) -> None:
    wrong = place(lake.url, lake.network.options | {"endpoint": "http://127.0.0.1:1"})
    spool = SpoolSettings(folder=lake.folder / "spool")
    scan = ScanWriter(
        wrong, scan_id="one", scan_number=1, settings=SETTINGS, spool=spool, master=None
    )
    push(scan, range(20))
    scan.commit()
    scan.close()
    with lake.writer() as scan:
        push(scan, range(20, 40))
    lake.check(40)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("S1", "the name of a store ends in .zarr"),
        ("a\\\\b/S1.zarr", "without .* and control characters"),
        ("a\nb/S1.zarr", "without .* and control characters"),
    ],
)
def test_a_path_that_cannot_be_used_leaves_nothing(lake: Lake, name: str, told: str) -> None:
    path = place(f"s3://{lake.bucket}/data/{name}", lake.network.options)
    with pytest.raises(UsageError, match=told):
        ScanWriter(path, spool=SpoolSettings(folder=lake.folder / "spool"))
    assert not (lake.folder / "spool").exists()


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
