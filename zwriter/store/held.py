"""A folder that is held open, and stays the same one when another takes its place."""

from __future__ import annotations

import os
from pathlib import Path


class HeldFolder:
    """`path` leads to the folder that was at `place`, even when that is renamed or removed.

    Needs Linux' /proc; without it, `path` is `place`.
    """

    def __init__(self, place: Path) -> None:
        self._fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        held = Path(f"/proc/self/fd/{self._fd}")
        self.path = held if held.exists() else place

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
