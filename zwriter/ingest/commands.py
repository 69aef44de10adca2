"""The Redis commands that zwriter's service uses, with replies as our client gives them: bytes.

redis-py's own annotations cannot know how a client was configured. This list is also what a
least-rights user of the service needs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import redis

from zwriter.raw import Messages

Key = str | bytes
Entry = tuple[bytes, dict[bytes, bytes]]


class WrongType(redis.ResponseError):
    """A key holds something else than the command is for. All else that Redis refuses may pass."""


class Commands(Protocol):
    """A Redis client made by `connection.connect`."""

    @property
    def connections(self) -> int:
        """How many were made so far: a new one may lead to another server."""

    def get(self, name: Key) -> bytes | None: ...
    def mget(self, keys: Sequence[Key]) -> list[bytes | None]: ...
    def type(self, name: Key) -> bytes: ...
    def scan_iter(self, match: str, count: int) -> Iterator[bytes]: ...
    def llen(self, name: str) -> int: ...
    def lindex(self, name: str, index: int) -> bytes | None: ...
    def lrange(self, name: str, start: int, end: int) -> list[bytes]: ...
    def xread(self, streams: Mapping[bytes, str], count: int) -> Mapping[bytes, list[Messages]]: ...
    def xreads(
        self, stream: bytes, position: str, count: int, go_on: Callable[[], bool]
    ) -> Generator[list[Messages], None, None]:
        """What XREADs of one stream of long messages give, `count` at most each, one behind the
        other: as long as they are full and `go_on` says so, the next one is asked for while the
        last message still comes. Ends when the connection fails.
        """

    def xrange(self, name: str, min: bytes) -> list[Entry]: ...  # noqa: A002
    def xrevrange(
        self,
        name: Key,
        max: str = "+",  # noqa: A002
        *,
        count: int,
    ) -> list[Entry]: ...
    def time(self) -> tuple[int, int]: ...
    def xinfo_stream(self, name: Key) -> dict[Any, Any]: ...
    def xadd(
        self, name: str, fields: Mapping[str, bytes], *, maxlen: int, approximate: bool
    ) -> bytes: ...
    def pubsub(self) -> Any: ...
    def pipeline(self, transaction: bool = True) -> Any: ...
    def close(self) -> None: ...
