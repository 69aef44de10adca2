from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from zwriter.ingest import StreamReader, connect
from zwriter.ingest.commands import Commands
from zwriter.model import Rejected, Run, Update
from zwriter.protocol.publisher import Publisher
from zwriter.settings import RedisSettings


@pytest.fixture
def client(redis_url: str) -> Iterator[Commands]:
    client = connect(RedisSettings(url=redis_url))
    yield client
    client.close()


@pytest.fixture
def publisher(redis_url: str) -> Iterator[Publisher]:
    with Publisher(redis_url) as publisher:
        yield publisher


@pytest.fixture
def take() -> Callable[[StreamReader, int], list[Update | Rejected]]:
    """The next n updates of a reader, waiting for them."""

    def take(reader: StreamReader, n: int) -> list[Update | Rejected]:
        items: list[Update | Rejected] = []
        deadline = time.monotonic() + 120
        while len(items) < n:
            assert time.monotonic() < deadline, f"only {len(items)} of {n} updates came"
            for item in reader.get(0.1) or []:
                items += item.updates() if isinstance(item, Run) else [item]
        return items

    return take
