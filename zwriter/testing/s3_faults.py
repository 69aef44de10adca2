"""A network between clients and an S3 server that breaks things on purpose, and counts.

>>> with s3_faults(server) as network:
...     scan = open_scan(url, storage_options=network.options)
...     network.answer("SlowDown", times=3, method="PUT", key="*/commits/*")
...     network.lose_answers(times=1, method="PUT")  # the server does it, the client isn't told
...     network.cut_uploads(after=1000)  # bytes of a request's body; every time, until it heals
...     network.ignore_conditions()  # as a server does that does not know If-None-Match
...     network.heal()
...     network.open = False  # the server is gone, until it is True again
...     network.requests["PUT"], network.log

Rules are tried in the order in which they were made, and each request meets the first that fits
it and is not used up: so they can be written down as a sequence. What nothing fits passes through
byte by byte, also the Host header, which is signed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NamedTuple
from urllib.parse import urlsplit

from zwriter.testing.gate import Gate
from zwriter.testing.http import TO_THE_END, Head, pieces, read_head
from zwriter.testing.s3 import S3Server
from zwriter.testing.s3_errors import AWS_STATUS, Error


@dataclass(slots=True)
class Request:
    """A request that came in. Counts are right as soon as the client has its answer."""

    method: str
    key: str  # bucket/name, or what else the URL's path is
    query: str
    status: int | None = None  # of the answer that the client was given; None: of none
    uploaded: int = 0  # bytes of the request's body
    downloaded: int = 0  # bytes of the answer's body


class Hold:
    """Answers that are not given yet; the server has done what they answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._released = asyncio.Event()
        self._reached = threading.Event()

    def wait(self, timeout: float = 60.0) -> None:
        """Until an answer is held. Raises TimeoutError, after seconds, if there is none."""
        if not self._reached.wait(timeout):
            raise TimeoutError("no request came whose answer is to be held")

    def release(self) -> None:
        """Give them, and all that are to come."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def passed(self) -> None:
        self._reached.set()
        await self._released.wait()


@dataclass(slots=True)
class _Rule:
    """Which requests it is for, and what happens to them."""

    times: int | None
    method: str
    key: str
    error: Error | None = None
    lose_answer: bool = False
    cut_upload: int | None = None
    cut_download: int | None = None
    hold: Hold | None = None
    unconditional: bool = False

    def takes(self, request: Request) -> bool:
        """Whether it is for this request, which then is one of its `times`."""
        if self.times == 0 or self.method not in ("*", request.method):
            return False
        if not fnmatchcase(request.key, self.key):
            return False
        if self.times:
            self.times -= 1
        return True


class S3Faults(Gate):
    """A port of this machine that leads to an S3 server. Made by `s3_faults`.

    All may be done from any thread. times: to how many requests it happens; None: to all that fit,
    until `heal`. method: HTTP's; key: a shell pattern for `bucket/name`.
    """

    def __init__(self, server: S3Server) -> None:
        super().__init__()
        self._behind = server
        self.server = replace(server, endpoint=f"http://127.0.0.1:{self.port}")
        self.log: list[Request] = []
        self.delay = 0.0  # seconds before each answer
        self.bytes_per_second: float | None = None  # of each body, both ways
        self._target = urlsplit(server.endpoint)
        self._rules: list[_Rule] = []

    @property
    def options(self) -> dict[str, str]:
        """What `open_scan` and others take as `storage_options`."""
        return self.server.options

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables."""
        return self.server.environment

    @property
    def requests(self) -> Counter[str]:
        """How many there were, by method."""
        return Counter(request.method for request in self.log)

    @property
    def uploaded(self) -> Counter[str]:
        """Bytes of requests' bodies, by method."""
        return _total((request.method, request.uploaded) for request in self.log)

    @property
    def downloaded(self) -> Counter[str]:
        """Bytes of answers' bodies, by method."""
        return _total((request.method, request.downloaded) for request in self.log)

    def answer(
        self,
        code: str,
        *,
        status: int | None = None,
        times: int | None = None,
        method: str = "*",
        key: str = "*",
    ) -> None:
        """Answer with an error that has this code; the server hears nothing of the request.

        code: one of `s3_errors`; status: if it is not to be AWS's.
        """
        error = Error(code, status or AWS_STATUS[code])
        self._rules.append(_Rule(times, method, key, error=error))

    def lose_answers(self, *, times: int | None = None, method: str = "*", key: str = "*") -> None:
        """Let the server do it, then close the connection without its answer."""
        self._rules.append(_Rule(times, method, key, lose_answer=True))

    def cut_uploads(
        self, *, after: int, times: int | None = None, method: str = "*", key: str = "*"
    ) -> None:
        """Reset both connections when the server has had that many bytes of a request's body."""
        self._rules.append(_Rule(times, method, key, cut_upload=after))

    def cut_downloads(
        self, *, after: int, times: int | None = None, method: str = "*", key: str = "*"
    ) -> None:
        """Reset both connections when the client has had that many bytes of an answer's body."""
        self._rules.append(_Rule(times, method, key, cut_download=after))

    def hold(self, *, times: int | None = None, method: str = "*", key: str = "*") -> Hold:
        """Let the server do it, but hold its answer until it is released."""
        hold = Hold(self._loop)
        self._rules.append(_Rule(times, method, key, hold=hold))
        return hold

    def ignore_conditions(self) -> None:
        """Let PUTs write over what is there, whatever their If-None-Match says."""
        self._rules.append(_Rule(None, "PUT", "*", unconditional=True))

    def heal(self) -> None:
        """No more faults: rules are forgotten, held answers given; it is open and fast."""
        rules, self._rules = self._rules, []
        for rule in rules:
            if rule.hold:
                rule.hold.release()
        self.delay, self.bytes_per_second = 0.0, None
        if not self.open:
            self.open = True

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client, server = _Side(reader, writer), None
        try:
            while not writer.is_closing():
                head = await read_head(reader)
                request = Request(head.method, head.path, head.query)
                self.log.append(request)
                rule = next((rule for rule in self._rules if rule.takes(request)), _NONE)
                if rule.error:
                    await self._refuse(client, head, request, rule.error)
                    continue
                if rule.unconditional and "if-none-match" in head.headers:
                    # the header is signed: not taken out, but made to hold
                    await asyncio.to_thread(self._remove, request.key)
                if server is None or server.reader.at_eof():
                    server = _Side(*await self._reached(self._target.hostname, self._target.port))
                try:
                    await self._exchange(client, server, head, request, rule)
                except _Cut:
                    self._reset(writer)
                    self._reset(server.writer)
        finally:
            if server:
                self._end(server.writer)

    def _remove(self, key: str) -> None:
        bucket, _, name = key.partition("/")
        with closing(self._behind.client()) as client:
            client.delete_object(Bucket=bucket, Key=name)

    async def _refuse(self, client: _Side, head: Head, request: Request, error: Error) -> None:
        if not head.waits:
            async for piece in pieces(client.reader, head.body()):
                request.uploaded += len(piece)
                await self._pace(piece)
        await asyncio.sleep(self.delay)
        request.status = error.status
        client.writer.write(error.answer(head))
        await client.writer.drain()
        if head.waits:
            client.writer.close()

    async def _exchange(
        self, client: _Side, server: _Side, head: Head, request: Request, rule: _Rule
    ) -> None:
        """Pass on a request and its answer."""
        server.writer.write(head.raw)
        sending = asyncio.create_task(self._send(client, server, head, request, rule.cut_upload))
        answering = asyncio.create_task(self._answer(client, server, request, rule))
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()  # raises what went wrong: there will be no answer
            told, closes = await answering
            if told or not head.waits:
                await sending
            if closes or not sending.done():
                client.writer.close()
        finally:
            for task in (sending, answering):
                task.cancel()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _send(
        self, client: _Side, server: _Side, head: Head, request: Request, cut: int | None
    ) -> None:
        """The request's body. What the server does not want to hear any more the client may say
        nevertheless: before it has said all, many do not listen."""
        async with aclosing(pieces(client.reader, head.body())) as body:
            async for piece in body:
                sent, request.uploaded = request.uploaded, request.uploaded + len(piece)
                await self._pace(piece)
                if cut is not None and request.uploaded >= cut:
                    server.writer.write(piece[: cut - sent])
                    await server.writer.drain()
                    raise _Cut
                if not server.writer.is_closing():
                    server.writer.write(piece)
                    try:
                        await server.writer.drain()
                    except OSError:
                        server.writer.close()

    async def _answer(
        self, client: _Side, server: _Side, request: Request, rule: _Rule
    ) -> tuple[bool, bool]:
        """The answer; whether the client was told to send its body, and whether both close."""
        told, head = False, await read_head(server.reader)
        while head.status < 200:  # 100 Continue
            told = True
            client.writer.write(head.raw)
            head = await read_head(server.reader)
        if rule.hold:
            await rule.hold.passed()
        await asyncio.sleep(self.delay)
        if client.writer.is_closing():
            raise EOFError
        async with aclosing(pieces(server.reader, length := head.body(request.method))) as body:
            if rule.lose_answer:
                async for _ in body:
                    pass
                return told, True
            request.status = head.status
            client.writer.write(head.raw)
            async for piece in body:
                given, request.downloaded = request.downloaded, request.downloaded + len(piece)
                await self._pace(piece)
                if rule.cut_download is not None and request.downloaded >= rule.cut_download:
                    client.writer.write(piece[: rule.cut_download - given])
                    await client.writer.drain()
                    raise _Cut
                client.writer.write(piece)
                await client.writer.drain()
        await client.writer.drain()
        return told, head.closes or length == TO_THE_END

    async def _pace(self, piece: bytes) -> None:
        if self.bytes_per_second:
            await asyncio.sleep(len(piece) / self.bytes_per_second)


@contextmanager
def s3_faults(server: S3Server) -> Iterator[S3Faults]:
    """A started S3Faults before the server, whose endpoint is http."""
    with S3Faults(server) as made:
        yield made


_NONE = _Rule(None, "*", "*")


class _Side(NamedTuple):
    """The connection to the client, or to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class _Cut(Exception):
    """Both connections are to be reset."""


def _total(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for name, count in counts:
        total[name] += count
    return total
