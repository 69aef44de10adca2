"""How a framed log lies in a bucket, where nothing can be appended: see docs/format.md."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import IO, Self

from zwriter.objects import AnyPath, ObjectPath, contents, each

_ATTEMPTS = 20
_IN_MEMORY = 16 * 1024 * 1024  # bytes of a log
_AT_ONCE = 8  # parts that are read side by side


@dataclass(frozen=True, slots=True)
class LogPart:
    """An object with the bytes of a log from `begin` to `end`."""

    epoch: int
    begin: int
    end: int
    level: int

    @property
    def name(self) -> str:
        return f"{self.epoch:06d}-{self.begin:012d}-{self.end:012d}-{self.level}"

    @classmethod
    def of(cls, name: str) -> Self | None:
        """The part that an object's name says; None if it says none, or one of nothing."""
        fields = name.split("-")
        if len(fields) != 4 or not all(field.isdecimal() for field in fields):
            return None
        part = cls(*map(int, fields))
        return part if part.begin < part.end else None


def chosen(names: list[str]) -> list[LogPart]:
    """The parts, of those whose names are given, that make up the log: one behind the other, of the
    newest epoch that has its beginning, as few as there can be.
    """
    parts = [part for name in names if (part := LogPart.of(name))]
    newest = max((part.epoch for part in parts if not part.begin), default=0)
    longest: dict[int, LogPart] = {}
    for part in parts:
        if part.epoch == newest and part.end >= longest.get(part.begin, part).end:
            longest[part.begin] = part
    found, end = [], 0
    while part := longest.get(end):
        found.append(part)
        end = part.end
    return found


def log_size(path: AnyPath) -> int | None:
    """How many bytes a log has; None if there is none."""
    if isinstance(path, ObjectPath):
        parts = chosen(list(contents(path)))
        return parts[-1].end if parts else None
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def open_log(path: AnyPath) -> IO[bytes]:
    """A log, wherever it is, to be read. Raises FileNotFoundError if there is none."""
    if not isinstance(path, ObjectPath):
        return path.open("rb")
    for _ in range(_ATTEMPTS):
        parts = chosen(list(contents(path)))
        if not parts:
            raise FileNotFoundError(str(path))
        try:
            return _joined(path, parts)
        except FileNotFoundError:
            continue  # it was joined with others meanwhile
    raise OSError(f"{path} changes too fast to be read")


def _joined(path: ObjectPath, parts: list[LogPart]) -> IO[bytes]:
    """What is in the parts, in a file of nobody else's if it is much. Raises FileNotFoundError."""
    joined = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - its reader closes it
    try:
        for first in range(0, len(parts), _AT_ONCE):
            some = parts[first : first + _AT_ONCE]
            for data in each(path, lambda part: (path / part.name).read_bytes(), some):
                joined.write(data)
        joined.seek(0)
    except BaseException:
        joined.close()
        raise
    return joined
