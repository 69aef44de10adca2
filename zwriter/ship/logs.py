"""A framed log in a bucket: objects that only appear, each the next part of it.

Their names are `<epoch>-<begin>-<end>-<level>`, in bytes of the log. Those of the newest epoch that
has the log's beginning count; of two that begin at the same byte, the longer one. Sixteen of a
level are replaced by one of the next, if that can be held in memory: a log is a few dozen objects,
a very long one has one more each 2 MiB at the most, and each byte is sent once a level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zwriter.failpoint import failpoint
from zwriter.ship.bucket import Bucket
from zwriter.store.framed import whole_frames
from zwriter.store.log_parts import LogPart

JOINED = 16
PART_BYTES = 32 * 1024 * 1024  # of a part that has more than one record


@dataclass
class LogShipment:
    """Sends what is appended to the log `file` to the folder `key`. The first time in an epoch that
    is all that there is: what a writer before us sent may be ahead of what was not lost."""

    file: Path
    bucket: Bucket
    key: str
    epoch: int

    def __post_init__(self) -> None:
        self._parts: list[LogPart] = []
        self._others_removed = False

    def ship(self) -> None:
        """Send what is new, up to the last record that is whole."""
        if not self.file.exists():
            return
        end = self._parts[-1].end if self._parts else 0
        with self.file.open("rb") as file:
            new = list(_cut(file, end, self.epoch))
            for part in reversed(new):  # all of them count when the first one is there
                self._send(part, file)
        self._parts += new
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

    def _send(self, part: LogPart, file: IO[bytes]) -> None:
        file.seek(part.begin)
        self.bucket.put(f"{self.key}/{part.name}", file.read(part.end - part.begin))
        failpoint("ship.log_sent")

    def _join(self) -> bool:
        last = self._parts[-JOINED:]
        if len(last) < JOINED or last[0].level != last[-1].level:
            return False
        joined = LogPart(self.epoch, last[0].begin, last[-1].end, last[0].level + 1)
        if joined.end - joined.begin > PART_BYTES:
            return False
        with self.file.open("rb") as file:
            self._send(joined, file)
        self._parts[-JOINED:] = [joined]
        self._remove([part.name for part in last])
        return True

    def _remove(self, names: list[str]) -> None:
        self.bucket.delete(f"{self.key}/{name}" for name in names)


def _cut(file: IO[bytes], begin: int, epoch: int) -> Iterator[LogPart]:
    """The parts that the records from `begin` on go into."""
    nbytes = PART_BYTES
    while True:
        file.seek(begin)
        data = file.read(nbytes)
        if whole := whole_frames(data):
            yield LogPart(epoch, begin, begin + whole, 0)
            begin, nbytes = begin + whole, PART_BYTES
        elif len(data) < nbytes:
            return
        else:  # a record that is longer
            nbytes *= 2
