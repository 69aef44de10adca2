"""The object store is away, slow or refuses: what is to be sent waits, and the scan goes on."""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_LOOK = 0.1  # seconds between two looks whether to wait on
_TELL = 1.0  # seconds for which a request fails: a server that is asked to be slower says so by it


class Stopped(OSError):
    """We were asked to stop while the object store could not take something."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EHOSTDOWN, text)


class Shipping(threading.Thread):
    """A thread that sends what others write."""


def abandoned() -> bool:
    """Whether the program has come to its end, and nobody is left who could close a writer."""
    if threading.main_thread().is_alive():
        return False
    others = (t for t in threading.enumerate() if t.is_alive() and not isinstance(t, Shipping))
    return all(thread.daemon for thread in others)


class Outage:
    """Knows whether the object store takes what is sent. Any thread may use it.

    name: what is sent, for the log; tell: is called with one line when something has not been sent
    for a second, and with another when that is over; given_up: set when nobody waits for its end
    any more; patience: seconds that a request is made again.
    """

    def __init__(
        self,
        name: str,
        tell: Callable[[str], None] = lambda text: None,
        given_up: threading.Event | None = None,
        patience: float = math.inf,
    ) -> None:
        self._name, self._tell = name, tell
        self._given_up = given_up or threading.Event()
        self._patience = patience
        self._stop = threading.Event()
        self._changing = threading.Lock()
        self._waiting = 0  # requests that have failed and are made again
        self._told = False

    @property
    def lasts(self) -> bool:
        """Whether some request waits. Others may pass meanwhile: it is not over then."""
        return self._waiting > 0

    def failed(self, error: Exception, attempt: int, begun: float) -> None:
        """Wait before a request is made again. Raises Stopped when nobody waits for its answer any
        more.

        attempt: how often it was made; begun: when for the first time, by the monotonic clock.
        """
        with self._changing:
            self._waiting += attempt == 1
            if not self._told and time.monotonic() - begun >= _TELL:
                self._told = True
                self._say(f"{self._name} waits in the spool, the scan goes on: {error}")
        if time.monotonic() - begun >= self._patience:
            raise Stopped(f"{self._name} is not sent: {error}")
        try:
            self.pause(min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
        except Stopped:
            raise Stopped(f"{self._name} is not sent: {error}") from None

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped when nobody else waits any more."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._ended:
            self._stop.wait(min(left, _LOOK))
        if self._ended:
            raise Stopped(f"{self._name} is not sent")

    @property
    def _ended(self) -> bool:
        return self._stop.is_set() or self._given_up.is_set() or abandoned()

    def passed(self, attempt: int) -> None:
        """A request was answered when it was made for the `attempt`th time."""
        if attempt > 1:
            with self._changing:
                self._waiting -= 1
                if self._told and not self._waiting:
                    self._told = False
                    self._say(f"{self._name} is sent again")

    def stop(self) -> None:
        """Wait no more."""
        self._stop.set()

    def _say(self, text: str) -> None:
        log.warning(text)
        self._tell(text)
