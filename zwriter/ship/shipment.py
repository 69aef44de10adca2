"""The way of one scan from a spool into a bucket, while it is written and until all of it is there.

A thread looks at the spool's commits, as any reader does, and never at the writer: whatever the
object store does, the scan goes on as long as the spool has room.
"""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from zwriter.errors import Fenced, NotSynced, ServiceError, StoreError, UsageError
from zwriter.failpoint import failpoint
from zwriter.objects import ObjectPath, contents
from zwriter.settings import SpoolSettings
from zwriter.ship.bucket import Bucket
from zwriter.ship.claim import Claim, claim, last_claim
from zwriter.ship.device import DeviceShipment, newest_commit
from zwriter.ship.documents import NAME, Documents
from zwriter.ship.logs import LogShipment
from zwriter.ship.outage import Outage, Shipping, Stopped, abandoned
from zwriter.ship.restore import restore
from zwriter.ship.spool import Spool
from zwriter.ship.tree import TreeShipment
from zwriter.store.commits import CommitLog
from zwriter.store.disk import remove, step
from zwriter.store.epochs import living_writer
from zwriter.store.scan_store import DEVICES, own_attributes, side_folder

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 4  # objects that are on their way at one time
_LOOK = 0.2  # seconds
_ALIVE = 60.0  # seconds since a writer of another machine was heard of
_AGAIN = 5.0  # seconds after a fault that nobody has foreseen


