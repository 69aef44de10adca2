"""Another machine goes on with a scan; and whatever the first has sent, has held or still has in
its spool when it comes back, the scan is what the second makes of it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake
from zwriter.errors import UsageError
from zwriter.objects import ObjectPath
from zwriter.objects import place as place_anywhere
from zwriter.ship.bucket import Bucket
from zwriter.ship.logs import LogShipment
from zwriter.ship.outage import Outage
from zwriter.store.framed import FramedLog
from zwriter.store.layout import DEVICES, own_attributes
from zwriter.store.log_parts import open_log
from zwriter.testing.failpoints import at_pass, failing
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def begin_and_die(lake: Lake) -> None:
    """The first machine writes 30 of 60, of which the bucket has 20, and is gone."""
    lake.close_in_outage(20, 30)
    lake.network.open = True


def aside(lake: Lake, spool: str = "spool") -> list[Path]:
    """Stores that are put aside in a spool."""
    return sorted((lake.folder / spool).glob("aside-*/*.zarr/zarr.json"))


def place(url: str) -> ObjectPath:
    """An object, past the network that writers use."""
    path = place_anywhere(url)
    assert isinstance(path, ObjectPath)
    return path


def state_of(lake: Lake) -> list[object]:
    return [lake.objects(), lake.contents()]


def test_who_sends_much_of_one_device_shows_life_meanwhile(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.claim._FRESH", 0.0)
    monkeypatch.setattr("zwriter.ship.claim._SIGNS_EACH", 0.0)
    lake.network.open = False
    with lake.writer() as scan:
        for n in range(60):
            scan.add("eiger", "image", np.full((64, 64), n, np.uint16))
        lake.network.open = True
        scan.flush()
    put = [request.key for request in lake.requests("PUT", "")]
    shards = [number for number, key in enumerate(put) if "/value/c/" in key]
    assert len(shards) > 5
    assert any(key.endswith("/alive") for key in put[shards[0] : shards[-1]])


def test_who_sends_one_object_for_long_shows_life_meanwhile(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.claim._SIGNS_EACH", 0.0)
    monkeypatch.setattr("zwriter.ship.bucket._MEANWHILE", 0.05)
    with lake.writer() as scan:
        sent = lake.network.hold(method="PUT", key="*/value/c/*")
        scan.add("eiger", "image", np.zeros((64, 64), np.uint16))
        scan.commit()
        sent.wait()
        met = len(lake.network.log)
        until(lambda: any(r.key.endswith("/alive") for r in lake.network.log[met:]), "a sign")
        sent.release()


def test_a_finished_scan_stays_as_it_is_when_the_machine_that_began_it_comes_back(
    lake: Lake,
) -> None:
    begin_and_die(lake)
    with lake.writer(lake.shipment("second")) as second:
        push(second, range(20, 60))
    finished = state_of(lake)
    with pytest.raises(UsageError, match="is finished"):
        lake.writer()
    assert state_of(lake) == finished
    lake.check(60, "second")
    assert len(aside(lake)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "eiger/image/value/zarr.json",
        "eiger/image/value/c/0/0/0",  # sealed since then
        "mcs/counts/timestamp/zarr.json",
        "det/last/value/*",
    ],
)
def test_what_a_held_request_of_the_first_overwrites_is_right_in_the_finished_scan(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 0.1)
    held = held_by_the_first(lake, name)
    with lake.writer(lake.shipment("second")) as second:
        push(second, range(3, 24))
        second.flush()
        write(held)
    lake.check(24, "second")


@pytest.mark.parametrize("name", ["mcs/counts/value/c/0", "mcs/counts/value/zarr.json"])
def test_what_it_overwrites_while_the_second_finishes_is_right_as_well(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("zwriter.ship.shipment._AGAIN", 0.1)
    held = held_by_the_first(lake, name)
    shipment = lake.shipment("second")
    shipment.interval = 60.0  # then all that finishing adds is sent at once
    with lake.writer(shipment) as second:
        push(second, range(3, 24))
        second.flush()
        second.status("closed")
        last_of_three_devices = at_pass(lambda: write(held), 3)

        def committed() -> None:
            if own_attributes(shipment.path).get("finished"):
                last_of_three_devices()

        with failing("ship.committed", committed):
            second.finish()
    lake.check(24, "second")


def held_by_the_first(lake: Lake, name: str) -> dict[str, bytes]:
    """The first machine writes 3 rows; what its requests for some objects have in them."""
    first = lake.writer()
    push(first, range(3))
    first.flush()
    first.close()
    held = {url: place(url).read_bytes() for url in lake.objects() if is_named(lake, url, name)}
    assert held
    return held


def write(held: dict[str, bytes]) -> None:
    for url, data in held.items():
        place(url).write_bytes(data)


def is_named(lake: Lake, url: str, name: str) -> bool:
    return fnmatchcase(url, f"{lake.url}/{DEVICES}/{name}")


def test_a_log_of_an_older_epoch_removes_no_part_of_a_newer_one(lake: Lake, tmp_path: Path) -> None:
    key, logs = "S1.zarr.zwriter/journal", []
    bucket = Bucket(place(lake.url).parent, Outage("a log"))
    for epoch in (1, 2):
        file = tmp_path / f"{epoch}" / "journal"
        framed = FramedLog(file)
        for n in range(40):
            framed.append(f"{n} of epoch {epoch}".encode())
        framed.close()
        logs.append(LogShipment(file, bucket, key, epoch))
    older, newer = logs
    newer.ship()
    older.ship()
    with open_log(bucket.folder / key) as log:
        assert log.read() == newer.file.read_bytes()
