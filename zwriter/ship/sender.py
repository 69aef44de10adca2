"""All that a spool has of one scan, sent in one epoch of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Set
from pathlib import Path
from typing import ParamSpec

from zwriter.errors import Fenced, NotSynced, StoreError
from zwriter.failpoint import failpoint
from zwriter.objects import ObjectPath
from zwriter.ship.carrier import Carrier
from zwriter.ship.device import DeviceShipment
from zwriter.ship.documents import NAME
from zwriter.ship.logs import LogShipment
from zwriter.ship.outage import Stopped
from zwriter.ship.ownership import Ownership
from zwriter.ship.tree import TreeShipment
from zwriter.store.layout import DEVICES, FED_BY, LOGS
from zwriter.store.shard_index import FIRST_CHUNK

P = ParamSpec("P")

log = logging.getLogger(__name__)


class Sender:
    """Sends what a spool has. What can be sent is, whatever is wrong with the rest."""

    def __init__(self, scan: Ownership, carrier: Carrier) -> None:
        self._scan, self._carrier = scan, carrier
        self._epoch, self._bucket = carrier.epoch, carrier.bucket
        self._path, self._here = scan.spool.store, scan.spool.side
        self._tree = TreeShipment(self._path, DEVICES, carrier)
        self._logs = [
            LogShipment(self._here / name, self._bucket, f"{scan.side}/{name}", self._epoch.number)
            for name in LOGS
        ]
        self._devices: dict[str, DeviceShipment] = {}
        self._mark: bytes | None = None

    def send(self, *, all_of_it: bool) -> Exception | None:
        """Send what is due, or all that is committed; what is wrong with a device, if anything."""
        failpoint("ship.sending")
        self._epoch.check()
        self._epoch.show_life()
        self._carrier.ahead.look()
        for framed in self._logs:
            framed.ship()
        self._send_mark()
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
            node = f"{DEVICES}/{name}"
            device = DeviceShipment(self._path / node, node, self._scan.side, self._carrier)
            self._devices[name] = device
        return self._devices[name]

    def _send_mark(self) -> None:
        """What says that a service feeds the scan."""
        try:
            mark = (self._here / FED_BY).read_bytes()
        except FileNotFoundError:
            return
        if mark != self._mark:
            self._bucket.put(f"{self._scan.side}/{FED_BY}", mark)
            self._mark = mark

    @property
    def commits(self) -> int:
        """How many were made in the bucket."""
        return sum(device.commits for device in self._devices.values())

    def sealed(self) -> dict[Path, str]:
        """The shard files that were sent for good, and are not read here any more; their keys."""
        return {
            path: key for device in self._devices.values() for path, key in device.sealed().items()
        }

    def is_there(self, path: Path, key: str) -> bool:
        """Whether the bucket has the object of a sealed shard file as it was sent, and that will
        stay so: no request for it was given up that may still be done."""
        if self._bucket.is_uncertain(key) or (tag := self._bucket.tag(key)) is None:
            return False
        self._compare((path, key, tag))
        return self._bucket.is_as_sent(key, tag)

    def _compare(self, sealed: tuple[Path, str, str]) -> None:
        """Find out whether a sealed shard that a process before us has sent is there as it is here,
        or an older one, by a request that was done late: their heads tell."""
        path, key, tag = sealed
        if self._bucket.knows(key):
            return
        with path.open("rb") as file:
            here = file.read(FIRST_CHUNK)
        there = self._bucket.read(key, FIRST_CHUNK)
        self._bucket.compared(key, tag, same=there == here)

    def finish(self) -> None:
        """After `send` of all of a finished store: make it finished in the bucket, with nothing in
        it that does not belong to it, and nothing beside it. Raises Overwritten."""
        root = self._tree.ship_rest()
        nodes = root["consolidated_metadata"]["metadata"]
        key_of = self._carrier.documents.key_of
        wanted = {key_of(node, NAME) for node in nodes} | self._tree.keys()
        for device in self._devices.values():
            wanted |= device.keys()
        there = self._bucket.tags(self._scan.key)
        sealed = [
            (path, key, there[key])
            for device in self._devices.values()
            for path, key in device.sealed(all_of_them=True).items()
            if key in there
        ]
        self._carrier.side_by_side(self._compare, sealed)
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
