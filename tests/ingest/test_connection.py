from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import redis

from zwriter.errors import ServiceError, UsageError
from zwriter.ingest import StreamReader, connect
from zwriter.ingest.connection import until_it_works
from zwriter.protocol.publisher import Publisher
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


@pytest.mark.parametrize("url", ["http://localhost", "redis://localhost/first"])
def test_a_url_that_is_none_is_said(url):
    with pytest.raises(UsageError, match="no Redis URL"):
        connect(RedisSettings(url=url))


@pytest.mark.parametrize(
    "option", ["datbase=1", "protocol=7", "credential_provider=b", "cache_config=1"]
)
def test_an_option_in_a_url_that_cannot_be_used_is_said(option):
    with pytest.raises(UsageError, match="an option of the Redis URL cannot be used: "):
        connect(RedisSettings(url=f"redis://user:password@localhost?{option}"))


def test_work_is_tried_again_until_redis_is_back():
    tries = []

    def work():
        tries.append(1)
        if len(tries) < 3:
            raise redis.ConnectionError("away")

    until_it_works("testing", work, threading.Event())
    assert len(tries) == 3


def test_a_redis_that_hangs_is_asked_once_a_command(own_redis, monkeypatch):
    monkeypatch.setattr("zwriter.ingest.connection._SECONDS_TO_ANSWER", 0.2)

    def connections():
        return admin.info("stats")["total_connections_received"]

    with own_redis.client() as admin, closing(connect(RedisSettings(url=own_redis.url))) as client:
        before = connections()
        os.kill(own_redis.pid, signal.SIGSTOP)
        try:
            for _ in range(3):  # once on the connection that there is
                with pytest.raises(redis.TimeoutError):
                    client.ping()
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        assert client.ping()
        assert connections() - before <= 3


def test_streams_are_read_over_tls_from_a_server_whose_ca_is_ours_only(own_redis, take):
    folder = Path(__file__).parents[1] / "certificate"
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with own_redis.client() as admin:
        if not admin.config_get("tls-port"):
            pytest.skip("this Redis knows no TLS")
        for name in ("tls-cert-file", "tls-ca-cert-file"):
            admin.config_set(name, str(folder / "localhost.pem"))
        admin.config_set("tls-key-file", str(folder / "key.pem"))
        admin.config_set("tls-auth-clients", "no")
        admin.config_set("tls-port", port)
    url = f"rediss://localhost:{port}"
    with pytest.raises(ServiceError):
        connect(RedisSettings(url=url))
    with (
        closing(connect(RedisSettings(url=f"{url}?ssl_ca_certs={folder}/localhost.pem"))) as client,
        Publisher(own_redis.url) as publisher,
        publisher.open_scan(scan_number=1) as scan,
    ):
        for i in range(300):
            scan.add("eiger", "image", np.full((64, 64), i), max_shape=(None, 64, 64))
        reader = StreamReader(client, scan.scan_id, {}, 2**24, ["eiger"])
        reader.start()
        items = take(reader, 300)
        reader.stop()
    assert [int(item.value[0, 0]) for item in items] == list(range(300))
