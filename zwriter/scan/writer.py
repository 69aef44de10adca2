"""One scan being written: from updates and control messages to a store and its master file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import SHARE, Gathering, Room
from zwriter.errors import BadMessage, NotSynced, UsageError
from zwriter.failpoint import failpoint
from zwriter.master import check_mode, write_master
from zwriter.model import (
    Add,
    AddSlice,
    Ledger,
    MaxShape,
    Mode,
    Rejected,
    Replace,
    Run,
    ScanState,
    Source,
    Update,
    Verdict,
)
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.scan.given import check_names, copied, max_shape_of, shape_of, whole
from zwriter.scan.intake import Intake
from zwriter.scan.messages import Readings, baseline_message, point_message, status_message
from zwriter.scan.opening import open_store
from zwriter.scan.points import PointsNowAndThen
from zwriter.scan.verdict import verdict_of
from zwriter.scan.waits import Waits, patiently
from zwriter.settings import MasterMode, MasterSettings, SpoolSettings, StoreSettings
from zwriter.ship import Shipment
from zwriter.store.disk import Patience, of_the_store
from zwriter.store.patience import WaitForDisk
from zwriter.store.record import ScanRecord

log = logging.getLogger(__name__)

UNCOMMITTED_BYTES = 64 * 1024 * 1024


class ScanWriter:
    """Writes one scan's store, with or without Redis.

    >>> with ScanWriter("scan.zarr", scan_number=1) as scan:
    ...     for frame in camera:
    ...         scan.add("eiger", "image", frame)

    Rows are visible to readers about `settings.flush_interval` seconds after they were added, and
    all of them after `flush`. Leaving the `with` block finishes the store and, unless `master` is
    None, writes the HDF5 master file beside it; leaving it by an exception finishes it as aborted.

    While the disk refuses (full, read-only, broken), calls wait until it does not, and say so in
    the log; `patience` may do something else then. Ctrl-C ends the wait, and leaves the scan as it
    is, to be ended by `zwriter finalize`.

    One thread at a time may use it.

    path: the store, `<base>.zarr`, on a disk or as `s3://bucket/prefix/<base>.zarr`. scan_id:
    default: a new uuid; with that of a store that was not finished, the scan goes on from its last
    commits: what came behind those is to be added again (`ledgers` say how much there is). Whoever
    wrote it cannot write it any more. settings: of chunks, codecs and durability. master: as the
    mode of `export`. What goes to a bucket is written to a spool first (docs/object-store.md):
    `storage_options` as in `open_scan`, `spool` says where that is, `shipment` does it in another
    way.

    Raises UsageError for a path or a mode that cannot be used, where another scan is, and when
    something is added to a scan that is finished or closed; StoreError for a store that is damaged,
    Fenced when another writer has taken over.
    """

    def __init__(
        self,
        path: str | AnyPath,
        *,
        scan_id: str | None = None,
        scan_number: int | None = None,
        settings: StoreSettings | None = None,
        master: MasterMode | None = "auto",
        patience: Patience | None = None,
        storage_options: Mapping[str, Any] | None = None,
        spool: SpoolSettings | None = None,
        shipment: Shipment | None = None,
    ) -> None:
        scan_number = whole(scan_number)
        check_names(scan_id, scan_number)
        self._settings = settings or StoreSettings()
        self._path = place(path, storage_options)
        if master is not None:
            check_mode(self._path, master)
        if isinstance(self._path, ObjectPath):
            self._settings = self._settings.in_bucket()
            interval = self._settings.flush_interval
            shipment = shipment or Shipment(self._path, spool or SpoolSettings(), interval=interval)
        self._shipment = shipment
        self._store = open_store(self._path, self._settings, scan_id, scan_number, shipment)
        self._waits = Waits(
            patience or WaitForDisk(str(path)),
            self._store.check,
            shipment.fetch if shipment else None,
        )
        self._intake = Intake(self._store, self._settings.max_signals)
        self._master = master
        self._given_up = self._closed = False
        self._points = PointsNowAndThen(self._store)
        self._due = time.monotonic() + self._settings.flush_interval
        # a spool has a limit, which each commit looks at, and what it has is to go on
        self._share = SHARE if shipment is None else 1
        self._gathering = Gathering(self._ahead, self._share)
        self._uncommitted = 0  # bytes that count as kept, in case their signal fails

    @property
    def path(self) -> AnyPath:
        """The store."""
        return self._path

    @property
    def scan_id(self) -> str:
        """With it another writer goes on with the scan, if this one does not finish it."""
        return self._store.scan_id

    @property
    def record(self) -> ScanRecord:
        """What the scan's control messages say."""
        return self._store.record

    @property
    def finished(self) -> bool:
        """Whether `finish` was done, here or by a writer before this one."""
        return self._store.finished

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of a finished scan."""
        return self._store.verdict

    @property
    def positions(self) -> dict[str, str]:
        """Stream -> id of the last entry whose rows are taken: where to read on."""
        return self._store.positions

    @property
    def left_at(self) -> float | None:
        """When a writer before this one wrote last, in seconds since 1970; None for a new scan."""
        return self._store.left_at

    @property
    def ledgers(self) -> dict[str, dict[str, Ledger]]:
        """device -> signal -> what is known of its updates."""
        self._write_all_gathered()
        return {name: device.ledgers() for name, device in self._store.devices.items()}

    # --- data of devices ---

    def add(
        self,
        device: str,
        signal: str,
        value: Any,
        timestamp: Any = None,
        *,
        max_shape: MaxShape | None = None,
    ) -> None:
        """Append one row of the shape of `value`; with `max_shape`, as BEC's `add` does: then
        `value` may also be several rows, (k, *row).

        value: numbers, text or records, a scalar, a (nested) list or an array (*row), whose memory
        may be used again once the call returns, but not before; timestamp: seconds since 1970, or
        one for each sample. A value that does not fit its signal goes to quarantine, with the
        reason. Raises as `commit` does.
        """
        gathering = self._gathering
        if not gathering.add(device, signal, value, timestamp, max_shape):
            shape = (None, *shape_of(value)) if max_shape is None else max_shape_of(max_shape)
            self._update(device, signal, Add(shape), value, timestamp)
        elif gathering.nbytes + self._uncommitted > UNCOMMITTED_BYTES:  # not a call
            self.commit()
        elif gathering.ready or time.monotonic() >= self._due:
            self._write_gathered()
            self.commit_due()

    def add_slice(
        self,
        device: str,
        signal: str,
        index: int,
        value: Any,
        timestamp: Any = None,
        *,
        max_shape: MaxShape = (None, None),
    ) -> None:
        """Extend row `index`, from 0, by `value` (n,), behind what that row has already.

        max_shape: (rows or None, width or None); a row of which no width is known may have any
        length. timestamp and what is raised: as in `add`.
        """
        self._gathering.end(device, signal)
        mode = AddSlice(max_shape_of(max_shape), whole(index))
        self._update(device, signal, mode, value, timestamp)

    def replace(self, device: str, signal: str, value: Any, timestamp: Any = None) -> None:
        """Make `value`, of any shape, the signal's only value; the next one takes its place."""
        self._gathering.end(device, signal)
        self._update(device, signal, Replace(), value, timestamp)

    @patiently
    def _update(self, device: str, signal: str, mode: Mode, value: Any, timestamp: Any) -> None:
        self._check_open()
        self._write_gathered()
        kept = copied(value)
        self._uncommitted += kept.nbytes if isinstance(kept, np.ndarray) else 0
        self._intake.take_made_here(Update(device, signal, mode, kept, timestamp))
        self.commit_due()

    def _check_open(self) -> None:
        """Raises UsageError if nothing may be added any more."""
        if self._closed or self.finished:
            how = "closed" if self._closed and not self.finished else "finished"
            raise UsageError(f"{self.path}: the scan is {how}, nothing can be added to it")

    @patiently
    def _ahead(self, device: str, signal: str, mode: Add, values: NDArray[Any]) -> Room | None:
        known = self._store.devices.get(device)
        # if a commit that is due was refused
        if known is None or self._much_uncommitted or not self._may_be_in_files:
            return None
        return known.ahead(signal, mode, values)

    @property
    def _may_be_in_files(self) -> bool:
        """Whether quarantine has room for all that may be in files, and nowhere else, until the
        commit."""
        return self._store.quarantine_room >= self._share * UNCOMMITTED_BYTES

    @property
    def _much_uncommitted(self) -> bool:
        """With whole blocks, which are whole chunks; what is more is more than that."""
        return self._gathering.nbytes + self._uncommitted >= UNCOMMITTED_BYTES

    def _write_all_gathered(self) -> None:
        self._gathering.end_all()
        self._write_gathered()

    @patiently
    def _write_gathered(self) -> None:
        ready = self._gathering.ready
        while ready:
            run = ready[0]
            if not self._intake.has_taken(run):
                self._intake.prepare(run)
                failpoint("run.taking")
                self._intake.take_made_here(run)
                failpoint("run.taken")
            ready.pop(0)

    @patiently
    def apply(self, items: Iterable[Update | Run | Rejected]) -> None:
        """Take in updates, and what could not be read. Bad input never raises."""
        self._check_open()
        batch = list(items)
        self._write_all_gathered()
        nbytes = sum([item.nbytes for item in batch])
        self._uncommitted += nbytes
        in_files = self._intake.take(batch)
        # one that is not, however small, keeps the memory of all that was read with it
        if in_files == len(batch) and self._may_be_in_files:
            self._uncommitted -= nbytes - nbytes // self._share

    @patiently
    def expect(self, device: str, signal: str, count: int) -> None:
        """Note that the producer says it sent `count` updates of this signal. Of one that is no
        more than announced, and one too many, there is a line in quarantine."""
        self._check_open()
        if not self._intake.has_room(device, signal):
            self._intake.refuse(device, signal, f"{count} updates were announced")
            return
        writer = self._store.device(device)
        ledger = writer.signal(signal).ledger
        if ledger.expected != count:
            ledger.expected = count
            writer.touch(signal)

    # --- control messages ---

    @patiently
    def journal(self, kind: str, name: str, raw: bytes) -> None:
        """Keep a control message (see docs/format.md). What cannot be read goes to quarantine."""
        self._check_open()
        try:
            self._store.journal(kind, name, raw)
        except BadMessage as error:
            self._intake.quarantine(Rejected("", kind, str(error), Source(raw)))
        except Exception as error:
            if of_the_store(error):
                raise
            log.exception("a control message (%s %s) cannot be taken", kind, name)
            self._intake.quarantine(
                Rejected("", kind, f"{type(error).__name__}: {error}", Source(raw))
            )
        if kind == "segment":
            self._points.came()

    def point(self, point_id: int, readings: Readings) -> None:
        """Sync data of a scan point: {device: {signal: {"value": .., "timestamp": ..}}}."""
        message = point_message(self._store.scan_id, point_id, readings)
        self.journal("segment", str(point_id), message)

    def baseline(self, readings: Readings) -> None:
        """Readings that were taken once: {device: {signal: {"value": .., "timestamp": ..}}}."""
        self.journal("baseline", "", baseline_message(self._store.scan_id, readings))

    def status(self, status: ScanState | str, *, reason: str | None = None, **info: Any) -> None:
        """Open, pause, resume or end the scan; `info` goes to the scan's metadata. What the last
        status said besides stays as it is.
        """
        store = self._store
        message = status_message(
            store.scan_id, store.scan_number, self.record, status, reason, info
        )
        self.journal("status", "", message)

    def give_up(self, reason: str) -> None:
        """End a scan of which nobody knows whether more should have come: it is aborted, unless
        its end was heard, and never COMPLETE. Can be repeated.
        """
        known, state = self.record.reason or "", self.record.status
        if reason not in known:
            ended = state if state is not None and state.ended else ScanState.ABORTED
            self.status(ended, reason="; ".join(filter(None, (known, reason))))
        self._given_up = True

    # --- commit and finish ---

    @patiently
    def commit(self) -> None:
        """Make all that was taken visible and official.

        Raises Fenced when another writer has taken over; NotSynced if the disk has lost something.
        """
        if self.finished:
            return
        self._write_all_gathered()
        if self._shipment:
            self._shipment.check()
            self._shipment.room()
        try:
            for writer in list(self._store.devices.values()):
                if writer.dirty:
                    writer.publish()
                    self._intake.keep_rejected(writer)
                    self._store.commit(writer)
            if self._settings.durability == "commit":
                self._store.sync()
        except NotSynced:
            self._store.distrust()
            raise
        self._gathering.committed()
        if self._shipment:
            self._shipment.committed()
        self._uncommitted = 0
        self._due = time.monotonic() + self._settings.flush_interval

    @property
    def _is_dirty(self) -> bool:
        """Whether there is something that no commit says yet."""
        return self._gathering.nbytes > 0 or any(w.dirty for w in self._store.devices.values())

    def flush(self) -> None:
        """Commit, and return when readers see all that was taken: at once on a disk; in a bucket
        when the object store has it, however long it may be away.

        Raises as `commit` does.
        """
        self.commit()
        if self._shipment:
            self._shipment.flush()

    @property
    def commits_in(self) -> float:
        """Seconds until `commit_due` commits, if nothing more comes."""
        return 0.0 if self._much_uncommitted else max(self._due - time.monotonic(), 0.0)

    @patiently
    def commit_due(self) -> None:
        """Commit if `flush_interval` has gone by since the last time. To be called often."""
        if not self.commits_in:
            self.commit()
        self._points.write_if_due()

    @patiently
    def finish(self, status: ScanState | str = ScanState.CLOSED) -> Verdict:
        """Commit, seal, judge: the store is complete afterwards. Can be repeated after a crash."""
        if self.verdict is None or not self.finished:
            self._finish(ScanState(status))
        if self._shipment:
            self._shipment.finish()
        assert self.verdict is not None
        return self.verdict

    def _finish(self, state: ScanState) -> None:
        self._write_all_gathered()
        for device in self._store.devices.values():
            for ledger in device.ledgers().values():
                ledger.close()
            device.touch_all()
        self.commit()
        try:
            self._store.seal()
            verdict = verdict_of(
                state,
                [ledger for signals in self.ledgers.values() for ledger in signals.values()],
                self.record,
                given_up=self._given_up,
                quarantined=self._store.has_quarantined,
            )
            self._store.show(status=state)
            self._store.finish(verdict)
            self._gathering.close()
        except NotSynced:
            self._store.distrust()
            raise

    def write_master(self, out: str | AnyPath, settings: MasterSettings) -> None:
        """The HDF5 master file of the finished store."""
        write_master(self.path, out, mode=settings.mode, settings=settings)

    @patiently
    def close(self, *, keep: bool = False) -> None:
        """Commit, and let go of all files: a scan that was not finished can be continued later.

        keep: there was a fault, or something is left to be done: nothing more is written, and what
        lies beside a finished store is kept. Raises as `commit` does, with all let go.
        """
        try:
            if not (keep or self._closed or self.finished) and self._is_dirty:
                self.commit()
        finally:
            self._closed = True
            self._gathering.close()
            self._let_go(keep=keep)

    def _let_go(self, *, keep: bool) -> None:
        try:
            self._store.close(keep=keep or self._shipment is not None)
        finally:
            if self._shipment:
                self._shipment.close()

    def __enter__(self) -> Self:
        if self.record.status is None and not self.finished:
            self.status(ScanState.OPEN)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._closed:
            return
        if isinstance(error, KeyboardInterrupt) and self._waits.refuses:
            log.error("%s: is left unfinished; `zwriter finalize` ends it", self.path)
            self.close(keep=True)
            return
        try:
            if not self.finished:
                state = ScanState.CLOSED if kind is None else ScanState.ABORTED
                if not (self.record.status and self.record.status.ended):
                    self.status(state)
                self.finish(self.record.status or state)
                if self._master is not None:
                    out = self.path.with_name(f"{self.path.stem}_master.h5")
                    self.write_master(out, MasterSettings(mode=self._master))
            else:
                self.finish()  # by a writer before us: a bucket may not have all of it
        except BaseException:
            self.close(keep=True)
            raise
        self.close()
