"""A scan on its way into a bucket, through a network that breaks things, and what must be there in
the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tests.service.disturbed import arrays, push
from zwriter.model import Verdict
from zwriter.objects import ObjectPath, place
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, SpoolSettings, StoreSettings
from zwriter.ship import Shipment
from zwriter.testing.s3_faults import Request, S3Faults
from zwriter.testing.scans import names_in
from zwriter.testing.waiting import until

SETTINGS = StoreSettings(
    flush_interval=0.1,
    durability="none",
    default=SignalSettings(chunk_bytes=16 * 1024, shard_bytes=64 * 1024),
)


@dataclass
class Lake:
    """A bucket that writers reach through `network`, and this test past it.

    told: the lines of all writers' outages.
    """

    network: S3Faults
    bucket: str
    folder: Path
    told: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}/data/S1.zarr"

    def shipment(
        self, spool: str = "spool", network: S3Faults | None = None, **options: Any
    ) -> Shipment:
        """options: those of Shipment; limit: that of its spool; keys: whether it is told which."""
        known = (network or self.network).options
        named = known if options.pop("keys", True) else {"endpoint": known["endpoint"]}
        path = place(self.url, named)
        assert isinstance(path, ObjectPath)
        settings = SpoolSettings(folder=self.folder / spool, limit=options.pop("limit", 2**30))
        interval = SETTINGS.flush_interval
        return Shipment(path, settings, interval=interval, tell=self.told.append, **options)

    def writer(
        self, shipment: Shipment | None = None, patience: Any = None, **settings: Any
    ) -> ScanWriter:
        shipment = shipment or self.shipment()
        return ScanWriter(
            shipment.store,
            scan_id="one",
            scan_number=1,
            settings=SETTINGS.model_copy(update=settings),
            master=None,
            patience=patience,
            shipment=shipment,
        )

    def close_in_outage(self, sent: int, rows: int) -> None:
        """A writer writes so many rows, of which so many are sent, and is gone."""
        scan = self.writer()
        push(scan, range(sent))
        scan.flush()
        self.network.open = False
        push(scan, range(sent, rows))
        scan.commit()
        scan.close()

    def stop_while_finishing(self, scan: ScanWriter, stop: Event) -> None:
        """It is being finished, in an outage, when nobody waits for it any more."""
        scan.status("closed")
        end = finishing(scan)
        until(lambda: self.told, "an outage")
        stop.set()
        with pytest.raises(OSError, match="is not all sent; it is in the spool"):
            end.result()

    def until_met(self, met: int) -> None:
        """Wait until a writer has met a fault; met: how many requests there were before it."""
        until(lambda: self.told or len(self.network.log) > met, "a request that meets the fault")

    def requests(self, method: str, part: str) -> list[Request]:
        """Those that writers made for keys that have this part."""
        return [r for r in self.network.log if r.method == method and part in r.key]

    def check(self, rows: int, spool: str = "spool") -> None:
        """The scan is what was pushed, once, and nothing else is anywhere."""
        here = self.folder / "undisturbed" / "S1.zarr"
        if not here.exists():
            with ScanWriter(here, scan_id="one", settings=SETTINGS, master=None) as scan:
                push(scan, range(rows))
        report = verify(self.url)
        assert report.problems == []
        scan = open_scan(self.url)
        assert scan.verdict is Verdict.COMPLETE
        assert arrays(scan) == arrays(open_scan(here))
        assert list(scan.record.points) == list(range(rows))
        self.check_nothing_else(spool)
        files = (str(path.relative_to(here)) for path in here.rglob("*") if path.is_file())
        there = (url.removeprefix(f"{self.url}/") for url in self.objects())
        assert folders(there) == folders(files)

    def check_nothing_else(self, spool: str = "spool") -> None:
        """Nothing lies beside the store, nor in the spool."""
        assert names_in(self._top) == ["S1.zarr"]
        assert names_in(self._top.parent) == ["data"]
        assert list((self.folder / spool).iterdir()) == []

    def objects(self) -> dict[str, int]:
        """URL -> bytes of all that is in the bucket."""
        return self._top.sizes()

    def contents(self) -> list[bytes]:
        """All that is in it."""
        top = self._top
        return [(top / url.removeprefix(f"{top}/")).read_bytes() for url in top.sizes()]

    @property
    def _top(self) -> ObjectPath:
        top = place(f"s3://{self.bucket}/data")
        assert isinstance(top, ObjectPath)
        return top


def folders(names: Iterable[str]) -> Counter[str]:
    """How many documents and chunks an array has; the keys of replaced values come in turns."""
    found = Counter[str]()
    for name in names:
        node, _, key = name.rpartition("/zarr.json") if name.endswith("zarr.json") else _split(name)
        found[f"{node} {bool(key)}"] += 1
    return found


def _split(name: str) -> tuple[str, str, str]:
    """A chunk's array, and its key: `c/0/0`, `c.0.0`, or `0.0`."""
    node, slash, key = name.partition("/c/")
    return (node, slash, key) if slash else name.rpartition("/")


def finishing(scan: ScanWriter) -> Future[Any]:
    """It is finished by a thread of its own."""
    pool = ThreadPoolExecutor(1)
    finished = pool.submit(scan.finish)
    pool.shutdown(wait=False)
    return finished
