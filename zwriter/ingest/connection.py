"""The connection to Redis: fast, patient, and silent about passwords."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Generator
from typing import Any, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from zwriter.failpoint import failpoint
from zwriter.ingest.commands import Commands
from zwriter.ingest.replies import ReplyParser, messages_of
from zwriter.protocol.connection import asking, first_line
from zwriter.raw import Messages
from zwriter.settings import RedisSettings

log = logging.getLogger(__name__)

_READ_SIZE = 1024 * 1024  # of one recv: small ones halve the throughput of large messages
_SECONDS_TO_ANSWER = 10.0
_DEAD = {  # when a connection is, of which nobody has told the end: after half a minute
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 4,
    socket.TCP_USER_TIMEOUT: 30_000,  # ms, where something was sent: a PING
}


class _Pool(redis.ConnectionPool):
    """connections: how many were made so far."""

    connections = 0

    def make_connection(self) -> Any:
        connection = super().make_connection()
        connection.register_connect_callback(self._connected)
        return connection

    def _connected(self, _connection: object) -> None:
        self.connections += 1


class _Client(redis.Redis):
    @property
    def connections(self) -> int:
        """See `Commands`."""
        pool: Any = self.connection_pool
        return int(pool.connections)

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        parse: Callable[..., Any] = super().parse_response
        if command_name != "XREAD":
            return parse(connection, command_name, **options)
        with connection._parser.entries_come():  # noqa: SLF001
            return parse(connection, command_name, **options)

    def xreads(
        self, stream: bytes, position: str, count: int, go_on: Callable[[], bool]
    ) -> Generator[list[Messages], None, None]:
        """See `Commands`."""
        pool: Any = self.connection_pool
        connection = pool.get_connection()
        asked = False

        def ask(position: str, **options: Any) -> None:
            nonlocal asked
            connection.send_command("XREAD", "COUNT", count, "STREAMS", stream, position, **options)
            asked = True

        def ask_ahead(messages: int, last: str) -> None:
            if messages == count and go_on():
                ask(last, check_health=False)
                failpoint("ingest.asked_ahead")

        try:
            ask(position)
            while asked:
                asked = False
                with connection._parser.entries_come(ask_ahead):  # noqa: SLF001
                    reply = messages_of(connection.read_response())
                yield reply.get(stream, [])
        except redis.ConnectionError:
            return
        finally:
            if asked:  # and nobody takes the answer, which others would take for theirs
                connection.disconnect()
            pool.release(connection)


def connect(settings: RedisSettings) -> Commands:
    """A client of the Redis of the settings, which has answered a PING. Threads may share it.

    A command that fails for want of a connection is tried again for about a second; not one that
    gets no answer for ten: tries of tries, by the client, would take minutes, in which nothing can
    be stopped. Replies are bytes. Raises as `asking` does.
    """
    url = settings.url.get_secret_value()
    dead: dict[str, Any] = {}
    if not url.startswith("unix"):
        dead = {"socket_keepalive": True, "socket_keepalive_options": _DEAD}
    with asking(url):
        pool = _Pool.from_url(
            url,
            protocol=3,
            parser_class=ReplyParser,
            socket_read_size=_READ_SIZE,
            socket_timeout=_SECONDS_TO_ANSWER,
            socket_connect_timeout=_SECONDS_TO_ANSWER,
            health_check_interval=10,
            **dead,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 4, (redis.ConnectionError,)),
        )
        client = _Client.from_pool(pool)
        client.ping()
    client.set_response_callback("XREAD", messages_of)
    return cast("Commands", client)


def until_it_works(what: str, work: Callable[[], None], stop: threading.Event) -> None:
    """Do `work` until it returns or `stop` is set, again and again while Redis is away, or refuses
    us: another password, rights, memory, a script that runs too long. All that can be mended.

    Waits 0.1 s, then twice as long each time up to 5 s; the log has a line at the first failure.
    """
    pause = 0.0
    while not stop.is_set():
        try:
            work()
        except redis.RedisError as error:
            if not pause:
                log.warning("%s: Redis is away, waiting for it: %s", what, first_line(error))
            pause = longer(pause)
            stop.wait(pause)
        else:
            if pause:
                log.info("%s: Redis is back", what)
            return


def longer(pause: float) -> float:
    """Seconds to wait after one more failure; 0 before the first one."""
    return min(2 * pause or 0.1, 5.0)
