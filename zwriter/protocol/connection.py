"""One way to reach Redis, for all who need it."""

from __future__ import annotations

from urllib.parse import urlsplit

import redis

from zwriter.errors import ServiceError, UsageError


def connect(url: str) -> redis.Redis:
    """A client of the Redis at `redis://`, `rediss://` or `unix://`, which has answered.

    Replies are bytes. Raises UsageError for a URL that is none, ServiceError when nobody answers or
    we are refused; passwords in the URL are in no message.
    """
    try:
        client = redis.Redis.from_url(url, protocol=3)
    except ValueError as error:
        raise UsageError(
            "that is no Redis URL; write redis://host:port/0, rediss://... or unix:///path"
        ) from error
    try:
        client.ping()
    except redis.RedisError as error:
        client.close()
        where = urlsplit(url)
        place = f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"
        raise ServiceError(f"no Redis at {place}: {error}") from error
    return client
