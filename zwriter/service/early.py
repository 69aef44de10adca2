"""What is heard of scans before they are opened."""

from __future__ import annotations

import logging
from collections import OrderedDict

from zwriter.ingest import ControlEvent

log = logging.getLogger(__name__)

_BYTES = 64 * 1024 * 1024


class Early:
    """Keeps it; of too much, the oldest scan's goes."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, list[ControlEvent]] = OrderedDict()
        self._bytes = 0

    def keep(self, event: ControlEvent) -> None:
        self._events.setdefault(event.scan_id, []).append(event)
        self._bytes += len(event.raw)
        while self._bytes > _BYTES:
            scan_id = next(iter(self._events))
            log.warning("scan %s: was never opened; what was heard of it is dropped", scan_id)
            self.take(scan_id)

    def take(self, scan_id: str) -> list[ControlEvent]:
        events = self._events.pop(scan_id, [])
        self._bytes -= sum(len(event.raw) for event in events)
        return events
