"""An S3 server of one's own: Ceph's radosgw and SeaweedFS, real ones, or moto's emulator.

>>> with s3_server("moto") as server:
...     bucket = server.new_bucket()
...     open_scan(f"s3://{bucket}/S00001.zarr", storage_options=server.options)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import botocore.session

from zwriter.errors import UsageError
from zwriter.objects.clients import AWS_DESCRIPTIONS
from zwriter.testing.moto import moto, moto_program
from zwriter.testing.radosgw import radosgw, radosgw_version
from zwriter.testing.seaweedfs import seaweedfs, seaweedfs_version


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server, and the keys of its only user, who may do everything."""

    kind: str
    endpoint: str
    access_key_id: str
    secret_access_key: str

    @property
    def options(self) -> dict[str, str]:
        """What `open_scan` and others take as `storage_options`."""
        return {
            "endpoint": self.endpoint,
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables, from which AWS's tools and zwriter take it; no files are read."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self) -> Any:
        """A botocore client, for the caller to close."""
        session = botocore.session.Session()
        session.register_component("data_loader", AWS_DESCRIPTIONS)
        return session.create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
        )

    def new_bucket(self) -> str:
        """The name of a bucket that nobody else has. It goes when the server does."""
        name = f"test-{uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name)
        client.close()
        return name


def described(kind: str) -> str:
    """What server `moto`, `radosgw` or `seaweedfs` is. Raises UsageError if it is not installed,
    or not known.
    """
    match kind:
        case "moto":
            return f"moto, an emulator ({moto_program()})"
        case "radosgw":
            return f"radosgw of {radosgw_version()}"
        case "seaweedfs":
            return f"SeaweedFS {seaweedfs_version()}"
    raise UsageError(f"S3 server {kind}: there are moto, radosgw and seaweedfs")


@contextmanager
def s3_server(kind: str = "moto") -> Iterator[S3Server]:
    """A started, empty server of that kind (`described`); it is stopped and removed at the end.

    Raises UsageError if that kind is not installed, ServiceError if it does not start.
    """
    described(kind)
    start = {"moto": moto, "radosgw": radosgw, "seaweedfs": seaweedfs}[kind]
    with (
        tempfile.TemporaryDirectory(prefix=f"zwriter-{kind}-") as folder,
        start(Path(folder)) as (endpoint, key, secret),
    ):
        yield S3Server(kind, endpoint, key, secret)
