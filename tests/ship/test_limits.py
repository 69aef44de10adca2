"""A spool that is small: what has left it, what cannot, and who waits for it."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.ship.lake import Lake, finishing
from zwriter.errors import Fenced, StoreError
from zwriter.model import Verdict
from zwriter.objects import place
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings
from zwriter.ship import Shipment
from zwriter.store.shard_index import FIRST_CHUNK
from zwriter.testing.s3 import S3Server
from zwriter.testing.s3_faults import s3_faults
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]

LIMIT = 1024 * 1024
FRAME = np.zeros((64, 64), np.uint16)  # 8 KiB
FRAMES = SignalSettings(codec="none", chunk_bytes=FRAME.nbytes, shard_bytes=4 * FRAME.nbytes)
NEVER_SEALED = FRAMES.model_copy(update={"shard_bytes": 255 * FRAME.nbytes})
SHARDS = "**/eiger/image/value/c/*/0/0"


class Impatience:
    """Gives up what waits for longer than anything can that does not wait for ever."""

    def __init__(self) -> None:
        self.refusals = 0

    def refused(self, error: OSError) -> None:
        self.refusals += 1
        if self.refusals > 500:
            raise error
        time.sleep(0.01)

    def accepted(self) -> None:
        self.refusals = 0


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zwriter.ship.spool._LOOK", 0.0)


def freed(spool: Path) -> list[Path]:
    return [path for path in spool.glob(SHARDS) if path.stat().st_size <= FIRST_CHUNK]


@pytest.mark.parametrize("other_machine", [False, True], ids=["here", "another machine"])
def test_values_become_floats_after_shards_have_left_the_spool(
    lake: Lake, other_machine: bool
) -> None:
    shipment = lake.shipment()
    scan = lake.writer(shipment, default=FRAMES)
    for n in range(16):
        scan.add("eiger", "image", FRAME + n, float(n))
    scan.flush()
    shipment.spool.limit = 1
    until(lambda: len(freed(lake.folder / "spool")) >= 3, "shards to leave the spool")
    shipment.spool.limit = 2**30
    if other_machine:
        scan.close()
        scan = lake.writer(lake.shipment("second"), default=FRAMES)
    with scan:
        for n in range(16, 32):
            scan.add("eiger", "image", FRAME.astype(np.float32) + np.float32(n + 0.5), float(n))
    written = open_scan(lake.url)
    signal = written.devices["eiger"]["image"]
    assert signal.ledger.failed is None
    assert written.verdict is Verdict.COMPLETE
    assert signal.value.dtype == np.float32
    expected = [*range(16), *(n + 0.5 for n in range(16, 32))]
    assert signal.value[:, 3, 3].tolist() == expected
    assert verify(lake.url).problems == []


def write_frames(lake: Lake, shipment: Shipment) -> tuple[ScanWriter, dict[str, bytes]]:
    """16 frames, of which 12 are in sealed shards; these shards, in the bucket."""
    scan = lake.writer(shipment, default=FRAMES)
    for n in range(16):
        scan.add("eiger", "image", FRAME + n, float(n))
    scan.flush()
    url = f"{lake.url}/entry/collection/devices/eiger/image/value/c"
    return scan, {f"{url}/{n}/0/0": place(f"{url}/{n}/0/0").read_bytes() for n in range(3)}


def check_frames(lake: Lake) -> None:
    assert verify(lake.url).problems == []
    value = open_scan(lake.url).devices["eiger"]["image"].value
    assert value[:, 0, 0].tolist() == list(range(16))


def test_a_shard_that_a_late_request_has_overwritten_does_not_leave_the_spool(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 0.1)
    shipment = lake.shipment()
    scan, (overwritten, *_) = write_frames(lake, shipment)
    place(overwritten).write_bytes(b"late")
    shipment.spool.limit = 1
    until(lambda: len(freed(lake.folder / "spool")) >= 2, "shards to leave the spool")
    shipment.spool.limit = 2**30
    scan.flush()
    assert not any(path.parts[-3] == "0" for path in freed(lake.folder / "spool"))
    with scan:
        pass
    check_frames(lake)


def test_a_shard_stays_in_the_spool_if_a_request_for_it_may_still_be_done(lake: Lake) -> None:
    lake.network.answer("AccessDenied", times=1, method="PUT", key="*/image/value/c/1/0/0")
    shipment = lake.shipment()
    with write_frames(lake, shipment)[0] as scan:
        shipment.spool.limit = 1
        until(lambda: len(freed(lake.folder / "spool")) >= 2, "shards to leave the spool")
        shipment.spool.limit = 2**30
        scan.flush()
        assert not any(path.parts[-3] == "1" for path in freed(lake.folder / "spool"))
    check_frames(lake)


def test_a_shard_that_is_overwritten_after_it_left_the_spool_is_told_and_ends_the_wait(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 0.1)
    shipment = lake.shipment()
    scan, shards = write_frames(lake, shipment)
    shipment.spool.limit = 1
    until(lambda: len(freed(lake.folder / "spool")) >= 3, "shards to leave the spool")
    shipment.spool.limit = 2**30
    url = min(shards)
    place(url).write_bytes(b"late")
    scan.status("closed")
    with pytest.raises(StoreError, match="is not all sent; it is in the spool"):
        finishing(scan).result(60)
    scan.close()
    assert any("cannot be sent" in text for text in lake.told)
    place(url).write_bytes(shards[url])
    with lake.writer(default=FRAMES):
        pass
    check_frames(lake)


def test_what_cannot_leave_the_spool_stops_no_scan_while_the_server_takes_all(lake: Lake) -> None:
    cameras, frames = [f"camera-{n}" for n in range(4)], 60
    with lake.writer(lake.shipment(limit=LIMIT), Impatience(), default=NEVER_SEALED) as scan:
        for n in range(frames):
            for camera in cameras:
                scan.add(camera, "image", FRAME + n)
            scan.commit()
    for camera in cameras:
        value = open_scan(lake.url).devices[camera]["image"].value
        assert value[:, 0, 0].tolist() == list(range(frames))
    lake.check_nothing_else()


def test_what_was_put_aside_in_the_spool_stops_no_scan(lake: Lake) -> None:
    aside = lake.folder / "spool" / "aside-0" / "S0.zarr"
    aside.mkdir(parents=True)
    (aside / "shard").write_bytes(b"x" * 2 * LIMIT)
    with lake.writer(lake.shipment(limit=LIMIT), Impatience(), default=FRAMES) as scan:
        for n in range(20):
            scan.add("eiger", "image", FRAME + n)
            scan.commit()
    value = open_scan(lake.url).devices["eiger"]["image"].value
    assert value[:, 0, 0].tolist() == list(range(20))
    assert (aside / "shard").stat().st_size == 2 * LIMIT


def test_who_waits_for_room_is_told_that_another_writer_has_the_scan(
    lake: Lake, s3: S3Server
) -> None:
    def acquire() -> None:
        for n in range(20, 1000):
            first.add("eiger", "image", FRAME + n)
            first.commit()

    patience = Impatience()
    first = lake.writer(lake.shipment(limit=LIMIT), patience, default=NEVER_SEALED)
    for n in range(20):
        first.add("eiger", "image", FRAME + n)
    first.flush()
    lake.network.open = False
    with s3_faults(s3) as network, ThreadPoolExecutor(1) as pool:
        acquired = pool.submit(acquire)
        until(lambda: patience.refusals or acquired.done(), "a full spool")
        second = lake.writer(lake.shipment("second", network), default=FRAMES)
        lake.network.open = True
        with pytest.raises(Fenced, match="another writer has taken the scan over"):
            acquired.result()
        with contextlib.suppress(Fenced):
            first.close()
        second.finish()
        second.close()
    assert len(open_scan(lake.url).devices["eiger"]["image"].value) == 20
