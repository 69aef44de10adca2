"""Redis by hand: commands made beforehand, sent in bulk, replies parsed by hiredis, nothing else.

What feeds a scan must cost as little as can be, or it would be measured in zwriter's place; and it
is the limit that "reading alone" means.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import hiredis

from tests.bench.sizes import MiB
from tests.bench.work import DEVICE, Kind
from zwriter.ingest.commands import Commands
from zwriter.protocol import Message, encode, keys

Argument = str | bytes | int


def command(*arguments: Argument) -> bytes:
    """A command as it is on the wire."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        raw = argument if isinstance(argument, bytes) else str(argument).encode()
        parts += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(parts)


class Wire:
    """A connection to the Redis at a `unix://` URL."""

    def __init__(self, url: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(urlsplit(url).path)
        self._buffer = bytearray(MiB)
        self._reader = hiredis.Reader()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, *arguments: Argument) -> Any:
        self._socket.sendall(command(*arguments))
        return self.reply()

    def send(self, commands: bytes, count: int) -> None:
        """Send `count` commands in one go and wait for their replies; raises what Redis refuses."""
        self._socket.sendall(commands)
        for _ in range(count):
            self.reply()

    def reply(self) -> Any:
        while (reply := self._reader.gets()) is False:
            size = self._socket.recv_into(self._buffer)
            if not size:
                raise ConnectionError("Redis has closed the connection")
            self._reader.feed(self._buffer, 0, size)
        if isinstance(reply, Exception):
            raise reply
        return reply


class Producer:
    """Makes the commands that push one signal's messages, as a BEC device sends them."""

    def __init__(self, scan_id: str, kind: Kind, device: str = DEVICE, signal: str = "") -> None:
        self.device = device
        self.signal = signal or kind.signal
        self.stream = keys.async_signal(scan_id, device, self.signal)
        self._index = keys.async_signal_index(scan_id, device, self.signal)
        self.scan_id = scan_id
        self._kind = kind

    def push(self, number: int, timestamp: float, *, keep: int | None = None) -> bytes:
        """The two commands for message `number`; `keep`: how many the stream holds at most."""
        value = self._kind.value(number)
        data = self._kind.message(number, timestamp, self.signal)
        mode = {"type": "add", "max_shape": list(self._kind.max_shape), "index": None}
        index = {
            "scan_id": self.scan_id,
            "device": self.device,
            "signal": self.signal,
            "shapes": {self.signal: list(getattr(value, "shape", ()))},
            "indices": {self.signal: number},
            "async_update": mode,
        }
        trim: tuple[Argument, ...] = () if keep is None else ("MAXLEN", "~", keep)
        return command("XADD", self.stream, *trim, "*", "data", data) + command(
            "RPUSH", self._index, encode(Message("DeviceAsyncSignalIndexMessage", index))
        )

    def rename(self, wire: Wire, scan_id: str) -> Producer:
        """Make these messages another scan's."""
        other = Producer(scan_id, self._kind, self.device, self.signal)
        wire.call("RENAME", self.stream, other.stream)
        wire.call("RENAME", self._index, other._index)
        return other


def preload(wire: Wire, producer: Producer, count: int) -> None:
    """Put `count` messages into Redis; nothing is trimmed."""
    _in_bulk(wire, (producer.push(number, 1.7e9 + number) for number in range(count)))


def _in_bulk(wire: Wire, pushes: Iterable[bytes]) -> None:
    waiting: list[bytes] = []
    nbytes = 0
    for push in pushes:
        waiting.append(push)
        nbytes += len(push)
        if nbytes > MiB:
            wire.send(b"".join(waiting), 2 * len(waiting))
            waiting, nbytes = [], 0
    wire.send(b"".join(waiting), 2 * len(waiting))


def xread_alone(wire: Wire, stream: str, count: int, message_bytes: int) -> None:
    """Read `count` messages and look at none: what Redis and hiredis give."""
    position: Argument = "0-0"
    while count > 0:
        at_once = _at_once(message_bytes)
        reply = wire.call("XREAD", "COUNT", at_once, "STREAMS", stream, position)
        entries = reply[0][1]
        count -= len(entries)
        position = entries[-1][0]


def xread_by_client(client: Commands, stream: str, count: int, message_bytes: int) -> None:
    """The same with redis-py, as `connect` sets it up."""
    key = stream.encode()
    position = "0-0"
    while count > 0:
        reply = client.xread({key: position}, count=_at_once(message_bytes))
        assert reply
        messages = reply[key]
        count -= sum(map(len, messages))
        position = messages[-1].last


def _at_once(message_bytes: int) -> int:
    """Messages in a reply of about 1 MiB: the size that is read fastest, caches hold it."""
    return max(1, MiB // (message_bytes + 512))
