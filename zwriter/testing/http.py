"""HTTP/1.1 messages as they pass by: what their heads say, where their bodies end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from urllib.parse import unquote

from zwriter.testing.gate import PIECE

CHUNKED, TO_THE_END = "chunked", "to the end"  # instead of a number of bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The first line, split, and the headers by their names in small letters. raw: as it came."""

    raw: bytes
    first: tuple[str, str, str]
    headers: dict[str, str]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first[1])

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first[0]

    @property
    def path(self) -> str:
        """Of a request, as the user wrote it, without the slash at its beginning."""
        return unquote(self.first[1].partition("?")[0]).removeprefix("/")

    @property
    def query(self) -> str:
        """Of a request."""
        return self.first[1].partition("?")[2]

    @property
    def waits(self) -> bool:
        """Whether the client sends no body before it was told to."""
        return self.headers.get("expect", "").lower() == "100-continue"

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this message."""
        old = "HTTP/1.0" in self.first
        wish = self.headers.get("connection", "close" if old else "").lower()
        return wish == "close"

    def body(self, answered: str | None = None) -> int | str:
        """How long its body is: bytes, CHUNKED or TO_THE_END of the connection.

        answered: the method of the request, if this is an answer.
        """
        if answered and (
            answered == "HEAD" or self.status in (204, 304) or 100 <= self.status < 200
        ):
            return 0
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return CHUNKED
        if "content-length" in self.headers:
            return int(self.headers["content-length"])
        return TO_THE_END if answered else 0


async def read_head(reader: asyncio.StreamReader) -> Head:
    """The next message's. Raises EOFError if there is none."""
    raw = await reader.readuntil(b"\r\n\r\n")
    lines = raw.decode("latin-1").split("\r\n")
    first, second, third = (*lines[0].split(" ", 2), "")[:3]  # an answer may have no reason
    pairs = (line.partition(":") for line in lines[1:] if line)
    return Head(raw, (first, second, third), {n.strip().lower(): v.strip() for n, _, v in pairs})


async def pieces(reader: asyncio.StreamReader, length: int | str) -> AsyncGenerator[bytes, None]:
    """A body as it goes over the wire. Raises EOFError if it ends too early."""
    if length == CHUNKED:
        async for piece in _chunks(reader):
            yield piece
    elif length == TO_THE_END:
        while piece := await reader.read(PIECE):
            yield piece
    else:
        left = int(length)
        while left:
            piece = await reader.read(min(left, PIECE))
            if not piece:
                raise EOFError
            left -= len(piece)
            yield piece


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    size = -1
    while size:
        line = await reader.readuntil(b"\r\n")
        yield line
        size = int(line.partition(b";")[0], 16)
        if size:
            async for piece in pieces(reader, size + 2):
                yield piece
    while line != b"\r\n":  # trailers, and the empty line behind them
        line = await reader.readuntil(b"\r\n")
        yield line
