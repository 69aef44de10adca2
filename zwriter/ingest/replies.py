"""What XREAD replies, with long messages, or many, left where the socket put them.

hiredis makes an object of each message, from a copy of a copy of it. Here the reply is received
into memory of its own, and of messages of one length only where they begin is noted. Whatever is
not what XREAD replies for a stream of BEC's is given to hiredis, from its first byte on.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import redis
from numpy.typing import NDArray
from redis.connection import DefaultParser

from zwriter.ingest.commands import WrongType
from zwriter.protocol.alike import LONG, equal_lengths
from zwriter.raw import Entry, IdsBefore, Messages

Ask = Callable[[int, str], None]  # is told how many messages come, and the id of the last one
Bytes = NDArray[np.uint8]
Beginnings = NDArray[np.int64]

_FEW, _SHORT = 8, 4096  # of fewer messages of a stream, and shorter, hiredis makes less work
_LEAST_ROOM = 64 * 1024
_MOST_ROOM = 8 * 1024 * 1024  # what a reply gets at once, as long as it is not known to be larger
_LONGEST = 512 * 1024 * 1024  # what Redis lets a message be, unless told otherwise
_LOOK = 16  # entries that are compared with the first; more, if these were all alike
_MANY = 128 * 1024  # bytes that are received at once
_MOMENT = struct.pack("ll", 0, 5000)  # 5 ms in which they come, as the kernel has it
_FOREVER = struct.pack("ll", 0, 0)
_SHORTEST_ID, _LONGEST_ID = 15, 48  # bytes, with what is before it on its line
_LINE_END = b"\r\n"


class _Form:
    """Bytes of a fixed form: `parts` are the bytes themselves, or patterns (str)."""

    def __init__(self, *parts: bytes | str) -> None:
        pieces: list[bytes] = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(part.encode())
            else:
                pieces += [re.escape(part[i : i + 1]) for i in range(len(part))]
        self._whole = re.compile(b"".join(pieces))
        nested = b"".join(b"(?:" + piece for piece in pieces) + b")?" * len(pieces)
        self._begun = re.compile(nested + rb"\Z")

    def match(self, data: memoryview, at: int, end: int) -> re.Match[bytes] | None:
        return self._whole.match(data, at, end)

    def begins(self, data: memoryview, at: int, end: int) -> bool:
        """Whether what there is can be the beginning of such bytes: then more must come."""
        return self._begun.match(data, at, end) is not None


_NUMBER = r"(\d+)"
_BEHIND_ID = b"\r\n*2\r\n$4\r\ndata\r\n$"
_STREAMS = _Form(b"%", _NUMBER, b"\r\n")
_KEY = _Form(b"$", _NUMBER, b"\r\n")
_ENTRIES = _Form(b"\r\n*", _NUMBER, b"\r\n")
_ENTRY = _Form(b"*2\r\n$", _NUMBER, b"\r\n", r"\d+", b"-", r"\d+", _BEHIND_ID, _NUMBER, b"\r\n")


class _Incoming:
    """A reply as far as it has come: `data` up to `end`."""

    def __init__(self, connection: socket.socket, room: int) -> None:
        self._socket = connection
        self.end = 0
        self.last: int | None = None  # where it ends, once that is known: behind it is the next one
        self._give(np.empty(room, np.uint8))

    def _give(self, memory: Bytes) -> None:
        self.memory, self.data = memory, memory.data

    def receive(self, end: int) -> None:
        """Return when there are at least `end` bytes."""
        self._make_room(end)
        while self.end < end:
            try:
                size = self._socket.recv_into(self.data[self.end : self.last])
            except TimeoutError as error:
                raise redis.TimeoutError("Timeout reading from socket") from error
            if not size:
                raise redis.ConnectionError("Connection closed by server.")
            self.end += size

    def receive_likely(self, end: int) -> None:
        """Have the kernel wait for the bytes of long messages up to `end`, if these are many: a
        thread that comes back from it waits for the interpreter, which others need, too. They may
        not come: it does not wait long.
        """
        end = min(end, self.end + _MOST_ROOM)
        if end - self.end < _MANY or isinstance(self._socket, ssl.SSLSocket):
            return
        self._make_room(end)
        patience = self._socket.gettimeout()
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _MOMENT)
        try:
            while self.end < end:
                size = self._socket.recv_into(self.data[self.end : end], 0, socket.MSG_WAITALL)
                if not size:
                    break
                self.end += size
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(patience)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _FOREVER)

    def _make_room(self, end: int) -> None:
        if end > len(self.memory):
            memory = np.empty(max(end + _LEAST_ROOM, 2 * len(self.memory)), np.uint8)
            memory[: self.end] = self.memory[: self.end]
            self._give(memory)

    def expect(self, form: _Form, at: int) -> re.Match[bytes] | None:
        """The bytes of this form at `at`; None if others are there."""
        while (found := form.match(self.data, at, self.end)) is None:
            if not form.begins(self.data, at, self.end):
                return None
            self.receive(self.end + 1)
        return found


class _Groups:
    """Entries of one stream: where the messages begin, in groups of one length."""

    def __init__(self) -> None:
        self._groups: list[tuple[int, list[range]]] = []

    def add(self, length: int, starts: range) -> None:
        if not self._groups or self._groups[-1][0] != length:
            self._groups.append((length, []))
        self._groups[-1][1].append(starts)

    def messages(self, memory: Bytes) -> Iterator[Messages]:
        for length, parts in self._groups:
            starts = np.fromiter(chain.from_iterable(parts), np.int64, sum(map(len, parts)))
            step = parts[0].step if len(parts) == 1 else -1
            yield Messages(memory, starts, length, _ids_before(length), step)


@lru_cache(1000)
def _ids_before(length: int) -> IdsBefore:
    return IdsBefore(_LONGEST_ID + _behind_id(length), _ids)


def _ids(memory: Bytes, starts: Beginnings, length: int) -> Entry:
    def entry(i: int) -> str:
        end = int(starts[i]) - _behind_id(length)
        return memory[max(end - _LONGEST_ID, 0) : end].tobytes().rpartition(b"\n")[2].decode()

    return entry


class ReplyParser(DefaultParser):  # type: ignore[misc, valid-type]
    """redis-py's parser, which reads the reply to XREAD as above once it is told to expect it."""

    EXCEPTION_CLASSES: ClassVar[dict[str, Any]] = {
        **DefaultParser.EXCEPTION_CLASSES,
        "WRONGTYPE": WrongType,
    }
    _entries_come = False
    _ask: Ask | None = None
    _room = _LEAST_ROOM

    @contextmanager
    def entries_come(self, ask: Ask | None = None) -> Iterator[None]:
        """The next reply is that of XREAD. Of one stream, `ask` is called as soon as the id of the
        last message is known, and it is a long one, which is still to come.
        """
        self._entries_come, self._ask = True, ask
        try:
            yield
        finally:
            self._entries_come, self._ask = False, None

    def read_response(self, *args: Any, **options: Any) -> Any:
        if self._entries_come and self._reader is not None and not self._reader.has_data():
            incoming = _Incoming(self._sock, self._room)
            found = _read(incoming, self._ask)
            if found is not None:
                self._room = min(incoming.end + _LEAST_ROOM, _MOST_ROOM)
                return found
            self._reader.feed(incoming.data[: incoming.end])
        return super().read_response(*args, **options)


