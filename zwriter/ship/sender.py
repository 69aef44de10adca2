"""All that a spool has of one scan, sent in one epoch of ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec

from zwriter.errors import Fenced, NotSynced, StoreError
from zwriter.failpoint import failpoint
from zwriter.objects import ObjectPath
from zwriter.ship.ahead import SentAhead
from zwriter.ship.bucket import Bucket
from zwriter.ship.claim import Claim
from zwriter.ship.device import DeviceShipment
from zwriter.ship.documents import NAME, Documents
from zwriter.ship.logs import LogShipment
from zwriter.ship.outage import Stopped
from zwriter.ship.ownership import SIGN_OF_LIFE, Ownership
from zwriter.ship.tree import TreeShipment
from zwriter.store.layout import DEVICES, FED_BY, LOGS
from zwriter.store.pieces import PIECES

P = ParamSpec("P")
_SIGNS_EACH = 20.0  # seconds

log = logging.getLogger(__name__)


class Sender:
    """Sends, in an epoch of ours, what a spool has. distrusted: objects that the bucket does not
    have as they were sent.

    What can be sent is, whatever is wrong with the rest.
    """

    def __init__(
        self,
        scan: Ownership,
        epoch: Claim,
        bucket: Bucket,
        pool: ThreadPoolExecutor,
        interval: float,
        distrusted: Set[str],
        ahead: SentAhead,
    ) -> None:
        self._scan, self._epoch, self._bucket = scan, epoch, bucket
        self._pool, self._interval, self._distrusted = pool, interval, distrusted
        self._ahead = ahead
        self._path, self._here = scan.spool.store, scan.spool.side
        self._documents = Documents(bucket, scan.key)
        self._tree = TreeShipment(self._path, DEVICES, bucket, self._documents, pool)
        self._logs = [
            LogShipment(self._here / name, bucket, f"{scan.side}/{name}", epoch.number)
            for name in LOGS
        ]
        self._devices: dict[str, DeviceShipment] = {}
        self._mark: bytes | None = None
        self._sign_of_life = 0.0  # when one was sent

    def send(self, *, all_of_it: bool) -> Exception | None:
        """Send what is due, or all that is committed; what is wrong with a device, if anything."""
        failpoint("ship.sending")
        self._epoch.check()
        self._ahead.look()
        for framed in self._logs:
            framed.ship()
        self._send_mark()
        self._send_sign_of_life()
        problem = None
        for name in sorted(folder.name for folder in (self._here / "commits").glob("*/")):
            problem = self._tried(self._ship_device, name, all_of_it=all_of_it) or problem
        committed = {
            name: set(device.shipped["signals"] if device.shipped else ())
            for name, device in self._devices.items()
        }
        return self._tried(self._tree.ship, committed, all_of_it=all_of_it) or problem

    def send_sealed(self) -> None:
        """Begin to send shards that will not change any more: a commit that comes later finds them
        there. If one cannot be sent, that is told by the commit."""
        for device in self._devices.values():
            self._tried(device.ship_sealed)

    def _ship_device(self, name: str, *, all_of_it: bool) -> None:
        self._send_sign_of_life()
        self._device(name).ship(all_of_it=all_of_it)

    def _tried(
        self, send: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> Exception | None:
        """What is wrong with a part of the scan, if anything: the others are sent."""
        try:
            send(*args, **kwargs)
        except (Fenced, NotSynced, Stopped):
            raise
        except Exception as error:
            log.debug("%s: a part of it is not sent", self._scan.store, exc_info=error)
            return error
        return None

    def _device(self, name: str) -> DeviceShipment:
        if name not in self._devices:
            self._devices[name] = self._new_device(name)
        return self._devices[name]

    def _new_device(self, name: str) -> DeviceShipment:
        return DeviceShipment(
            self._path / DEVICES / name,
            f"{DEVICES}/{name}",
            self._bucket,
            self._documents,
            f"{self._scan.side}/commits/{name}",
            f"{self._scan.side}/{PIECES}/{name}",
            self._epoch,
            self._scan.spool.id or "",
            self._pool,
            self._interval,
            self._distrusted,
            self._ahead,
        )

    def _send_mark(self) -> None:
        """What says that a service feeds the scan."""
        try:
            mark = (self._here / FED_BY).read_bytes()
        except FileNotFoundError:
            return
        if mark != self._mark:
            self._bucket.put(f"{self._scan.side}/{FED_BY}", mark)
            self._mark = mark

    def _send_sign_of_life(self) -> None:
        """What keeps others from taking the scan for one that nobody writes."""
        if time.monotonic() - self._sign_of_life >= _SIGNS_EACH:
            self._bucket.put(f"{self._scan.side}/{SIGN_OF_LIFE}", b"")
            self._sign_of_life = time.monotonic()

    @property
    def commits(self) -> int:
        """How many were made in the bucket."""
        return sum(device.commits for device in self._devices.values())

    def sealed(self) -> dict[Path, str]:
        """The shard files that were sent for good, and are not read here any more; their keys."""
        return {
            path: key for device in self._devices.values() for path, key in device.sealed().items()
        }

    def is_there(self, key: str) -> bool:
        """Whether the bucket has an object as it was sent, and that will stay so: no request for it
        was given up that may still be done."""
        return not self._bucket.is_uncertain(key) and self._bucket.is_as_sent(
            key, self._bucket.tag(key)
        )

    def finish(self) -> None:
        """After `send` of all of a finished store: make it finished in the bucket, with nothing in
        it that does not belong to it, and nothing beside it. Raises Overwritten."""
        root = self._tree.ship_rest()
        nodes = root["consolidated_metadata"]["metadata"]
        wanted = {self._documents.key_of(node, NAME) for node in nodes} | self._tree.keys()
        for device in self._devices.values():
            wanted |= device.keys()
        there = self._bucket.tags(self._scan.key)
        if other := {key for key in wanted if not self._bucket.is_as_sent(key, there.get(key))}:
            raise Overwritten(self._scan.store, other)
        failpoint("ship.finishing")
        self._epoch.check()
        self._tree.finish(root)
        failpoint("ship.finished")
        self._bucket.delete(sorted(there.keys() - wanted - {f"{self._scan.key}/{NAME}"}))
        self._scan.clear_beside()
        failpoint("ship.cleaned")


class Overwritten(StoreError):
    """Objects `keys` are not as they were sent: a request that was given up was done late, be it
    ours or that of the writer before us."""

    def __init__(self, store: ObjectPath, keys: Set[str]) -> None:
        super().__init__(f"{store}: {min(keys)} is not as it was sent; it is sent again")
        self.keys = keys
