"""pytest fixtures: `pytest_plugins = ["zwriter.testing.fixtures"]` in a conftest.py."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from zwriter.protocol import RedisServer, embedded_redis, redis_server


def any_redis(directory: Path) -> AbstractContextManager[RedisServer]:
    """An empty Redis: redis-server where it is on PATH, else the embedded one."""
    start = redis_server if shutil.which("redis-server") else embedded_redis
    return start(directory)


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """An empty Redis for one test."""
    with any_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(own_redis: RedisServer) -> str:
    """The URL of an empty Redis that stops when the test ends."""
    return own_redis.url