class Shipment:
    """Brings the scan that is written in `path`, in the spool, to `store`, in a bucket.

    `open` first, before anything is written there. interval: seconds between two looks; tell: gets
    a line when the object store takes nothing, and when it does again; registered: an object that
    is there as long as the scan is not finished; stop: set when nobody waits for it any more.
    """

    def __init__(
        self,
        store: ObjectPath,
        settings: SpoolSettings,
        *,
        interval: float,
        tell: Callable[[str], None] = lambda text: None,
        registered: ObjectPath | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.store, self.spool = store, Spool(settings, store)
        self._stop = stop or threading.Event()
        self.path = self.spool.store
        self.interval, self._registered = interval, registered
        self._outage = Outage(str(store), tell)
        self.bucket = Bucket(store.parent, self._outage)
        self._key, self._side = store.name, side_folder(Path(store.name)).name
        self._id = ""
        self._lost: Exception | None = None  # why nothing more may be sent
        self._finishing = threading.Event()
        self._closing = threading.Event()
        self._wake = threading.Event()
        self._done = threading.Event()
        self._claimed = False
        self.commits = 0  # that were made in the bucket
        self._flushing = threading.Condition()
        self._flushes, self._flushed = 0, 0  # how many were asked for, how many are done
        self._before: dict[str, tuple[int, int]] = {}  # the spool's commits, when it was opened
        self._thread = Shipping(target=self._run, name=f"ship-{store.stem}")

    # --- for the writer ---

    @property
    def is_finished(self) -> bool:
        """Whether the bucket has all of the scan, and this machine nothing of it."""
        try:
            return self.spool.id is None and bool(own_attributes(self.store).get("finished"))
        except ServiceError:
            return False

    def living_writer(self) -> str | None:
        """Who writes the scan, as far as that can be known: a process of this machine that is
        alive, or one of another that has sent something in the last minute."""
        if here := living_writer(self.spool.side):
            return here
        number, last = last_claim(self.bucket, f"{self._side}/epochs")
        if not number or last.get("spool") == self.spool.id:
            return None
        commits = (self._newest(device) for device in self.bucket.names(f"{self._side}/commits"))
        seconds = time.time() - max([last["time"], *(c["time"] for c in commits if c)])
        return f"process {last['pid']} on {last['host']}" if seconds < _ALIVE else None

    def _newest(self, device: str) -> dict[str, Any] | None:
        return newest_commit(self.bucket, f"{self._side}/commits/{device}")[1]

    def open(self) -> None:
        """Make the spool what the scan is to go on from: itself; or, if another machine went on
        with it, or if it has lost something, what the bucket has.

        Raises UsageError if the bucket has a finished scan there, StoreError for a damaged one.
        """
        known = self.spool.id
        self._before = self._commits_here()
        try:
            if known is None:
                _refuse_finished(self.store)
            number, last = self._look()
        except ServiceError as error:
            log.warning("%s: %s; the scan is written to the spool", self.store, error)
            self._id = known or self._begin()
            return
        if number and (last.get("spool") != known or self._is_behind()):
            self._bring_back(known)
        else:
            self._id = known or self._begin()

    def start(self) -> None:
        self._thread.start()

    def check(self) -> None:
        """Raises Fenced if another writer has taken over in the bucket, NotSynced if the scan is to
        be opened again."""
        if self._lost is not None:
            raise self._lost

    @step
    def room(self) -> None:
        """Return when there is room in the spool."""
        if self.spool.full and not self._done.is_set():
            self._wake.set()
            raise OSError(
                errno.ENOSPC,
                f"the spool {self.spool.folder} has its limit of {self.spool.limit} bytes, which"
                " wait for the object store (spool.limit)",
            )

    def flush(self) -> None:
        """Return when all that is committed is in the bucket, and readable.

        Raises Fenced, NotSynced as `check` does.
        """
        with self._flushing:
            self._flushes += 1
            number = self._flushes
            self._wake.set()
            while self._flushed < number and not self._done.is_set():
                self.check()
                self._flushing.wait(_LOOK)

    def finish(self) -> None:
        """Return when all of the finished store is in the bucket, and readable.

        Raises Fenced; OSError if `stop` is set while the object store takes nothing.
        """
        self._finishing.set()
        self._wake.set()
        while not self._done.wait(_LOOK):
            self.check()
            if self._stop.is_set() and self._outage.lasts:
                raise OSError(errno.ETIMEDOUT, f"{self.store} is not all sent; it is in the spool")
        self.check()

    def close(self) -> None:
        """Send what is committed, if the object store takes it now, and let go of everything."""
        self._closing.set()
        self._wake.set()
        if self._outage.lasts:
            self._outage.stop()
        if self._thread.ident is not None:
            while self._thread.is_alive():
                self._thread.join(_LOOK)
                if self._outage.lasts:
                    self._outage.stop()
        if self._done.is_set():
            self.spool.remove()

    # --- whose is the scan ---

    def _begin(self) -> str:
        if self.spool.store.exists() or self.spool.side.exists():
            self._put_aside()  # nobody knows what this is
        return self.spool.begin()

    def _put_aside(self) -> None:
        aside = self.spool.folder / f"aside-{uuid4().hex}"
        aside.mkdir(parents=True)
        for folder in (self.spool.side, self.spool.store):
            if folder.exists():
                folder.rename(aside / folder.name)
        log.warning("%s: what the spool had of it is put aside, in %s", self.store, aside)

    def _look(self) -> tuple[int, dict[str, Any]]:
        """The last epoch in the bucket. Raises ServiceError at once if there is no answer."""
        contents(self.store.parent)
        return last_claim(self.bucket, f"{self._side}/epochs")

    def _is_behind(self) -> bool:
        """Whether the spool lacks what it has sent: a power cut may do that."""
        for device in self.bucket.names(f"{self._side}/commits"):
            commit = self._newest(device)
            of, *sent = commit.get("spool", ("", 0, 0)) if commit else ("", 0, 0)
            if of == self.spool.id and tuple(sent) > self._before.get(device, (0, 0)):
                return True
        return False

    def _commits_here(self) -> dict[str, tuple[int, int]]:
        here = {}
        for folder in (self.spool.side / "commits").glob("*/"):
            if commit := next(CommitLog(folder).readable(), None):
                here[folder.name] = (commit["epoch"], commit["seq"])
        return here

    def _bring_back(self, known: str | None) -> None:
        """Put what the bucket has in place of what the spool has."""
        log.warning("%s: is continued from what the bucket has", self.store)
        mark = uuid4().hex
        claim(self.bucket, f"{self._side}/epochs", mark)  # nobody else writes it from now on
        if known is not None or self.spool.store.exists():
            self._put_aside()
        into = self.spool.store.with_name(f".{self.spool.store.name}.{mark}")
        into.mkdir(parents=True)
        try:
            restore(self.bucket, self._key, self._side, DEVICES, into)
            self._id = self.spool.begin(into / "side")
            (into / "store").rename(self.spool.store)
            failpoint("ship.restored")
            (into / "side").rename(self.spool.side)
        finally:
            remove(into)
        self._before = self._commits_here()
        claim(self.bucket, f"{self._side}/epochs", self._id)

    # --- the thread ---

    def _run(self) -> None:
        try:
            with ThreadPoolExecutor(SIDE_BY_SIDE, "ship") as pool:
                while not self._done.is_set() and not self._stopped():
                    try:
                        self._send_all(pool)
                    except (Fenced, NotSynced) as error:
                        self._lost = error
                        return
                    except Stopped:
                        return
                    except Exception:
                        log.exception("%s: cannot be sent; it is tried again", self.store)
                        self._wake.wait(_AGAIN)
                        if abandoned():
                            return
        except Exception as error:  # pragma: no cover - what a thread may not die of unheard
            self._lost = error
            log.exception("%s: is not sent any more", self.store)

    def _stopped(self) -> bool:
        return self._closing.is_set() and not self._finishing.is_set()

    def _send_all(self, pool: ThreadPoolExecutor) -> None:
        if self._is_finished_there():
            self.clear_beside()
            self._done.set()
            return
        sender = _Sender(self, self._claim(), pool)
        while True:
            begun = time.monotonic()
            last, closing = self._finishing.is_set(), self._closing.is_set() or abandoned()
            flushes = self._flushes
            sender.send(all_of_it=last or closing or flushes > self._flushed)
            self.commits = sender.commits
            with self._flushing:
                self._flushed = flushes
                self._flushing.notify_all()
            self.spool.free(sender.sealed())
            if last:
                sender.finish()
                self._done.set()
                return
            if closing:
                return
            self._wake.wait(max(0.0, begun + self.interval - time.monotonic()))
            self._wake.clear()

    def _claim(self) -> Claim:
        """Begin an epoch in the bucket, if the scan there is ours to go on with."""
        number, last = last_claim(self.bucket, f"{self._side}/epochs")
        if number and last.get("spool") != self._id:
            raise NotSynced(f"{self.store}: another machine has written it meanwhile")
        if number and not self._claimed and self._is_behind():
            raise NotSynced(f"{self.store}: the bucket has more of it than the spool")
        if not number:
            self._refuse_another()
        if self._registered is not None:
            self._registered_as(self._registered)
        self._claimed = True
        return claim(self.bucket, f"{self._side}/epochs", self._id)

    def _is_finished_there(self) -> bool:
        """Whether the bucket has all: a writer before us died after that."""
        here = own_attributes(self.path)
        there = (self._own_there() if here.get("finished") else None) or {}
        return bool(there.get("finished")) and there["scan_id"] == here["scan_id"]

    def _own_there(self) -> dict[str, Any] | None:
        """What the store in the bucket says of itself; None if there is none."""
        text = self.bucket.read(f"{self._key}/{NAME}")
        return json.loads(text)["attributes"]["zwriter"] if text else None

    def clear_beside(self) -> None:
        """Remove what only served while the scan was not finished."""
        keys = sorted(self.bucket.sizes(self._side), key=_order_of_removal)
        epochs = [key for key in keys if "/epochs/" in key]
        self.bucket.delete(keys[: len(keys) - len(epochs)])
        self.bucket.before_writing = None  # nothing tells any more whose it was
        self.bucket.delete(epochs)

    def unregister(self) -> None:
        """Note that nothing is left to be done for the scan."""
        if self._registered is not None:
            Bucket(self._registered.parent, self._outage).delete([self._registered.name])

    def _refuse_another(self) -> None:
        """Raises Fenced if there is a scan that is not what the spool has."""
        there, here = self._own_there(), own_attributes(self.path)
        if there and there["scan_id"] != here["scan_id"]:
            another = there["scan_id"]
            raise Fenced(f"{self.store} has another scan, {another}; this one stays in the spool")

    def _registered_as(self, place: ObjectPath) -> None:
        Bucket(place.parent, self._outage).put(place.name, str(self.store).encode())


class _Sender:
    """Sends, in an epoch of ours, what the spool of a shipment has."""

    def __init__(self, shipment: Shipment, epoch: Claim, pool: ThreadPoolExecutor) -> None:
        self._shipment, self._epoch, self._pool = shipment, epoch, pool
        self._path, self._here = shipment.path, shipment.spool.side
        self._bucket = shipment.bucket
        self._key, self._side = shipment.store.name, side_folder(Path(shipment.store.name)).name
        self._documents = Documents(self._bucket, self._key)
        self._tree = TreeShipment(self._path, DEVICES, self._bucket, self._documents, pool)
        self._logs = [
            LogShipment(self._here / name, self._bucket, f"{self._side}/{name}", epoch.number)
            for name in ("journal", "quarantine")
        ]
        self._devices: dict[str, DeviceShipment] = {}
        self._mark: bytes | None = None

    def send(self, *, all_of_it: bool) -> None:
        """Send what is due; or all that is committed."""
        failpoint("ship.sending")
        self._epoch.check()
        for framed in self._logs:
            framed.ship()
        self._send_mark()
        for folder in sorted((self._here / "commits").glob("*/")):
            if folder.name not in self._devices:
                self._devices[folder.name] = self._device(folder.name)
        for device in self._devices.values():
            device.ship(all_of_it=all_of_it)
        committed = {
            name: set(device.shipped["signals"] if device.shipped else ())
            for name, device in self._devices.items()
        }
        self._tree.ship(committed, all_of_it=all_of_it)

    def _device(self, name: str) -> DeviceShipment:
        return DeviceShipment(
            self._path / DEVICES / name,
            f"{DEVICES}/{name}",
            self._bucket,
            self._documents,
            f"{self._side}/commits/{name}",
            self._epoch.number,
            self._shipment.spool.id or "",
            self._epoch.check,
            self._pool,
            self._shipment.interval,
        )

    def _send_mark(self) -> None:
        """What says that a service feeds the scan."""
        try:
            mark = (self._here / "redis").read_bytes()
        except FileNotFoundError:
            return
        if mark != self._mark:
            self._bucket.put(f"{self._side}/redis", mark)
            self._mark = mark

    @property
    def commits(self) -> int:
        """How many were made in the bucket."""
        return sum(device.commits for device in self._devices.values())

    def sealed(self) -> list[Path]:
        return [path for device in self._devices.values() for path in device.sealed()]

    def finish(self) -> None:
        """After `send` of all of a finished store: make it finished in the bucket, with nothing in
        it that does not belong to it, and nothing beside it."""
        root = self._tree.ship_rest()
        nodes = root["consolidated_metadata"]["metadata"]
        wanted = {self._documents.key_of(node, NAME) for node in nodes} | self._tree.keys()
        for device in self._devices.values():
            wanted |= device.keys()
        there = self._bucket.sizes(self._key)
        if missing := wanted - there.keys():
            raise StoreError(f"{self._shipment.store}: {min(missing)} is not there")
        failpoint("ship.finishing")
        self._epoch.check()
        self._tree.finish(root)
        failpoint("ship.finished")
        self._bucket.delete(sorted(there.keys() - wanted - {f"{self._key}/{NAME}"}))
        self._shipment.clear_beside()
        failpoint("ship.cleaned")


def _order_of_removal(key: str) -> tuple[bool, bool, str]:
    """The mark of a service first; epochs, which fence others off, last; a log from its beginning:
    what has none is looked for in the store."""
    return not key.endswith("/redis"), "/epochs/" in key, key


def _refuse_finished(store: ObjectPath) -> None:
    if own_attributes(store).get("finished"):
        raise UsageError(f"{store} is finished: choose another path, or remove it")
