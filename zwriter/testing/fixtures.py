"""pytest fixtures: `pytest_plugins = ["zwriter.testing.fixtures"]` in a conftest.py."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

import pytest

from zwriter.errors import UsageError
from zwriter.objects import ObjectPath
from zwriter.objects.clients import ObjectStorage
from zwriter.protocol import RedisServer, embedded_redis, redis_server
from zwriter.settings import SpoolSettings, StorageSettings, storage_settings
from zwriter.testing.s3 import S3Server, described, s3_server
from zwriter.testing.s3_faults import S3Faults, s3_faults
from zwriter.testing.scans import ScanFolder


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "s3: needs an S3 server (moto, Ceph's radosgw, SeaweedFS)")


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


def s3_kind() -> str:
    """Which S3 server tests get: `moto`, `radosgw` or `seaweedfs`, as ZWRITER_S3_SERVER says."""
    return os.environ.get("ZWRITER_S3_SERVER", "moto")


def pytest_report_header() -> str:
    try:
        return f"S3 server: {described(s3_kind())}"
    except UsageError as error:
        return f"S3 server: none ({error})"


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 server for all tests of this process; they are skipped if none is installed and none
    was asked for."""
    try:
        described(s3_kind())
    except UsageError as error:
        if "ZWRITER_S3_SERVER" in os.environ:
            raise
        pytest.skip(str(error))
    with s3_server(s3_kind()) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket for one test, which the environment has the keys of."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.new_bucket()


@pytest.fixture
def s3_network(s3: S3Server) -> Iterator[S3Faults]:
    """A network of one test's own before that server, for who takes `s3_network.options`."""
    with s3_faults(s3) as network:
        yield network


@pytest.fixture
def storage(bucket: str) -> ObjectStorage:
    """The clients of the server that the bucket is on."""
    return ObjectStorage(StorageSettings())


@pytest.fixture(scope="session")
def s3_folder(s3: S3Server) -> Callable[[str], ObjectPath]:
    """Paths in buckets of the server. Their clients, of which each takes 0.2 s, are made once."""
    storage = ObjectStorage(storage_settings(s3.options))
    return lambda path: ObjectPath(storage, PurePosixPath(path))


@pytest.fixture(params=["disk", pytest.param("bucket", marks=pytest.mark.s3)])
def scans(request: pytest.FixtureRequest, tmp_path: Path) -> ScanFolder:
    """An empty folder for scans: a test that takes it runs twice, on a disk and in a bucket."""
    spool = SpoolSettings(folder=tmp_path / "spool")
    if request.param == "bucket":
        bucket, folder = map(request.getfixturevalue, ("bucket", "s3_folder"))
        return ScanFolder(folder(f"{bucket}/scans"), spool)
    (tmp_path / "scans").mkdir()
    return ScanFolder(tmp_path / "scans", spool)
