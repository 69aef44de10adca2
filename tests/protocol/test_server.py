from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zwriter.errors import ServiceError, UsageError
from zwriter.protocol import connect, embedded_redis, redis_server

SERVERS = [
    pytest.param(
        redis_server,
        marks=pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server"),
        id="redis-server",
    ),
    pytest.param(embedded_redis, id="embedded"),
]


@pytest.mark.parametrize("start", SERVERS)
def test_a_server_runs_as_long_as_its_block(start: Callable[..., Any], tmp_path: Path):
    with (
        start(tmp_path / "a") as first,
        start(tmp_path / "b") as second,
        first.client() as client,
        connect(second.url) as other,
    ):
        client.set("whose", "first")
        assert client.get("whose") == b"first"
        assert other.get("whose") is None
        assert client.info("server")["process_id"] == first.pid
    with pytest.raises(ProcessLookupError):
        os.kill(first.pid, 0)
    with pytest.raises(ServiceError, match="no Redis at unix:"):
        connect(first.url)


@pytest.mark.parametrize("start", SERVERS)
def test_a_server_that_does_not_start_says_where_to_look(start: Callable[..., Any], tmp_path: Path):
    with pytest.raises(ServiceError, match=r"redis\.log"), start(tmp_path, "--no-such-option", "1"):
        pass


@pytest.mark.parametrize("start", SERVERS)
def test_data_that_is_kept_on_disk_is_there_again(start: Callable[..., Any], tmp_path: Path):
    for expected in (None, b"1"):
        with start(tmp_path, "--appendonly", "yes") as server, server.client() as client:
            assert client.get("key") == expected
            client.set("key", "1")


def test_without_redis_server_one_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="apt-get install redis-server"), redis_server(tmp_path):
        pass


def test_a_password_is_not_told():
    with pytest.raises(ServiceError) as caught:
        connect("redis://me:secret@localhost:1/0")
    assert "localhost:1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_what_is_no_url_is_refused():
    with pytest.raises(UsageError, match="redis://host"):
        connect("localhost:6379")
