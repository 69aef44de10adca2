"""How far a scan is behind its devices, for the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from zwriter.model import Position, Rejected, Run, Update

log = logging.getLogger(__name__)

_LATE = 5.0  # seconds of lag from which it is told more often
_INTERVAL, _INTERVAL_IF_LATE = 60.0, 10.0


class Lag:
    """The age of the newest message that was written. `label` is what the log calls the scan."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._newest: Position | None = None
        self._lag = 0.0
        self._told = time.monotonic()

    def took(self, batch: Sequence[Update | Run | Rejected]) -> None:
        """Note what was written just now."""
        position = batch[-1].position
        if position is not None:
            self._newest = position
            self._lag = max(0.0, time.time() - position.time)

    def tell(self, waiting_bytes: int) -> None:
        """Say it now and then, if anything was written since then; more often if it is large."""
        late = self._lag >= _LATE
        passed = time.monotonic() - self._told
        if self._newest is None or passed < (_INTERVAL_IF_LATE if late else _INTERVAL):
            return
        level = logging.WARNING if late else logging.INFO
        waiting = waiting_bytes / 1e6
        log.log(level, "%s: lag %.1f s, %.0f MB wait", self._label, self._lag, waiting)
        self._newest, self._told = None, time.monotonic()
