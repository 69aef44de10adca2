"""A network between a client and its Redis that can be cut, delayed, and lead elsewhere.

>>> with proxy(redis_url) as network:
...     connect(network.url)
...     network.cut()  # all connections end; new ones are made at once
...     network.delay = 0.2  # seconds that each piece of a reply takes
...     network.open = False  # nobody is there, until it is True again
...     network.target = replica_url  # where new connections lead
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from zwriter.testing.gate import Gate

_PIECE = 64 * 1024


class Proxy(Gate):
    """A TCP port of this machine that leads to the Redis at `target`. Made by `proxy`.

    Setting the attributes may be done from any thread.
    """

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.delay = 0.0

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self.port}/0"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await self._connect()
        try:
            await asyncio.gather(
                self._pass_on(reader, there_writer, replies=False),
                self._pass_on(there_reader, writer, replies=True),
            )
        finally:
            self._end(there_writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.target)
        if parts.scheme == "unix":
            return await self._kept(asyncio.open_unix_connection(parts.path))
        return await self._reached(parts.hostname, parts.port or 6379)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        try:
            while piece := await reader.read(_PIECE):
                if replies and self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort() if writer.is_closing() else writer.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A started Proxy to the Redis at the URL `target` (redis:// or unix://)."""
    with Proxy(target) as made:
        yield made
