"""What a device has taken since its last commit: what comes back if a signal fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zwriter.model import Run, Update, singly
from zwriter.store.disk import passing
from zwriter.store.signal import SignalWriter

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _InStore:
    """A run whose values are nowhere but in the store: so many rows from `first` on."""

    run: Run
    first: int
    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def updates(self, signal: SignalWriter) -> list[Update]:
        """Its updates again; without values, if these cannot be read."""
        try:
            rows = signal.read(self.first, self.rows)
            values: Any = rows.reshape(self.shape).astype(self.dtype, copy=False)
        except Exception as error:
            if passing(error):
                raise
            log.exception("%s/%s: cannot be read back", self.run.device, self.run.signal)
            values = [None] * self.shape[0]
        return replace(self.run, values=values).updates()


class Pending:
    """Keeps what was taken of each signal, but not memory that belongs to the program."""

    def __init__(self) -> None:
        self._taken: dict[str, list[Update | Run | _InStore]] = {}

    def take(self, name: str, items: Sequence[Update | Run]) -> None:
        """Keep `items`, which are on their way into the signal `name`."""
        self._taken.setdefault(name, []).extend(items)

    def let_go(self, name: str, signal: SignalWriter, first: int) -> None:
        """Keep no memory of the program, after its run was taken: the values are rows in the store,
        from `first` on; if not all of them are, they are copied."""
        run = self._taken[name][-1]
        if isinstance(run, Run) and run.borrowed:
            rows = signal.rows - first
            shape, dtype = run.values.shape, run.values.dtype
            whole = rows * signal.row_size == run.values.size
            bare = replace(run, values=(), borrowed=False)
            self._taken[name][-1] = (
                _InStore(bare, first, rows, shape, dtype) if whole else run.owned()
            )

    def own(self, name: str) -> None:
        """Keep no memory of the program, after its run was interrupted: copy it."""
        last = self._taken[name][-1]
        if isinstance(last, Run):
            self._taken[name][-1] = last.owned()

    def give_back(self, name: str, signal: SignalWriter) -> list[Update]:
        """All that was taken of the signal, in order."""
        updates: list[Update] = []
        for item in self._taken.pop(name, []):
            updates += item.updates(signal) if isinstance(item, _InStore) else singly([item])
        return updates

    def clear(self) -> None:
        """All of it is committed."""
        self._taken.clear()
