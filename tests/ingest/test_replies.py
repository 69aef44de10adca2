"""The reply to XREAD is read as hiredis reads it, whatever is in it and however it comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from zwriter.ingest.replies import Ask, ReplyParser, messages_of
from zwriter.raw import Messages

Entry = tuple[str, list[bytes]]


def bulk(data: bytes) -> bytes:
    return b"$%d\r\n%s\r\n" % (len(data), data)


def reply(streams: dict[bytes, list[Entry]]) -> bytes:
    """As a server sends it."""
    parts = [b"%%%d\r\n" % len(streams)]
    for key, entries in streams.items():
        parts += [bulk(key), b"*%d\r\n" % len(entries)]
        for entry, fields in entries:
            parts += [b"*2\r\n", bulk(entry.encode()), b"*%d\r\n" % len(fields)]
            parts += [bulk(field) for field in fields]
    return b"".join(parts)


def pairs(found: Any) -> dict[bytes, list[tuple[str, bytes]]]:
    """(id, message) by stream."""
    return {
        key: [pair for messages in groups for pair in messages.pairs()]
        for key, groups in messages_of(found).items()
    }


def by_hiredis(raw: bytes) -> Any:
    reader = hiredis.Reader()
    reader.feed(raw)
    return reader.gets()


class Connection:
    """What a parser needs of a connection, with a socket that we fill."""

    def __init__(self) -> None:
        self.ours, self._sock = socket.socketpair()
        self.socket_timeout = 5.0
        self._sock.settimeout(self.socket_timeout)
        self.encoder = SimpleNamespace(encoding_errors="strict", decode_responses=False)
        self.parser = ReplyParser(65536)
        self.parser.on_connect(self)

    def read(self, pieces: Iterable[bytes], ask: Ask | None = None) -> Any:
        """The reply to XREAD that comes in these pieces."""
        sender = threading.Thread(target=self._send, args=(pieces,))
        sender.start()
        try:
            with self.parser.entries_come(ask):
                return self.parser.read_response()
        finally:
            sender.join()

    def _send(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.ours.sendall(piece)

    def close(self) -> None:
        self.ours.close()
        self._sock.close()


@pytest.fixture
def connection() -> Iterator[Connection]:
    connection = Connection()
    yield connection
    connection.close()


ids = st.builds(lambda ms, n: f"{ms}-{n}", st.integers(0, 2**64 - 1), st.integers(0, 10**4))
messages = st.one_of(
    st.binary(max_size=40),
    st.just(b"as long"),
    st.just(b"\r\n*2\r\n$15\r\n1700000000000-0\r\n*2\r\n$4\r\ndata\r\n$7\r\n"),
    st.builds(lambda n: bytes([n]) * 5000, st.integers(0, 255)),
)
entries = st.lists(
    st.tuples(
        ids,
        st.one_of(
            st.builds(lambda message: [b"data", message], messages),
            st.lists(st.binary(max_size=5), min_size=2, max_size=4).filter(
                lambda fields: len(fields) != 3
            ),
        ),
    ),
    max_size=20,
)
alike_entries = st.builds(
    lambda message, first, count: [
        (f"17000000000{(first + i) // 150:02}-{(first + i) % 150}", [b"data", message])
        for i in range(count)
    ],
    messages,
    st.integers(0, 200),
    st.integers(1, 300),
)
streams = st.dictionaries(st.binary(max_size=60), st.one_of(entries, alike_entries), max_size=4)


@given(streams, st.lists(st.integers(1, 3000), max_size=30))
@settings(max_examples=300)
def test_a_reply_is_read_the_same_however_it_is_cut(
    content: dict[bytes, list[Entry]], cuts: list[int]
) -> None:
    raw = reply(content)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(raw[at : at + cut])
        at += cut
    pieces.append(raw[at:])
    connection = Connection()
    try:
        assert pairs(connection.read(pieces)) == pairs(by_hiredis(raw))
    finally:
        connection.close()


@given(
    st.integers(1, 4),
    st.integers(65536, 400_000),
    st.integers(0, 3),
    st.lists(st.integers(1, 300_000), max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_who_asks_for_the_next_reply_before_this_one_is_there_gets_both(
    count: int, length: int, longer: int, cuts: list[int]
) -> None:
    content = [(f"1-{10**n}", [b"data", bytes([n]) * (length + longer * n)]) for n in range(count)]
    raw, connection = reply({b"a": content}), Connection()
    ends = [0, *sorted({cut for cut in cuts if cut < len(raw)}), len(raw) - 1]
    asked: list[tuple[int, str]] = []
    all_but_one_byte, next_reply = threading.Event(), threading.Thread()

    def pieces() -> Iterator[bytes]:
        yield from (raw[start:end] for start, end in pairwise(ends))
        all_but_one_byte.set()

    def the_rest() -> None:
        all_but_one_byte.wait()
        connection.ours.sendall(raw[-1:] + raw)

    def ask(messages: int, last: str) -> None:
        nonlocal next_reply
        asked.append((messages, last))
        next_reply = threading.Thread(target=the_rest)
        next_reply.start()

    try:
        found = connection.read(pieces(), ask)
        assert asked == [(count, content[-1][0])]
        following = connection.read([])
        next_reply.join()
        for one in (found, following):
            assert pairs(one) == pairs(by_hiredis(raw))
            assert isinstance(one[b"a"][0], Messages), "not by hiredis, which would copy"
    finally:
        connection.close()


@pytest.mark.parametrize(
    "raw", [b"_\r\n", b"*-1\r\n", b"%0\r\n", b"+OK\r\n", b"*0\r\n", reply({b"key": []})]
)
def test_a_reply_without_messages_is_empty(connection: Connection, raw: bytes) -> None:
    found = connection.read([raw])
    if raw != b"+OK\r\n":
        assert not any(pairs(found).values())


def test_an_error_is_given_as_one(connection: Connection) -> None:
    found = connection.read([b"-WRONGTYPE no stream\r\n"])
    assert isinstance(found, redis.ResponseError)


def test_messages_that_are_many_lie_in_the_memory_that_was_received_into(
    connection: Connection,
) -> None:
    content = [(f"1700000000000-{n}", [b"data", b"%04d" % n * 600]) for n in range(100)]
    found = messages_of(connection.read([reply({b"key": content})]))
    (group,) = found[b"key"]
    assert len(group) == 100
    first, last = group.raw(0).obj, group.raw(99).obj
    assert first.base is last.base
    assert pairs(found)[b"key"] == [(entry, fields[1]) for entry, fields in content]


def test_replies_follow_each_other_whoever_reads_them(connection: Connection) -> None:
    one = {b"a": [("1-0", [b"data", b"x" * 9000])]}
    two = {b"a": [("2-0", [b"other", b"x"])]}
    for content in (one, two, one, one, two):
        assert pairs(connection.read([reply(content)])) == pairs(by_hiredis(reply(content)))


def test_a_message_of_many_megabytes_is_read(connection: Connection) -> None:
    content = {b"a": [("1-0", [b"data", bytes(range(256)) * 80_000])]}
    assert pairs(connection.read([reply(content)])) == pairs(by_hiredis(reply(content)))


def test_a_server_that_goes_away_in_mid_reply_is_a_lost_connection(connection: Connection) -> None:
    raw = reply({b"a": [(f"{n}-0", [b"data", b"x" * 9000]) for n in range(100)]})
    for part in (raw[:3], raw[:30], raw[:5000], raw[:500_000]):
        other = Connection()

        def vanish(other: Connection = other, part: bytes = part) -> None:
            other.ours.sendall(part)
            other.ours.close()

        sender = threading.Thread(target=vanish)
        sender.start()
        with pytest.raises(redis.ConnectionError), other.parser.entries_come():
            other.parser.read_response()
        sender.join()
        other.close()


def test_a_server_that_says_no_more_is_a_timeout(connection: Connection) -> None:
    connection._sock.settimeout(0.05)
    raw = reply({b"a": [(f"{n}-0", [b"data", b"x" * 9000]) for n in range(100)]})
    with pytest.raises(redis.TimeoutError):
        connection.read([raw[:400_000]])
