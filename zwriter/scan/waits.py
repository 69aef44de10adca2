"""Methods of a writer that wait while the disk refuses, as long as the scan is its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from zwriter.store.disk import Patience, waiting
from zwriter.store.sealed import Freed

P = ParamSpec("P")
T = TypeVar("T")


class Waits:
    """The patience of one writer.

    patience: how long it is; check: raises Fenced if another writer has taken over; fetch: brings
    back a file that has left the disk for a bucket, if there is one.
    """

    def __init__(
        self,
        patience: Patience,
        check: Callable[[], None],
        fetch: Callable[[Path], None] | None,
    ) -> None:
        self._patience, self._check, self._fetch = patience, check, fetch
        self._refused = False

    @property
    def refuses(self) -> bool:
        """Whether the disk refuses now."""
        return self._refused

    def check_ours(self) -> None:
        """Raises Fenced if another writer is known to have taken over."""
        with suppress(OSError):
            self._check()

    def refused(self, error: OSError) -> None:
        """As `Patience.refused`. Raises Fenced if the scan is ours no more."""
        self.check_ours()
        if isinstance(error, Freed) and self._fetch:
            self._fetch(error.path)
            return
        self._refused = True
        self._patience.refused(error)

    def accepted(self) -> None:
        """As `Patience.accepted`."""
        if self._refused:
            self._refused = False
            self._patience.accepted()


class _Writer(Protocol):
    _waits: Waits


W = TypeVar("W", bound=_Writer)


def patiently(method: Callable[Concatenate[W, P], T]) -> Callable[Concatenate[W, P], T]:
    """A method that writes: it waits while the disk refuses. Raises Fenced, whatever it ran into,
    when another writer has taken over.
    """

    @wraps(method)
    def patient(self: W, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with waiting(self._waits):
            try:
                return method(self, *args, **kwargs)
            except Exception:
                self._waits.check_ours()
                raise

    return patient
