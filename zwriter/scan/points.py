"""When the arrays of sync data are written, which are written whole each time."""

from __future__ import annotations

import time

from zwriter.store.scan_store import ScanStore

_INTERVAL = 2.0  # seconds between two times
_SHARE = 0.1  # of the time, at most, that this may take,
_LONGEST = 60.0  # as long as that does not mean to wait longer


class PointsNowAndThen:
    """Writes those of `store` if there are new ones, and it is not long enough ago."""

    def __init__(self, store: ScanStore) -> None:
        self._store = store
        self._new = False
        self._due = time.monotonic() + _INTERVAL

    def came(self) -> None:
        """There are new ones."""
        self._new = True

    def write_if_due(self) -> None:
        """To be called often."""
        begun = time.monotonic()
        if not self._new or begun < self._due:
            return
        self._store.write_points()
        ended = time.monotonic()
        pause = min((ended - begun) / _SHARE, _LONGEST)
        self._due = ended + max(_INTERVAL, pause)
        self._new = False
