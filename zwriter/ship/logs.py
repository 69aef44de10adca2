"""A framed log in a bucket: objects that only appear, each the next part of it.

Their names are `<epoch>-<begin>-<end>-<level>`, in bytes of the log. Those of the newest epoch
count; of two that begin at the same byte, the longer one. Sixteen of a level are replaced by one of
the next, so a log of any length is a few dozen objects, and each byte is sent once a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zwriter.failpoint import failpoint
from zwriter.ship.bucket import Bucket
from zwriter.store.framed import whole_frames
from zwriter.store.log_parts import LogPart

JOINED = 16


@dataclass
class LogShipment:
    """Sends what is appended to the log `file` to the folder `key`. The first part that an epoch
    sends has all that there is: what a writer before us sent may be ahead of what was not lost."""

    file: Path
    bucket: Bucket
    key: str
    epoch: int

    def __post_init__(self) -> None:
        self._parts: list[LogPart] = []
        self._others_removed = False

    def ship(self) -> None:
        """Send what is new, up to the last record that is whole."""
        end = self._parts[-1].end if self._parts else 0
        try:
            with self.file.open("rb") as file:
                file.seek(end)
                data = file.read()
        except FileNotFoundError:
            return
        data = data[: whole_frames(data)]
        if data:
            self._send(LogPart(self.epoch, end, end + len(data), 0), data)
        while self._join():
            pass
        if self._parts and not self._others_removed:
            kept = {part.name for part in self._parts}
            self._remove([name for name in self.bucket.names(self.key) if self._is_old(name, kept)])
            self._others_removed = True

    def _is_old(self, name: str, kept: set[str]) -> bool:
        """Whether a part counts no more. A successor may have sent some already: they do."""
        part = LogPart.of(name)
        return part is not None and part.epoch <= self.epoch and name not in kept

    def _send(self, part: LogPart, data: bytes) -> None:
        self.bucket.put(f"{self.key}/{part.name}", data)
        failpoint("ship.log_sent")
        self._parts = [p for p in self._parts if p.end <= part.begin] + [part]

    def _join(self) -> bool:
        last = self._parts[-JOINED:]
        if len(last) < JOINED or last[0].level != last[-1].level:
            return False
        joined = LogPart(self.epoch, last[0].begin, last[-1].end, last[0].level + 1)
        with self.file.open("rb") as file:
            file.seek(joined.begin)
            self._send(joined, file.read(joined.end - joined.begin))
        self._remove([part.name for part in last])
        return True

    def _remove(self, names: list[str]) -> None:
        self.bucket.delete(f"{self.key}/{name}" for name in names)
