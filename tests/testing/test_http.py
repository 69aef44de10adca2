"""Where messages of HTTP end that pass by, and what their heads say."""

from __future__ import annotations

import asyncio

import pytest

from zwriter.testing.http import CHUNKED, TO_THE_END, Head, pieces, read_head

GET = b"GET /a/b%20c?x=1 HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKS = b"5;chunk-signature=1\r\nhello\r\n3\r\n\r\n!\r\n0\r\nx-amz-checksum-crc32: 1\r\n\r\n"


def read(data: bytes, method: str | None = None) -> tuple[Head, bytes, bytes]:
    """The first message of what comes in, an answer to `method` or a request: its head, its body,
    and what is behind it."""

    async def reading() -> tuple[Head, bytes, bytes]:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        head = await read_head(reader)
        body = [piece async for piece in pieces(reader, head.body(method))]
        return head, b"".join(body), await reader.read()

    return asyncio.run(reading())


def answer(status: int, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} Reason", *headers, "", "")).encode()


def test_a_request_has_a_method_a_path_and_a_query():
    head, body, behind = read(GET + GET)
    assert (head.method, head.path, head.query) == ("GET", "a/b c", "x=1")
    assert (head.raw, body, behind) == (GET, b"", GET)


def test_a_body_in_chunks_ends_behind_its_trailers():
    message = b"PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS
    head, body, behind = read(message + GET)
    assert head.body() == CHUNKED
    assert (body, behind) == (CHUNKS, GET)


def test_an_answer_has_a_body_as_the_request_and_its_status_say():
    length = answer(200, "Content-Length: 3")
    assert read(length + b"abcd", "GET")[1:] == (b"abc", b"d")
    assert read(length + b"next", "HEAD")[1:] == (b"", b"next")
    assert read(answer(304, "Content-Length: 3") + b"next", "GET")[1:] == (b"", b"next")
    assert read(answer(204) + b"next", "DELETE")[1:] == (b"", b"next")
    assert read(answer(100) + b"next", "PUT")[1:] == (b"", b"next")
    head, body, _ = read(answer(200) + b"all", "GET")
    assert (head.body("GET"), body) == (TO_THE_END, b"all")


def test_a_body_that_ends_too_early_is_an_error():
    for message in (answer(200, "Content-Length: 3") + b"ab", answer(200)[:-1]):
        with pytest.raises(EOFError):
            read(message, "GET")
    with pytest.raises(EOFError):
        read(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS[:-1])


def test_who_closes_the_connection_says_so_or_is_old():
    assert read(answer(200, "Connection: close"), "HEAD")[0].closes
    assert read(answer(200).replace(b"1.1", b"1.0"), "HEAD")[0].closes
    assert not read(answer(200), "HEAD")[0].closes