def messages_of(reply: Any, **_options: Any) -> Mapping[bytes, list[Messages]]:
    """The messages of a reply, by stream, in groups of one length, whoever has parsed it."""
    return {key: list(_groups_of(entries)) for key, entries in (reply or {}).items()}


def _groups_of(entries: list[Any]) -> Iterator[Messages]:
    if entries and isinstance(entries[0], Messages):
        yield from entries
        return
    yield from equal_lengths([(entry.decode(), _message(fields)) for entry, fields in entries])


def _message(fields: list[Any]) -> bytes:
    """The message of an entry: its field `data`. Without one, all that is in it: no message."""
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name == b"data":
            return bytes(value)
    return b" ".join(fields)


def _read(incoming: _Incoming, ask: Ask | None) -> dict[bytes, list[Messages]] | None:
    """The messages of each stream; None if the reply is another, or not worth it."""
    streams = incoming.expect(_STREAMS, 0)
    if streams is None:
        return None
    found: dict[bytes, _Groups] = {}
    at = streams.end()
    if int(streams[1]) > 1:
        ask = None
    for _ in range(int(streams[1])):
        key = incoming.expect(_KEY, at)
        if key is None or int(key[1]) > _LONGEST:
            return None
        first, last = key.end(), key.end() + int(key[1])
        incoming.receive(last)
        count = incoming.expect(_ENTRIES, last)
        name = bytes(incoming.data[first:last])
        entries = count and _read_entries(incoming, int(count[1]), count.end(), ask)
        if not entries:
            return None
        found[name], at = entries
    if at != incoming.end:
        return None
    memory = incoming.memory[:at] if 2 * at > len(incoming.memory) else incoming.memory[:at].copy()
    memory.flags.writeable = False
    return {name: list(groups.messages(memory)) for name, groups in found.items()}


def _read_entries(
    incoming: _Incoming, count: int, at: int, ask: Ask | None
) -> tuple[_Groups, int] | None:
    """`count` entries that begin at `at`, and where they end."""
    groups, look, few, come = _Groups(), _LOOK, count < _FEW, count
    while count:
        entry = incoming.expect(_ENTRY, at)
        if entry is None:
            return None
        start, length = entry.end(), int(entry[2])
        if (few and length < _SHORT) or length > _LONGEST:
            return None
        tail = _behind_id(length)
        id_at = entry.end(1) + len(_LINE_END)
        if start - tail != id_at + int(entry[1]):
            return None
        size = start + length + len(_LINE_END) - at
        if incoming.end < at + size:
            if length >= LONG:
                likely = at + count * (size + min(_SHORTEST_ID - int(entry[1]), 0))
                if ask and count > 1:
                    likely -= length  # of the last one, only its id
                elif ask:
                    incoming.last = at + size
                    ask(come, str(incoming.data[id_at : start - tail], "ascii"))
                incoming.receive_likely(likely)
            incoming.receive(at + size)
        there = min(count, (incoming.end - at) // size, look)
        alike = _alike(incoming.memory, start - tail, tail, size, there)
        end = at + alike * size
        if incoming.data[end - len(_LINE_END) : end] != _LINE_END:
            return None
        groups.add(length, range(start, start + alike * size, size))
        look = 4 * look if alike == there else _LOOK
        count -= alike
        at = end
    return groups, at


def _alike(memory: Bytes, at: int, length: int, step: int, count: int) -> int:
    """Of `count` times `length` bytes, `step` apart, how many from the first on are the same."""
    pieces: NDArray[Any] = np.ndarray((count,), _piece(length), memory, at, (step,))
    differs = int((pieces == pieces[0]).argmin())  # the first does not
    return differs or count


@cache
def _piece(length: int) -> np.dtype[Any]:
    return np.dtype((np.void, length))


def _behind_id(length: int) -> int:
    """Bytes between an entry's id and its message."""
    return len(_BEHIND_ID) + len(str(length)) + len(_LINE_END)
