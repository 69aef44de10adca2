"""The service: hears of scans, and gives each a thread that writes it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from zwriter.errors import BadMessage, ServiceError, StoreError, UsageError, ZwriterError
from zwriter.ingest import ControlEvent, Kept, connect, listen
from zwriter.ingest.commands import Commands
from zwriter.master import check_mode
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.protocol import FileReference, ScanStatus, decode, keys, safe_url
from zwriter.reader import check_pyarrow, open_scan
from zwriter.service.early import Early
from zwriter.service.memory import keep_memory, search_seldom
from zwriter.service.outbox import Outbox
from zwriter.service.paths import (
    ScanPaths,
    check_template,
    elsewhere,
    finished_here,
    paths_for,
)
from zwriter.service.roots import find_unfinished, redis_name, root_of
from zwriter.service.scan_run import ScanRun
from zwriter.service.shared import Shared
from zwriter.settings import Settings
from zwriter.ship import Spool, check_spool
from zwriter.store.disk import check_folder, more_files
from zwriter.store.framed import read_frames
from zwriter.store.layout import own_attributes, side_folder
from zwriter.store.record import ScanRecord

log = logging.getLogger(__name__)

_REMEMBERED = 1000
_MOST_TOLD = 100  # unreadable messages for which there is an alarm
_SILENT = 30.0  # seconds


def run(settings: Settings, stop: threading.Event, ready: Callable[[], None] | None = None) -> None:
    """Write all scans that the Redis of the settings tells of, until `stop` is set.

    `ready` is called once scans are heard. Scans that are open when the service stops are continued
    when it is started again. Raises ServiceError if Redis does not answer at the start, UsageError
    if no scan could be written where the settings say.
    """
    check_mode(root_of(settings), settings.master.mode)
    check_template(settings.path_template, root_of(settings))
    _check_catalog(settings)
    keep_memory(settings.redis.queue_bytes)
    search_seldom()
    more_files()
    with closing(connect(settings.redis)) as client:
        _prepare_folders(settings)
        outbox = Outbox(client)
        service = _Service(Shared(settings, client, outbox, stop))
        with _running(stop, heartbeat=outbox.beat, watch=service.watch_disk):
            _serve(service, client, settings, stop, ready)


def _serve(
    service: _Service,
    client: Commands,
    settings: Settings,
    stop: threading.Event,
    ready: Callable[[], None] | None,
) -> None:
    redis = safe_url(settings.redis.url.get_secret_value())
    log.info("listening at %s, writing to %s", redis, root_of(settings))
    try:
        service.continue_unfinished()

        def connected() -> None:
            nonlocal ready
            service.look_for_scans()
            if ready is not None:
                ready()
                ready = None

        hear, unreadable = service.hear, service.tell_unreadable
        listen(client, hear, unreadable, connected, stop, service.tell_refused)
    finally:
        stop.set()
        service.join()


@contextmanager
def _running(stop: threading.Event, **work: Callable[[threading.Event], None]) -> Iterator[None]:
    """In the block, each of these runs in a thread of its own, until `stop` is set at its end."""
    threads = [
        threading.Thread(target=target, args=(stop,), name=name) for name, target in work.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _check_catalog(settings: Settings) -> None:
    """Raises UsageError if there can never be the catalog of the settings."""
    if settings.catalog is None:
        return
    check_pyarrow()
    catalog = place(str(settings.catalog), dict(settings.storage))
    if isinstance(catalog, Path) and catalog.is_dir():
        raise UsageError(f"catalog {catalog} is a folder; give the name of a file")


def _prepare_folders(settings: Settings) -> None:
    """Raises UsageError if scans, or their master files, cannot be written."""
    root = root_of(settings)
    if isinstance(root, Path):
        check_folder("root", root)
    else:
        _look_at_bucket(root, settings)
    if settings.master.folder is not None:
        check_folder("master.folder", settings.master.folder)


def _look_at_bucket(root: ObjectPath, settings: Settings) -> None:
    """Raises UsageError if there is no such bucket, or no spool; one that cannot be reached may be
    there later: scans wait in the spool."""
    check_spool(settings.spool)
    try:
        root.ask()
    except ServiceError as error:
        log.warning("%s", error)


def _record_of(store: AnyPath, settings: Settings) -> ScanRecord:
    """What is known of a scan: of one for a bucket, by the spool, if it was begun here."""
    if isinstance(store, ObjectPath):
        spooled = side_folder(Spool(settings.spool, store).store) / "journal"
        if not spooled.exists():
            return _record_in_bucket(store)
        return ScanRecord.replay(read_frames(spooled))
    return ScanRecord.replay(read_frames(side_folder(store) / "journal"))


def _record_in_bucket(store: ObjectPath) -> ScanRecord:
    if own_attributes(store):
        return open_scan(store).record
    return ScanRecord()


class _Service:
    """Which scan is written by whom. All but `_done`, `_tell_late` and `watch_disk` are called in
    one thread."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._kept = Kept(shared.client)
        self._runs: dict[str, ScanRun] = {}
        self._done_with: deque[str] = deque(maxlen=_REMEMBERED)
        self._told_late: deque[str] = deque(maxlen=_REMEMBERED)
        self._told_unreadable: set[str] = set()
        self._telling = threading.Lock()
        self._early = Early()
        self._silent_until = 0.0  # the bucket did not answer: it is asked again then

    def continue_unfinished(self) -> None:
        """Go on with the scans that a service before this one has left."""
        settings = self._shared.settings
        redis = redis_name(settings.redis.url.get_secret_value())
        found = find_unfinished(root_of(settings), settings.spool, redis, self._is_known)
        for store in found:
            try:
                record = _record_of(store, settings)
            except (ZwriterError, OSError, ValueError) as error:
                log.error(
                    "%s: its journal cannot be read, so it is left as it is: %s", store, error
                )
                continue
            status = record.status_message
            if status is None:
                log.info("%s: has not begun; if it is still open, Redis will say so", store)
            elif record.scan_id not in self._runs:
                log.info("scan %s: is continued", record.scan_id)
                self._start(status, ScanPaths.of_store(store, status, settings), [])

    def _is_known(self, scan_id: str) -> bool:
        """Whether our Redis has a status of the scan."""
        return self._kept.status(scan_id) is not None

    def look_for_scans(self) -> None:
        """Find scans, and what was published of them, that could not be heard."""
        for raw in self._kept.statuses():
            try:
                status = ScanStatus.of(decode(raw))
            except BadMessage as error:
                self.tell_unreadable(f"the status of a scan cannot be read: {error}")
                continue
            if status.scan_id not in self._runs and status.scan_id not in self._done_with:
                self._open(status, ControlEvent("status", status.scan_id, "", raw))
        for run in list(self._runs.values()):
            run.inbox.missed.set()

    def hear(self, event: ControlEvent) -> None:
        """Pass an event on to whom it concerns."""
        if not event.scan_id:
            for run in list(self._runs.values()):
                run.inbox.hear(event)
        elif (scan := self._runs.get(event.scan_id)) is not None:
            if not scan.inbox.hear(event) and scan.lacks(event):
                self._tell_late(event)
        elif event.scan_id in self._done_with:
            self._tell_late(event)
        elif event.kind == "status":
            self._open(ScanStatus.of(decode(event.raw)), event)
        else:
            self._early.keep(event)

    def tell_unreadable(self, text: str) -> None:
        """Raise an alarm: a scan that nobody else writes may have begun. Once for the same, and not
        for ever: who sends nothing else than nonsense would fill Redis with alarms."""
        if text in self._told_unreadable:
            return
        log.warning("%s", text)
        if len(self._told_unreadable) < _MOST_TOLD:
            self._told_unreadable.add(text)
            self._shared.outbox.alarm(1, text, kind="BadMessage")

    def tell_refused(self, text: str) -> None:
        """Raise an alarm: scans are not heard, or are heard again."""
        self._shared.outbox.alarm(1, text, kind="RedisRefuses")

    def watch_disk(self, stop: threading.Event) -> None:
        """Look each second whether a scan waits for its disk, until `stop` is set."""
        while not stop.wait(1.0):
            for run in list(self._runs.values()):
                run.look_at_disk()

    def join(self) -> None:
        for scan in list(self._runs.values()):
            scan.join()

    def _open(self, status: ScanStatus, event: ControlEvent) -> None:
        try:
            self._open_unless_written(status, event)
        except (OSError, ValueError, StoreError, UsageError) as error:
            self._tell_not_opened(status.scan_id, error)
            self._done_with.append(status.scan_id)

    def _tell_not_opened(self, scan_id: str, error: Exception) -> None:
        log.error("scan %s: cannot be opened", scan_id, exc_info=error)
        text = f"scan {scan_id} cannot be opened: {error}"
        self._shared.outbox.alarm(1, text, kind=type(error).__name__, scan_id=scan_id)

    def _open_unless_written(self, status: ScanStatus, event: ControlEvent) -> None:
        in_use = [str(scan.paths.store) for scan in list(self._runs.values())]
        answers = self._root_answers()
        paths = paths_for(status, self._shared.settings, in_use, look=answers)
        if answers and finished_here(paths.store, status.scan_id):
            if status.status.ended:
                log.debug("scan %s: is in %s already", status.scan_id, paths.store)
            else:  # by `zwriter finalize`
                text = "scan %s: %s was finished while it runs: no more of it is written"
                log.warning(text, status.scan_id, paths.store)
            self._done_with.append(status.scan_id)
            return
        if status.status.ended and self._written_by_somebody(status.scan_id):
            log.debug("scan %s: was written by somebody", status.scan_id)
            self._done_with.append(status.scan_id)
            return
        if self._is_of_the_past(status):
            log.info("scan %s: is long over, and not written again", status.scan_id)
            self._done_with.append(status.scan_id)
            return
        self._start(status, paths, [event, *self._early.take(status.scan_id)])

    def _root_answers(self) -> bool:
        """Whether what is in the root can be seen. Others are not heard while it is waited for."""
        root = root_of(self._shared.settings)
        if isinstance(root, Path):
            return True
        if time.monotonic() < self._silent_until:
            return False
        try:
            root.ask()
        except (ServiceError, UsageError) as error:
            log.warning("%s: what is there cannot be seen: %s", root, error)
            self._silent_until = time.monotonic() + _SILENT
            return False
        return True

    def _start(self, status: ScanStatus, paths: ScanPaths, heard: list[ControlEvent]) -> None:
        scan = ScanRun(
            self._shared,
            status.scan_id,
            status.scan_number,
            paths,
            self._done,
            lambda taken: elsewhere(taken, status, self._shared.settings),
        )
        for event in heard:
            scan.inbox.hear(event)
        self._runs[status.scan_id] = scan
        try:
            scan.start()
        except RuntimeError as error:  # there is no thread for it now; it is looked for again
            del self._runs[status.scan_id]
            self._tell_not_opened(status.scan_id, error)

    def _done(self, scan_id: str, too_late: list[ControlEvent]) -> None:
        for event in too_late:
            self._tell_late(event)
        self._done_with.append(scan_id)
        del self._runs[scan_id]

    def _tell_late(self, event: ControlEvent) -> None:
        """Once a scan."""
        with self._telling:
            if event.scan_id in self._told_late:
                return
            self._told_late.append(event.scan_id)
        log.warning("scan %s: is done; a late %s is ignored", event.scan_id, event.kind)

    def _written_by_somebody(self, scan_id: str) -> bool:
        """Whether a scan that ended before we heard of it has its master file: not if we could not
        write it then."""
        raw = self._kept.master_file(scan_id)
        if raw is None:
            return False
        try:
            message = decode(raw)
            return FileReference.of(message).done and message.metadata.get("verdict") != "FAILED"
        except BadMessage:
            return False

    def _is_of_the_past(self, status: ScanStatus) -> bool:
        """Whether there is nothing left to write of a scan that we have not begun: it has a line in
        the history, and what says that its file is there has lapsed; or it was left open."""
        if not status.status.ended:
            return self._kept.is_left_open(status)
        age = time.time() - (status.timestamp or math.inf)
        return age > keys.FILE_TTL and status.scan_id in self._kept.history()
