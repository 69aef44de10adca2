"""A TCP port of this machine that a thread serves, and that can be shut and cut: what networks
that break on purpose are made of (`testing.proxy`, `testing.s3_faults`)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

PIECE = 256 * 1024  # bytes that are passed on at a time
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what is closed is reset, what was not sent is lost

T = TypeVar("T")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Gate:
    """`cut` and `open` may be used from any thread. Whoever inherits says what happens to a
    connection that is made, in `_connected`."""

    def __init__(self) -> None:
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()  # those of connections that were made here
        self._writers: set[asyncio.StreamWriter] = set()
        self._cuts = 0
        self._listener: socket.socket | None = None
        self._reserved = socket.socket()  # keeps the port while nobody listens
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.open = False
        self._there(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    @property
    def open(self) -> bool:
        """Whether somebody is there: set to False, all connections end, and new ones are refused
        until it is True again."""
        return self._listener is not None

    @open.setter  # noqa: A003
    def open(self, value: bool) -> None:
        self._there(self._listen(value))

    def cut(self) -> None:
        """Reset all connections, in the middle of a message or not; new ones are made at once."""
        self._there(self._cut())

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _reached(self, host: str | None, port: int | None) -> Streams:
        """A connection to a server, which `cut` cuts as well. Raises OSError if there is none."""
        return await self._kept(asyncio.open_connection(host, port, limit=PIECE))

    def _kept(self, opening: Coroutine[Any, Any, Streams]) -> Coroutine[Any, Any, Streams]:
        """A connection that `cut` cuts from now on, also while it is being opened."""
        return self._opened(opening, self._cuts)

    async def _opened(self, opening: Coroutine[Any, Any, Streams], cuts: int) -> Streams:
        reader, writer = await opening
        if cuts != self._cuts:
            self._reset(writer)
            raise ConnectionResetError
        self._writers.add(writer)
        return reader, writer

    def _end(self, writer: asyncio.StreamWriter) -> None:
        """Close it, when all is sent."""
        self._writers.discard(writer)
        writer.close()

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        with contextlib.suppress(OSError):  # it has ended already
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()

    def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """What the thread makes of it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, value: bool) -> None:
        if self._listener:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
            await self._cut()
        if value:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            self._listener.setblocking(False)
            self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Let in who has come, so that `cut` finds them at once. An asyncio server tells us of them
        later: when it was closed meanwhile, they are served nevertheless, or nobody closes them."""
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # who came has gone already
        self.connections += 1
        opening = self._kept(asyncio.open_connection(sock=connection, limit=PIECE))
        task = self._loop.create_task(self._serve(opening))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, opening: Coroutine[Any, Any, Streams]) -> None:
        with contextlib.suppress(OSError, EOFError):  # one of both has gone, or was cut off
            reader, writer = await opening
            try:
                await self._connected(reader, writer)
            finally:
                self._end(writer)

    async def _cut(self) -> None:
        self._cuts += 1
        for writer in list(self._writers):
            self._reset(writer)

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
