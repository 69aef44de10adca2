"""Alarms for bad input: one for each signal of a scan, when the first of it is quarantined."""

from __future__ import annotations

from zwriter.scan import ScanWriter
from zwriter.service.outbox import Outbox


class BadInput:
    """Watches the ledgers of a scan."""

    def __init__(self, outbox: Outbox, scan_id: str, writer: ScanWriter) -> None:
        self._outbox = outbox
        self._scan_id = scan_id
        self._writer = writer
        self._told: set[tuple[str, str]] = set()

    def raise_alarms(self) -> None:
        """Raise an alarm for each signal with bad input that has not had one."""
        for device, signals in self._writer.ledgers.items():
            for signal, ledger in signals.items():
                if ledger.quarantined and (device, signal) not in self._told:
                    self._told.add((device, signal))
                    self._outbox.alarm(
                        0,
                        f"{device}/{signal}: what this device pushes cannot all be written;"
                        " the rest is in the scan's quarantine, and the log has the reason",
                        kind="BadInput",
                        device=device,
                        scan_id=self._scan_id,
                    )
