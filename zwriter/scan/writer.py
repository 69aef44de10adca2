"""One scan being written: from updates and control messages to a store and its master file."""

from __future__ import annotations

import logging
import reprlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar

import numpy as np

from zwriter.assemble import Gathering
from zwriter.assemble.blocks import reject
from zwriter.errors import BadMessage, Fenced, NotSynced
from zwriter.master import write_master
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
    singly,
)
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.protocol import Message, encode, safe_name
from zwriter.settings import MasterSettings, SpoolSettings, StoreSettings
from zwriter.ship import Shipment
from zwriter.store.disk import Patience, passing, waiting
from zwriter.store.patience import WaitForDisk
from zwriter.store.record import ScanRecord
from zwriter.store.scan_store import ScanStore
from zwriter.store.shard import Freed

log = logging.getLogger(__name__)

POINTS_INTERVAL = 2.0  # seconds between writes of the sync data's arrays
UNCOMMITTED_BYTES = 64 * 1024 * 1024
LOGGED_REASONS = 5  # lines a signal gets in the log for what is quarantined
LOGGED_NAMES = 1000  # signals that get lines of their own


_NAMES = attrgetter("device", "signal")
P = ParamSpec("P")
T = TypeVar("T")


def _patiently(
    method: Callable[Concatenate[ScanWriter, P], T],
) -> Callable[Concatenate[ScanWriter, P], T]:
    """A method that writes: it waits while the disk refuses. Raises Fenced, whatever it ran into,
    when another writer has taken over.
    """

    @wraps(method)
    def patient(self: ScanWriter, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with waiting(self):
            try:
                return method(self, *args, **kwargs)
            except Exception:
                self._store.check()
                raise

    return patient


class ScanWriter:
    """Writes one scan's store, with or without Redis.

    >>> with ScanWriter("scan.zarr", scan_number=1) as scan:
    ...     for frame in camera:
    ...         scan.add("eiger", "image", frame)

    Rows are visible to readers about `settings.flush_interval` seconds after they were added, and
    all of them after `flush`. Leaving the `with` block finishes the store and, unless `master` is
    None, writes the HDF5 master file beside it; leaving it by an exception finishes it as aborted.

    While the disk refuses (full, read-only, broken), calls wait until it does not, and say so in
    the log; `patience` may do something else then.

    path: the store, `<base>.zarr`, on a disk or as `s3://bucket/prefix/<base>.zarr`; a store that
    was not finished is continued from its last commits. What goes to a bucket is written to a spool
    first (docs/object-store.md): `storage_options` as in `open_scan`, `spool` says where that is,
    `shipment` does it in another way. Raises UsageError for a path that cannot be used, Fenced when
    another writer has taken over.
    """

    def __init__(
        self,
        path: str | AnyPath,
        *,
        scan_id: str | None = None,
        scan_number: int | None = None,
        settings: StoreSettings | None = None,
        master: Literal["reference", "link", "copy", "auto"] | None = "auto",
        patience: Patience | None = None,
        storage_options: Mapping[str, Any] | None = None,
        spool: SpoolSettings | None = None,
        shipment: Shipment | None = None,
    ) -> None:
        self._settings = settings or StoreSettings()
        self._patience = patience or WaitForDisk(str(path))
        self._path = place(path, storage_options)
        self._shipment = shipment
        if isinstance(self._path, ObjectPath):
            self._settings = self._settings.in_bucket()
            interval = self._settings.flush_interval
            self._shipment = shipment or Shipment(
                self._path, spool or SpoolSettings(), interval=interval
            )
            self._shipment.open(scan_id)
        known = scan_id or str(uuid.uuid4()), scan_number
        self._store = self._open(*known)
        if self._shipment:
            try:
                self._ship(self._shipment, known)
            except BaseException:
                self._store.close(keep=True)
                raise
        self._master = master
        self._refused = False
        self._given_up = False
        self._points_dirty = False
        self._points_written = time.monotonic()
        self._due = self._points_written + self._settings.flush_interval
        self._gathering = Gathering()
        self._uncommitted = 0  # bytes; they are kept, in case their signal fails
        self._logged: Counter[tuple[str, str]] = Counter()

    def _ship(self, shipment: Shipment, known: tuple[str, int | None]) -> None:
        """Have the store sent; first, if it has lost something that was, have that brought back."""
        if shipment.lacks_something():
            self._store.close(keep=True)
            shipment.bring_back()
            self._store = self._open(*known)
            shipment.lacks_something()  # raises if what was brought back is not whole
        shipment.start(self._store.check)

    def _open(self, scan_id: str, scan_number: int | None) -> ScanStore:
        path = self._shipment.path if self._shipment else Path(str(self._path))
        return ScanStore(path, self._settings, scan_id, scan_number)

    @property
    def path(self) -> AnyPath:
        """The store."""
        return self._path

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
    def ledgers(self) -> dict[str, dict[str, Ledger]]:
        """device -> signal -> what is known of its updates."""
        self._write_all_gathered()
        return {name: device.ledgers() for name, device in self._store.devices.items()}

    def refused(self, error: OSError) -> None:
        """Wait, because the disk has refused something, or fetch what has left it for a bucket.
        Raises Fenced if it is ours no more."""
        self._store.check()
        if isinstance(error, Freed) and self._shipment:
            self._shipment.fetch(error.path)
            return
        self._refused = True
        self._patience.refused(error)

    def accepted(self) -> None:
        """The disk takes it now."""
        if self._refused:
            self._refused = False
            self._patience.accepted()

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
        """Append one row of the shape of `value`; with `max_shape`, as BEC's `add` does."""
        if not self._gathering.add(device, signal, value, timestamp, max_shape):
            shape = (None, *np.shape(value)) if max_shape is None else tuple(max_shape)
            self._update(device, signal, Add(shape), value, timestamp)
        elif self._gathering.nbytes + self._uncommitted > UNCOMMITTED_BYTES:
            self.commit()
        elif self._gathering.ready or time.monotonic() >= self._due:
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
        """Extend row `index` by the 1-D `value`. `max_shape` (rows or None, width or None)."""
        self._gathering.end(device, signal)
        self._update(device, signal, AddSlice(tuple(max_shape), index), value, timestamp)

    def replace(self, device: str, signal: str, value: Any, timestamp: Any = None) -> None:
        """Make `value` the signal's only value."""
        self._gathering.end(device, signal)
        self._update(device, signal, Replace(), value, timestamp)

    @_patiently
    def _update(self, device: str, signal: str, mode: Mode, value: Any, timestamp: Any) -> None:
        self._write_gathered()
        kept = value.copy() if isinstance(value, np.ndarray) else value  # a camera's buffer
        self._uncommitted += kept.nbytes if isinstance(kept, np.ndarray) else 0
        self._made_here(Update(device, signal, mode, kept, timestamp))
        self.commit_due()

    def _write_all_gathered(self) -> None:
        self._gathering.end_all()
        self._write_gathered()

    @_patiently
    def _write_gathered(self) -> None:
        ready = self._gathering.ready
        while ready:
            run = ready.pop(0)
            self._uncommitted += run.nbytes
            self._made_here(run)

    def _made_here(self, item: Update | Run) -> None:
        """Take what a program has made."""
        reason = _bad_name(item)
        if not reason:
            for rejected in self._take(item.device, [item]):
                self._quarantine(rejected)
            return
        for update in singly([item]):
            self._quarantine(reject(update, reason))

    @_patiently
    def apply(self, items: Iterable[Update | Run | Rejected]) -> None:
        """Take in updates, and what could not be read. Bad input never raises."""
        by_device: dict[str, dict[str, list[Update | Run]]] = {}
        read_up_to: dict[str, dict[str, str]] = {}
        for (device, signal), same in groupby(items, key=_NAMES):
            group = list(same)
            if not (safe_name(device) and safe_name(signal)):
                group = [item for item in group if self._has_good_name(item)]
            self._uncommitted += sum([item.nbytes for item in group])
            if device and group:
                read = {at.stream: at.entry for item in group if (at := item.position)}
                read_up_to.setdefault(device, {}).update(read)
            updates = [item for item in group if not isinstance(item, Rejected)]
            if updates:
                by_device.setdefault(device, {}).setdefault(signal, []).extend(updates)
            if len(updates) < len(group):
                for item in group:
                    if isinstance(item, Rejected):
                        self._reject(item)
        for device, signals in by_device.items():
            written: list[Update | Run] = []
            for signal, batch in signals.items():
                if self._has_room(device, signal):
                    written += batch
                else:
                    self._refuse(device, signal, batch)
            for rejected in self._take(device, written):
                self._quarantine(rejected)
        for device, streams in read_up_to.items():
            for stream, entry in streams.items():
                self._store.device(device).read_up_to(stream, entry)

    def _has_good_name(self, item: Update | Run | Rejected) -> bool:
        """Whether it can be kept under its name; if not, it goes to quarantine."""
        reason = _bad_name(item)
        if reason:
            for one in item.updates() if isinstance(item, Run) else [item]:
                self._quarantine(Rejected(item.device, item.signal, reason, one.source))
        return not reason

    def _take(self, device: str, updates: Sequence[Update | Run]) -> list[Rejected]:
        return self._store.device(device).apply(updates)

    def _has_room(self, device: str, signal: str) -> bool:
        """Whether the signal is written; a new one is, if there are not too many already."""
        known = self._store.devices.get(device)
        if known is not None and signal in known.signals:
            return True
        count = sum(len(writer.signals) for writer in self._store.devices.values())
        if count >= self._settings.max_signals:
            return False
        self._store.device(device).signal(signal)
        return True

    def _refuse(self, device: str, signal: str, batch: Sequence[Update | Run]) -> None:
        most = self._settings.max_signals
        reason = f"{device}/{signal} is one signal more than the {most} of store.max_signals"
        for update in singly(batch):
            self._quarantine(Rejected("", "", reason, update.source))

    def _reject(self, rejected: Rejected) -> None:
        """Something that was no update; if its device is known, it is counted with its signal."""
        if not rejected.device:
            self._quarantine(rejected)
            return
        signal = rejected.signal
        if not signal and rejected.source and rejected.source.position:
            signal = rejected.source.position.stream.rsplit("/", 1)[-1]
        if signal and self._has_room(rejected.device, signal):
            ledger = self._store.device(rejected.device).signal(signal).ledger
            ledger.received += 1
            ledger.quarantined += 1
            self._store.device(rejected.device).touch(signal)
        self._quarantine(rejected)

    def _quarantine(self, rejected: Rejected) -> None:
        if rejected.update is not None:
            rejected = replace(rejected, source=_as_message(rejected.update), update=None)
        self._store.quarantine(rejected)
        name = (rejected.device, rejected.signal)
        if name not in self._logged and len(self._logged) >= LOGGED_NAMES:
            name = ("", "")
        self._logged[name] += 1
        if self._logged[name] <= LOGGED_REASONS:
            more = "; further ones are only counted" if self._logged[name] == LOGGED_REASONS else ""
            label = "/".join(part for part in name if part) or "a message"
            number = self._store.scan_number
            scan = self._store.scan_id if number is None else number
            log.warning("scan %s: %s: quarantined: %s%s", scan, label[:200], rejected.reason, more)

    @_patiently
    def expect(self, device: str, signal: str, count: int) -> None:
        """Note that the producer says it sent `count` updates of this signal."""
        writer = self._store.device(device)
        ledger = writer.signal(signal).ledger
        if ledger.expected != count:
            ledger.expected = count
            writer.touch(signal)

    # --- control messages ---

    @_patiently
    def journal(self, kind: str, name: str, raw: bytes) -> None:
        """Keep a control message (see docs/format.md). What cannot be read goes to quarantine."""
        try:
            self._store.journal(kind, name, raw)
        except BadMessage as error:
            self._quarantine(Rejected("", kind, str(error), Source(raw)))
        except Exception as error:
            if passing(error) or isinstance(error, Fenced):
                raise
            log.exception("a control message (%s %s) cannot be taken", kind, name)
            self._quarantine(Rejected("", kind, f"{type(error).__name__}: {error}", Source(raw)))
        self._points_dirty |= kind == "segment"

    def point(self, point_id: int, readings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Sync data of a scan point: {device: {signal: {"value": .., "timestamp": ..}}}."""
        data = {"point_id": point_id, "scan_id": self._store.scan_id, "data": readings}
        self.journal("segment", str(point_id), encode(Message("ScanMessage", data, {})))

    def baseline(self, readings: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Readings that were taken once: {device: {signal: {"value": .., "timestamp": ..}}}."""
        data = {"scan_id": self._store.scan_id, "data": readings}
        self.journal("baseline", "", encode(Message("ScanBaselineMessage", data, {})))

    def status(self, status: ScanState | str, *, reason: str | None = None, **info: Any) -> None:
        """Open, pause, resume or end the scan; `info` goes to the scan's metadata. What the last
        status said besides stays as it is.
        """
        last = self.record.status_message
        known = last.model_dump() if last else {"info": {}}
        own = {"scan_id": self._store.scan_id, "scan_number": self._store.scan_number}
        changes = {"status": str(status), "reason": reason, "timestamp": time.time()}
        fields = {**known, **own, **changes, "info": {**known["info"], **own, **info}}
        self.journal("status", "", encode(Message("ScanStatusMessage", fields, {})))

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

    @_patiently
    def commit(self, device: str | None = None) -> None:
        """Make all that was taken visible and official, of one device or of all.

        Raises Fenced when another writer has taken over; NotSynced if the disk has lost something.
        """
        self._write_all_gathered()
        if self._shipment:
            self._shipment.check()
            self._shipment.room()
        try:
            for name, writer in list(self._store.devices.items()):
                if writer.dirty and device in (None, name):
                    for rejected in writer.publish():
                        self._quarantine(rejected)
                    self._store.commit(writer)
            if self._settings.durability == "commit":
                self._store.sync()
        except NotSynced:
            self._store.distrust()
            raise
        if device is None:
            self._gathering.committed()
            self._uncommitted = 0
            self._due = time.monotonic() + self._settings.flush_interval

    def flush(self) -> None:
        """Commit, and return when readers see all that was taken: at once on a disk; in a bucket
        when the object store has it, however long it may be away.

        Raises as `commit` does.
        """
        self.commit()
        if self._shipment:
            self._shipment.flush()

    @_patiently
    def commit_due(self) -> None:
        """Commit if `flush_interval` has gone by since the last time. To be called often."""
        now = time.monotonic()
        if now >= self._due or self._uncommitted > UNCOMMITTED_BYTES:
            self.commit()
        if self._points_dirty and now - self._points_written >= POINTS_INTERVAL:
            self._store.write_points()
            self._points_dirty, self._points_written = False, time.monotonic()

    @_patiently
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
            verdict = self._judge(state)
            self._store.show(status=state)
            self._store.finish(verdict)
        except NotSynced:
            self._store.distrust()
            raise

    def _judge(self, state: ScanState) -> Verdict:
        if state in (ScanState.ABORTED, ScanState.HALTED):
            return Verdict.ABORTED
        whole = all(
            ledger.whole for signals in self.ledgers.values() for ledger in signals.values()
        )
        lacks = self.record.lost_points or self.record.lacks_baseline
        # what has no ledger, a device that cannot be called so or a control message, counts too
        known = not self._given_up and not self._store.has_quarantined
        complete = whole and not lacks and known
        return Verdict.COMPLETE if complete else Verdict.COMPLETE_WITH_GAPS

    def write_master(self, out: str | AnyPath, settings: MasterSettings) -> None:
        """The HDF5 master file of the finished store."""
        write_master(self.path, out, mode=settings.mode, settings=settings)

    @_patiently
    def close(self) -> None:
        """Let go of all files. A scan that was not finished can be continued later."""
        try:
            self._store.close(keep=self._shipment is not None)
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
        finally:
            self.close()


def _as_message(update: Update) -> Source:
    """What a program made, as the message that it would have come in; what no message can hold is
    kept as people read it.
    """
    reading = {"value": update.value, "timestamp": update.timestamp}
    try:
        raw = encode(Message("DeviceMessage", {"signals": {update.signal: reading}}))
    except BadMessage:
        shown = {key: reprlib.repr(value) for key, value in reading.items()}
        raw = encode(Message("DeviceMessage", {"signals": {str(update.signal): shown}}))
    return Source(raw)


def _bad_name(item: Update | Run | Rejected) -> str:
    for kind, name in (("device", item.device), ("signal", item.signal)):
        known = name or not isinstance(item, Rejected)  # a bad message may not even say its name
        if known and not safe_name(name):
            return f"{kind} name {str(name)[:100]!r} cannot be used in a path"
    return ""
