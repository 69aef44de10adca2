"""Alarms of a scan: for bad input (one for each signal, when the first of it is quarantined), for
signals that have failed, for a slow disk, for streams that cannot be read, and for those that Redis
is about to trim before they are read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import redis

from zwriter.ingest import StreamReader
from zwriter.ingest.commands import Commands
from zwriter.ingest.lag import unread_share
from zwriter.scan import ScanWriter
from zwriter.service.outbox import Outbox

log = logging.getLogger(__name__)

LATE = 0.5  # of what Redis keeps of a stream
SLOW = 10.0  # seconds


class BadInput:
    """Watches the ledgers of a scan: for what was quarantined, and for signals that have failed."""

    def __init__(self, outbox: Outbox, scan_id: str, writer: ScanWriter) -> None:
        self._outbox = outbox
        self._scan_id = scan_id
        self._writer = writer
        self._told: set[tuple[str, str, str]] = set()

    def raise_alarms(self) -> None:
        """Raise an alarm for each signal with bad input that has not had one."""
        for device, signals in self._writer.ledgers.items():
            for signal, ledger in signals.items():
                if ledger.failed:
                    text = "is not written any more; what comes is kept in the scan's quarantine"
                    self._tell(1, device, signal, "SignalFailed", f"{text} ({ledger.failed})")
                elif ledger.quarantined:
                    text = "what this device pushes cannot all be written; the rest is in the"
                    text += " scan's quarantine, and the log has the reason"
                    self._tell(0, device, signal, "BadInput", text)

    def _tell(
        self, severity: Literal[0, 1], device: str, signal: str, kind: str, text: str
    ) -> None:
        if (device, signal, kind) in self._told:
            return
        self._told.add((device, signal, kind))
        text = f"{device}/{signal}: {text}"
        self._outbox.alarm(severity, text, kind=kind, device=device, scan_id=self._scan_id)


class SlowDisk:
    """Watches how long a scan's writes take."""

    def __init__(self, outbox: Outbox, scan_id: str, label: str) -> None:
        self._outbox = outbox
        self._scan_id = scan_id
        self._label = label
        self._since: float | None = None
        self._told = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """In the block something is written."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def raise_alarm(self) -> None:
        """Raise an alarm, once for a scan, if a write takes longer than `SLOW` seconds."""
        since = self._since
        if self._told or since is None or time.monotonic() - since < SLOW:
            return
        self._told = True
        text = f"{self._label}: the disk is slow, a write takes more than {SLOW} s; Redis holds"
        text += " what cannot be written yet, until it trims it"
        self._outbox.alarm(1, text, kind="SlowDisk", scan_id=self._scan_id)


class Reading:
    """Watches how the streams of a scan are read."""

    def __init__(
        self, outbox: Outbox, client: Commands, scan_id: str, reader: StreamReader
    ) -> None:
        self._outbox = outbox
        self._client = client
        self._scan_id = scan_id
        self._reader = reader
        self._late: set[str] = set()
        self._refused = False

    def raise_alarms(self) -> None:
        """Raise an alarm for what is new. Raises what redis-py raises when Redis is away."""
        while self._reader.troubles:
            self._alarm("StreamTrouble", self._reader.troubles.popleft())
        for key, position in self._reader.behind:
            if key not in self._late and self._is_late(key, position):
                self._late.add(key)
                self._alarm(
                    "ReadingIsLate",
                    f"{key}: half of what Redis keeps of it is not read yet; what it trims before"
                    " that is lost. Let the device push less, or Redis keep more (max_size)",
                )

    def tell_forgotten(self) -> None:
        """Raise an alarm: an open scan is not known to Redis any more."""
        self._alarm(
            "RedisHasForgotten",
            "Redis has lost what it held of this open scan: what was not read yet is gone. It will"
            " be named, but for the last updates of devices that push nothing more",
        )

    def refused(self, error: redis.ResponseError) -> None:
        """Raise an alarm, once for a scan: Redis refuses what is asked of it."""
        if not self._refused:
            self._refused = True
            log.error("scan %s: Redis refuses a command: %s", self._scan_id, error)
            text = f"Redis refuses what the scan needs, and is asked again: {error}"
            self._alarm("RedisRefuses", text)

    def _is_late(self, key: str, position: str) -> bool:
        raw = key.encode("utf-8", "surrogateescape")
        return unread_share(self._client, raw, position) > LATE

    def _alarm(self, kind: str, text: str) -> None:
        self._outbox.alarm(1, text, kind=kind, scan_id=self._scan_id)
