"""One scan in a thread of its own: opened, lived, finished, and told about."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zwriter.errors import (
    Fenced,
    NotSynced,
    PlaceTaken,
    ServiceError,
    StoreError,
    UsageError,
    ZwriterError,
)
from zwriter.ingest import ControlEvent
from zwriter.master import may_be_replaced, write_master
from zwriter.model import ScanState, Verdict
from zwriter.objects import ObjectPath
from zwriter.reader import catalog_scan, open_scan
from zwriter.scan import ScanWriter
from zwriter.service.alarms import SlowDisk
from zwriter.service.control_messages import Inbox
from zwriter.service.outbox import Gaps
from zwriter.service.paths import ScanPaths, finished_here
from zwriter.service.roots import id_name, mark_as_fed, redis_name, register_of, root_of
from zwriter.service.scan_life import ScanLife
from zwriter.service.shared import Shared
from zwriter.ship import Shipment
from zwriter.store.disk import passing, step, waiting
from zwriter.store.epochs import living_writer
from zwriter.store.layout import side_folder
from zwriter.store.patience import WaitForDisk

log = logging.getLogger(__name__)

_REOPEN_PAUSE = 5.0  # seconds
_LOOK_PAUSE = 2.0  # seconds between looks at a scan that another service has


class ScanRun:
    """Writes one scan. `done` is called, in its thread, when nothing more happens here, with what
    was heard too late for a finished scan; `elsewhere` gives the paths to take if these turn out to
    be another scan's.

    While the disk refuses, it waits: reading from Redis stops, which holds the data. Whatever else
    goes wrong stays in this thread: the scan is left as it is, to be continued at the service's
    next start, and an alarm is raised.
    """

    def __init__(
        self,
        shared: Shared,
        scan_id: str,
        scan_number: int | None,
        paths: ScanPaths,
        done: Callable[[str, list[ControlEvent]], None],
        elsewhere: Callable[[ScanPaths], ScanPaths],
    ) -> None:
        self.inbox = Inbox()
        self._shared = shared
        self._scan_id = scan_id
        self._number = scan_number
        self._label = f"scan {scan_id if scan_number is None else scan_number}"
        self.paths = paths
        self._done, self._elsewhere = done, elsewhere
        self._finished: ScanLife | None = None
        self._disk = WaitForDisk(self._label, shared.stop, self._tell_of_disk)
        self._slow = SlowDisk(shared.outbox, scan_id, self._label)
        self._thread = threading.Thread(target=self._run, name=f"scan-{scan_id[:8]}")

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def look_at_disk(self) -> None:
        """Raise an alarm if a write takes long. For another thread, from time to time."""
        if not self._disk.waits:
            self._slow.raise_alarm()

    def _run(self) -> None:
        try:
            with waiting(self._disk):
                self._write_until_done()
        except Exception as error:
            if self._shared.stop.is_set() and passing(error):
                log.warning("%s: is left to the next service: %s", self._label, error)
                return
            log.exception("%s: it cannot be written and is left as it is", self._label)
            self._tell_failure(error)
        finally:
            self._done(self._scan_id, [*filter(self.lacks, self.inbox.close())])

    def lacks(self, event: ControlEvent) -> bool:
        """Whether the scan is finished, and would have more if it had taken this before."""
        return self._finished is not None and self._finished.lacks(event)

    def _write_until_done(self) -> None:
        while True:
            try:
                step(self._write_or_wait)()
            except NotSynced as error:  # all is looked at, and what is lost read again
                log.exception("%s: is opened again", self._label)
                self._tell_of_disk(f"{self._label} is opened again: {error}")
                if self._shared.stop.wait(_REOPEN_PAUSE):
                    return
            except PlaceTaken:  # what could not be seen when the place was chosen
                self.paths = self._elsewhere(self.paths)
            except Fenced as error:
                self._tell_fenced(error)
                if not self._is_left_behind():
                    return
                log.warning("%s: who had it is gone, it is continued", self._label)
            else:
                return

    def _tell_fenced(self, error: Fenced) -> None:
        log.error("%s: another service has taken it over: %s", self._label, error)
        text = f"{self._label}: another service has taken it over; only one should run"
        self._shared.outbox.alarm(1, text, kind="TakenOver", scan_id=self._scan_id)

    def _is_left_behind(self) -> bool:
        """Wait until the other service has finished the scan, or is gone; whether it is gone, as
        far as that can be known here."""
        store = self.paths.store
        if isinstance(store, ObjectPath):
            return False
        side = side_folder(store)
        while not self._shared.stop.wait(_LOOK_PAUSE):
            if not side.exists() or finished_here(store, self._scan_id):
                return False
            if not living_writer(side):
                return True
        return False

    def _write_or_wait(self) -> None:
        try:
            self._write()
        except ServiceError as error:  # the object store is waited for, as a disk is
            raise OSError(errno.EHOSTDOWN, str(error)) from error
        except UsageError as error:
            if self._bucket_refuses():
                raise OSError(errno.EHOSTDOWN, str(error)) from error
            raise

    def _bucket_refuses(self) -> bool:
        """Whether the scan's bucket cannot be used any more: its settings can be mended."""
        if not isinstance(self.paths.store, ObjectPath):
            return False
        try:
            self.paths.store.ask()
        except (ServiceError, UsageError):
            return True
        return False

    def _write(self) -> None:
        settings = self._shared.settings
        self.inbox.missed.set()  # if it is not the first time, what was heard may be lost
        shipment = self._shipment()
        if shipment and shipment.is_finished(self._scan_id):  # elsewhere, or but for its master
            shipment.clear_beside()
            self._complete(shipment)
            return
        writer = ScanWriter(
            self.paths.store,
            scan_id=self._scan_id,
            scan_number=self._number,
            settings=settings.store,
            master=None,
            patience=self._disk,
            shipment=shipment,
        )
        complete = False
        try:
            here = shipment.path if shipment else Path(str(self.paths.store))
            mark_as_fed(here, redis_name(settings.redis.url.get_secret_value()))
            log.info("%s: writes %s", self._label, self.paths.store)
            self._shared.outbox.file_opened(self._scan_id, self.paths.master)
            life = ScanLife(
                self._shared, self._scan_id, self._label, writer, self.inbox, self._slow
            )
            # finished already: a service before this one died over the master file
            if writer.finished or life.live():
                with self._slow.watched():
                    writer.finish(writer.record.status or ScanState.ABORTED)
                self._finished = life
                self._complete(shipment)
                complete = True
        finally:
            self._close(writer, complete=complete)

    def _close(self, writer: ScanWriter, *, complete: bool) -> None:
        try:
            writer.close(keep=not complete)  # a service after this one sees what is left to be done
        except Exception:
            if not complete:
                raise
            log.exception("%s: is there; what it needed besides is not all removed", self._label)

    def _complete(self, shipment: Shipment | None) -> None:
        """What is left to be done once the store is finished."""
        self._leave_others_master_file()
        self._write_master()
        self._tell()
        self._note_in_catalog()
        if shipment:
            shipment.unregister()

    def _leave_others_master_file(self) -> None:
        """Another writer may have made one during the scan: ours gets another name."""
        master = self.paths.master
        try:
            if may_be_replaced(master):
                return
        except OSError:
            return  # it is waited for where it is written
        name = f"{self.paths.store.stem}_master_{id_name(self._scan_id)}.h5"
        self.paths = replace(self.paths, master=master.with_name(name))
        log.warning("%s: %s is somebody else's, ours is %s", self._label, master, name)

    def _note_in_catalog(self) -> None:
        """The table of all scans is worth a warning, and no scan."""
        settings = self._shared.settings
        if settings.catalog is None:
            return
        try:
            with self._shared.cataloging:
                store, options = self.paths.store, dict(settings.storage)
                catalog_scan(store, str(settings.catalog), storage_options=options)
        except (ZwriterError, OSError) as error:
            log.warning("%s: is not in the catalog: %s", self._label, error)

    def _shipment(self) -> Shipment | None:
        """The scan's way into a bucket, if it goes to one."""
        settings, store = self._shared.settings, self.paths.store
        root = root_of(settings)
        if not isinstance(store, ObjectPath) or not isinstance(root, ObjectPath):
            return None
        return Shipment(
            store,
            settings.spool,
            interval=settings.store.in_bucket().flush_interval,
            tell=self._tell_of_storage,
            registered=register_of(root, self._scan_id),
            stop=self._shared.stop,
            usable=True,  # the service has looked at it
        )

    def _tell(self) -> None:
        """Tell others of the finished scan."""
        scan, master = open_scan(self.paths.store), self.paths.master
        verdict = scan.verdict
        assert verdict is not None
        log.info("%s: %s, %s", self._label, verdict, master)
        # an aborted scan's file can be whole as well
        whole = verdict is not Verdict.COMPLETE_WITH_GAPS and all(
            signal.ledger.whole
            for commit in scan.commits.values()
            for signal in commit.signals.values()
        )
        outbox, devices = self._shared.outbox, scan.summary()["devices"]
        gaps = _gaps(devices)
        outbox.content(scan.record, master)
        outbox.file_done(self._scan_id, master, verdict, gaps, whole=whole)
        outbox.history(scan.record, master, devices, verdict, gaps)

    @step
    def _write_master(self) -> None:
        try:
            write_master(self.paths.store, self.paths.master, settings=self._shared.settings.master)
        except StoreError as error:
            if error.__cause__ is not None and passing(error.__cause__):
                raise error.__cause__ from error  # it is the disk, which is waited for
            raise
        except ServiceError as error:
            raise OSError(errno.EHOSTDOWN, str(error)) from error  # is waited for as well

    def _tell_of_disk(self, text: str) -> None:
        self._shared.outbox.alarm(1, text, kind="DiskTrouble", scan_id=self._scan_id)

    def _tell_of_storage(self, text: str) -> None:
        self._shared.outbox.alarm(1, text, kind="StorageTrouble", scan_id=self._scan_id)

    def _tell_failure(self, error: Exception) -> None:
        text = f"{self._label} cannot be written: {error}"
        outbox, scan_id = self._shared.outbox, self._scan_id
        outbox.alarm(1, text, kind=type(error).__name__, scan_id=scan_id)
        outbox.file_done(scan_id, self.paths.master, Verdict.FAILED, {}, whole=False)


def _gaps(devices: dict[str, Any]) -> Gaps:
    """The signals of `Scan.summary()` that lack something."""
    counts = ("missing", "cut", "quarantined")
    return {
        f"{device}/{signal}": {name: facts[name] for name in counts}
        for device, signals in devices.items()
        for signal, facts in signals.items()
        if facts["failed"] or any(facts[name] for name in counts)
    }
