"""A network between a client and its Redis that can be cut, delayed, and lead elsewhere.

>>> with proxy(redis_url) as network:
...     connect(network.url)
...     network.cut()  # all connections end; new ones are made at once
...     network.delay = 0.2  # seconds that each piece of a reply takes
...     network.open = False  # nobody is let in, until it is True again
...     network.target = replica_url  # where new connections lead
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_PIECE = 64 * 1024


class Proxy:
    """A TCP port of this machine that leads to the Redis at `target`. Made by `proxy`.

    `cut`, and setting the attributes, may be done from any thread.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        self.delay = 0.0
        self.open = True
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def cut(self) -> None:
        """End all connections as they are, in the middle of a reply or not (RST, where unread)."""
        done = threading.Event()

        def cut() -> None:
            for writer in list(self._writers):
                writer.transport.abort()
            done.set()

        self._loop.call_soon_threadsafe(cut)
        done.wait()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if not self.open:
                return
            there_reader, there_writer = await self._connect()
        except OSError:
            return
        else:
            self.connections += 1
            self._writers.add(there_writer)
            try:
                await asyncio.gather(
                    self._pass_on(reader, there_writer, replies=False),
                    self._pass_on(there_reader, writer, replies=True),
                )
            finally:
                self._end(there_writer)
        finally:
            self._end(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.target)
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(parts.path)
        return await asyncio.open_connection(parts.hostname, parts.port or 6379)

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

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A started Proxy to the Redis at the URL `target` (redis:// or unix://)."""
    made = Proxy(target)
    made.start()
    try:
        yield made
    finally:
        made.stop()
