"""What comes into a scan, from Redis or from a program: to its signal, or into quarantine."""

from __future__ import annotations

import logging
import reprlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from zwriter.assemble.blocks import reject
from zwriter.errors import BadMessage
from zwriter.model import Rejected, Run, Source, SourceInParts, Update, singly
from zwriter.protocol import Message, encode, safe_name
from zwriter.protocol.keys import readable
from zwriter.store.device import DeviceWriter
from zwriter.store.disk import of_the_store
from zwriter.store.scan_store import ScanStore

log = logging.getLogger(__name__)

LOGGED_REASONS = 5  # lines a signal gets in the log for what is quarantined
LOGGED_NAMES = 1000  # signals that get lines of their own

_BY_SIGNAL = attrgetter("device", "signal")


class Intake:
    """Gives updates to the devices of `store`, in which there may be `max_signals` signals."""

    def __init__(self, store: ScanStore, max_signals: int) -> None:
        self._store, self._max_signals = store, max_signals
        self._logged: Counter[tuple[str, str]] = Counter()

    def take(self, items: Sequence[Update | Run | Rejected]) -> int:
        """Take what was read from streams: updates, and what could not be read. How many of them
        went to a file before, and are not in memory any more."""
        by_device: dict[str, dict[str, list[Update | Run]]] = {}
        read_up_to: dict[str, dict[str, str]] = {}
        for (device, signal), same in groupby(items, key=_BY_SIGNAL):
            group = list(same)
            if not (safe_name(device) and safe_name(signal)):
                group = [item for item in group if self._keep_if_well_named(item)]
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
        in_file = 0
        for device, signals in by_device.items():
            written: list[Update | Run] = []
            for signal, batch in signals.items():
                if self.has_room(device, signal):
                    written += batch
                else:
                    for update in singly(batch):
                        self.refuse(device, signal, source=update.source)
            in_file += self._take(device, written)
        for device, streams in read_up_to.items():
            for stream, entry in streams.items():
                self._store.device(device).read_up_to(stream, entry)
        return in_file

    def prepare(self, item: Update | Run) -> None:
        """Do what the disk may refuse before `item` can be taken; nothing is taken yet."""
        if not _bad_name(item):
            self._store.device(item.device).prepare(item.signal)

    def has_taken(self, item: Update | Run) -> bool:
        """Whether `item` was taken, and an interrupt came between that and what was to follow."""
        device = self._store.devices.get(item.device)
        return device is not None and device.has_taken(item)

    def take_made_here(self, item: Update | Run) -> None:
        """Take what a program has made."""
        reason = _bad_name(item)
        if not reason:
            self._take(item.device, [item])
            return
        for update in singly([item]):
            self.quarantine(reject(update, reason))

    def _keep_if_well_named(self, item: Update | Run | Rejected) -> bool:
        """Whether it can be written under its name; if not, it goes to quarantine."""
        reason = _bad_name(item)
        if reason:
            for one in item.updates() if isinstance(item, Run) else [item]:
                self.quarantine(Rejected(item.device, item.signal, reason, one.source))
        return not reason

    def _take(self, name: str, updates: Sequence[Update | Run]) -> int:
        device = self._store.device(name)
        in_file = device.apply(updates)
        self.keep_rejected(device)
        return in_file

    def keep_rejected(self, device: DeviceWriter) -> None:
        """Put what the device could not take into quarantine."""
        while device.rejected:
            rejected = device.rejected[0]
            try:
                self.quarantine(rejected)
            except Exception as error:
                if of_the_store(error):
                    raise
                reason = f"{rejected.reason}; it cannot be kept: {type(error).__name__}: {error}"
                self.quarantine(replace(rejected, reason=reason, source=None, update=None))
            device.rejected.popleft()

    def has_room(self, device: str, signal: str) -> bool:
        """Whether the signal is written; a new one is, if there are not too many already."""
        known = self._store.devices.get(device)
        if known is not None and signal in known.signals:
            return True
        count = sum(len(writer.signals) for writer in self._store.devices.values())
        if count >= self._max_signals:
            return False
        self._store.device(device).signal(signal)
        return True

    def refuse(
        self,
        device: str,
        signal: str,
        what: str = "",
        source: Source | SourceInParts | None = None,
    ) -> None:
        """Put into quarantine what is of a signal for which there is no room."""
        most = self._max_signals
        reason = f"{device}/{signal} is one signal more than the {most} of store.max_signals"
        self.quarantine(Rejected("", "", f"{reason}: {what}" if what else reason, source))

    def _reject(self, rejected: Rejected) -> None:
        """Something that was no update; if its device is known, it is counted with its signal."""
        if not rejected.device:
            self.quarantine(rejected)
            return
        signal = rejected.signal
        if not signal and rejected.source and rejected.source.position:
            signal = rejected.source.position.stream.rsplit("/", 1)[-1]
        if signal and self.has_room(rejected.device, signal):
            ledger = self._store.device(rejected.device).signal(signal).ledger
            ledger.received += 1
            ledger.quarantined += 1
            self._store.device(rejected.device).touch(signal)
        self.quarantine(rejected)

    def quarantine(self, rejected: Rejected) -> None:
        """Keep what cannot be written, and say so in the log, up to a limit."""
        if rejected.update is not None:
            rejected = replace(rejected, source=_as_message(rejected.update), update=None)
        self._store.quarantine(rejected)
        name = (rejected.device, rejected.signal)
        if name not in self._logged and len(self._logged) >= LOGGED_NAMES:
            name = ("", "")
        self._logged[name] += 1
        if self._logged[name] <= LOGGED_REASONS:
            more = "; further ones are only counted" if self._logged[name] == LOGGED_REASONS else ""
            label = readable("/".join(part for part in name if part) or "a message")
            number = self._store.scan_number
            scan = self._store.scan_id if number is None else number
            log.warning("scan %s: %s: quarantined: %s%s", scan, label[:200], rejected.reason, more)


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
