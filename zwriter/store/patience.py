"""A disk that refuses is waited for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from zwriter.protocol.connection import first_line

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0


class WaitForDisk:
    """Waits 0.1 s, then twice as long each time up to 5 s, until `stop` is set.

    name: what cannot be written, for the log; tell: is called with one line when the disk begins to
    refuse, and with another when it is over.
    """

    def __init__(
        self,
        name: str,
        stop: threading.Event | None = None,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._name = name
        self._stop = stop or threading.Event()
        self._tell = tell
        self._pause = 0.0

    @property
    def waits(self) -> bool:
        """Whether the disk refuses now."""
        return self._pause > 0

    def refused(self, error: OSError) -> None:
        """Wait a little. Raises the error if `stop` is set."""
        if not self._pause:
            text = f"{self._name} cannot be written, and waits until it can be: {first_line(error)}"
            log.error(text)
            self._tell(text)
        self._pause = min(2 * self._pause or _FIRST_PAUSE, _LONGEST_PAUSE)
        if self._stop.wait(self._pause):
            raise error

    def accepted(self) -> None:
        """It can be written again."""
        text = f"{self._name} can be written again"
        log.warning(text)
        self._tell(text)
        self._pause = 0.0
