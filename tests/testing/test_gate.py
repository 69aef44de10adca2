"""A port that is shut or cut: whoever comes just then is not served, and does not wait in vain."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from zwriter.testing.gate import Gate


class Silent(Gate):
    """Nobody gets an answer here."""

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()


@contextmanager
def busy(gate: Gate) -> Iterator[None]:
    """Its thread does nothing meanwhile, and then all that has come together."""
    begun, ended = threading.Event(), threading.Event()
    gate._loop.call_soon_threadsafe(lambda: begun.set() or ended.wait())
    begun.wait()
    try:
        yield
    finally:
        ended.set()


async def after(turns: int, work: Callable[[], Awaitable[None]]) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await work()


def client(gate: Gate) -> socket.socket:
    return socket.create_connection(("127.0.0.1", gate.port), timeout=10)


@pytest.mark.parametrize("turns", range(6))
def test_who_comes_when_it_is_shut_is_sent_away(turns: int) -> None:
    with Silent() as gate:
        with busy(gate):
            comes = client(gate)
            comes.sendall(b"hello")
            shut = asyncio.run_coroutine_threadsafe(
                after(turns, lambda: gate._listen(False)), gate._loop
            )
        shut.result()
        with comes, pytest.raises(ConnectionResetError):
            comes.recv(1)
        with pytest.raises(ConnectionRefusedError):
            client(gate)


@pytest.mark.parametrize("turns", range(1, 6))
def test_who_has_come_when_it_is_cut_is_cut(turns: int) -> None:
    with Silent() as gate:
        with busy(gate):
            comes = client(gate)
            comes.sendall(b"hello")
            cut = asyncio.run_coroutine_threadsafe(after(turns, gate._cut), gate._loop)
        cut.result()
        with comes, pytest.raises(ConnectionResetError):
            comes.recv(1)
        client(gate).close()
