"""moto's server: an emulator of S3 in Python. It checks signatures as S3 does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import botocore.session

from zwriter.testing.daemons import daemon, free_port, listens, program

_ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
_ALLOW_ALL = json.dumps({"Version": "2012-10-17", "Statement": [_ALL]})


@contextmanager
def moto(
    folder: Path, certificate: Path | None = None, private_key: Path | None = None
) -> Iterator[tuple[str, str, str]]:
    """Run it in a folder: endpoint, access key and secret key; with TLS if it has a certificate.

    Raises UsageError if it is not installed, ServiceError if it does not start.
    """
    port = free_port()
    command = [moto_program(), "-H", "127.0.0.1", "-p", str(port)]
    if certificate:
        command += ["-c", str(certificate), "-k", str(private_key)]
    # the first three requests need no signature: those that make a user with a key
    environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "3"}
    with daemon(command, folder / "moto.log", lambda: listens(port), environment):
        endpoint = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        yield endpoint, *_new_key(endpoint, certificate)


def moto_program() -> str:
    """Where `moto_server` is. Raises UsageError if it is nowhere."""
    return program("moto_server", "ZWRITER_MOTO_SERVER", "'moto[s3]' flask flask-cors")


def _new_key(endpoint: str, certificate: Path | None) -> tuple[str, str]:
    client = botocore.session.Session().create_client(
        "iam",
        endpoint_url=endpoint,
        region_name="us-east-1",
        verify=str(certificate) if certificate else None,
        aws_access_key_id="nobody",
        aws_secret_access_key="nobody",
    )
    client.create_user(UserName="test")
    key = client.create_access_key(UserName="test")["AccessKey"]
    client.put_user_policy(UserName="test", PolicyName="all", PolicyDocument=_ALLOW_ALL)
    client.close()
    return key["AccessKeyId"], key["SecretAccessKey"]
