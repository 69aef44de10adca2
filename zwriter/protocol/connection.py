"""One way to reach Redis, and to tell that it cannot be reached, for all who need it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis

from zwriter.errors import ServiceError, UsageError


def connect(url: str) -> redis.Redis:
    """A client of the Redis at `redis://`, `rediss://` or `unix://`, which has answered.

    Replies are bytes. Raises as `asking` does.
    """
    with asking(url):
        client = redis.Redis.from_url(url, protocol=3)
        client.ping()
    return client


def _check_database(url: str) -> None:
    """Raises ValueError if it names none: redis-py would take database 0."""
    parts = urlsplit(url)
    database = parts.path.strip("/")
    if database and parts.scheme != "unix":
        int(database)


@contextmanager
def asking(url: str) -> Iterator[None]:
    """In the block, the Redis at a URL is asked. Raises UsageError for a URL that is none,
    ServiceError if Redis does not answer or refuses something: one line that says what to do,
    without the passwords in the URL."""
    try:
        redis.ConnectionPool.from_url(url).make_connection()
        _check_database(url)
    except ValueError as error:
        raise UsageError(
            "that is no Redis URL; write redis://host:port/0, rediss://... or unix:///path"
        ) from error
    except (TypeError, AttributeError, redis.RedisError) as error:
        said = first_line(error).rpartition(".__init__() ")[2]
        raise UsageError(f"an option of the Redis URL cannot be used: {said}") from error
    where = safe_url(url)
    try:
        yield
    except redis.AuthenticationError as error:
        raise ServiceError(
            f"Redis at {where} refuses the user or password; check the URL"
        ) from error
    except redis.ResponseError as error:
        raise ServiceError(f"Redis at {where} refuses: {first_line(error)}") from error
    except redis.RedisError as error:
        raise ServiceError(
            f"Redis at {where} does not answer ({first_line(error)});"
            " is it running, and is this its address?"
        ) from error


def safe_url(url: str) -> str:
    """The URL without user and password, for people to read."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def first_line(error: Exception) -> str:
    """What an error says, for a line of its own."""
    return str(error).partition("\n")[0][:200]
