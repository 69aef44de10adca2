from __future__ import annotations

import threading

import pytest
import redis

from zwriter.errors import ServiceError, UsageError
from zwriter.ingest import connect, safe_url
from zwriter.ingest.connection import until_it_works
from zwriter.settings import RedisSettings


def test_a_redis_that_is_not_there_is_said_in_one_line_without_the_password(tmp_path):
    url = f"unix://user:secret@{tmp_path}/none.sock"
    with pytest.raises(ServiceError) as caught:
        connect(RedisSettings(url=url))
    assert "none.sock" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_said(own_redis):
    with own_redis.client() as admin:
        admin.config_set("requirepass", "right")
    with pytest.raises(ServiceError, match="password"):
        connect(RedisSettings(url=own_redis.url.replace("unix://", "unix://:wrong@")))


def test_a_url_that_is_none_is_said():
    with pytest.raises(UsageError, match="no Redis URL"):
        connect(RedisSettings(url="http://localhost"))


def test_a_url_is_shown_without_user_and_password():
    assert safe_url("redis://me:secret@host:6379/3") == "redis://host:6379/3"


def test_work_is_tried_again_until_redis_is_back():
    tries = []

    def work():
        tries.append(1)
        if len(tries) < 3:
            raise redis.ConnectionError("away")

    until_it_works("testing", work, threading.Event())
    assert len(tries) == 3
