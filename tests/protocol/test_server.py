from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from zwriter.errors import ServiceError, UsageError
from zwriter.protocol import RedisServer, asking, connect, embedded_redis, redis_server, safe_url

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
    with pytest.raises(ServiceError, match=r"Redis at unix:.* does not answer"):
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


def test_a_url_is_shown_without_user_and_password():
    assert safe_url("redis://me:secret@host:6379/3") == "redis://host:6379/3"


@pytest.mark.parametrize("password", ["", ":wrong@"])
def test_a_password_that_is_wrong_or_missing_is_said(own_redis: RedisServer, password: str):
    with own_redis.client() as admin:
        admin.config_set("requirepass", "right")
    with pytest.raises(ServiceError, match=r"refuses the user or password; check the URL$"):
        connect(own_redis.url.replace("unix://", f"unix://{password}"))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (redis.ConnectionError("gone"), r"Redis at redis://host does not answer \(gone\)"),
        (redis.ResponseError("OOM\nmore"), "Redis at redis://host refuses: OOM$"),
    ],
)
def test_a_redis_that_fails_later_is_told_of_as_well(error: Exception, told: str):
    with pytest.raises(ServiceError, match=told), asking("redis://me:secret@host"):
        raise error


def test_what_is_no_url_is_refused():
    with pytest.raises(UsageError, match="redis://host"):
        connect("localhost:6379")
