"""Settings become clients that reach the same server in the same way."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import obstore
import pytest

from zwriter import ScanWriter, open_scan, verify
from zwriter.errors import ServiceError, UsageError
from zwriter.objects import place
from zwriter.objects.clients import ObjectStorage
from zwriter.objects.errors import requests_told
from zwriter.settings import SpoolSettings, StorageSettings, load_settings
from zwriter.testing.moto import moto
from zwriter.testing.s3 import S3Server
from zwriter.testing.s3_faults import S3Faults

pytestmark = pytest.mark.s3
KEYS = {"access_key_id": "AKIAKEY", "secret_access_key": "hidden"}
VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")


def reaches(storage: ObjectStorage, bucket: str) -> bool:
    """What is written by one client is read by the other."""
    obstore.put(storage.writer(bucket, "some/prefix"), "name", b"content")
    return storage.filesystem.cat_file(f"{bucket}/some/prefix/name") == b"content"


def test_the_environment_says_where_and_who(storage, bucket):
    assert reaches(storage, bucket)


def test_our_own_variables_count_in_python_too(bucket, monkeypatch):
    monkeypatch.setenv("ZWRITER__STORAGE__PATH_STYLE", "false")
    monkeypatch.setenv("ZWRITER__STORAGE__REGION", "eu-central-2")
    monkeypatch.setenv("ZWRITER__MASTER__MODE", "nonsense")
    settings = place(f"s3://{bucket}/data", {"region": "us-east-1"}).storage.settings
    assert (settings.path_style, settings.region) == (False, "us-east-1")


def test_options_say_where_and_who(s3, bucket, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    assert reaches(ObjectStorage(StorageSettings(**s3.options)), bucket)


def test_a_profile_says_where_and_who(s3: S3Server, bucket, monkeypatch, tmp_path: Path):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        f"[profile lake]\nendpoint_url = {s3.endpoint}\nregion = us-east-1\n"
    )
    (tmp_path / "credentials").write_text(
        f"[lake]\naws_access_key_id = {s3.access_key_id}\n"
        f"aws_secret_access_key = {s3.secret_access_key}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert reaches(ObjectStorage(StorageSettings(profile="lake")), bucket)
    with pytest.raises(UsageError, match=r"profile \(sea\)"):
        ObjectStorage(StorageSettings(profile="sea"))


def test_a_key_that_is_replaced_in_its_file_is_used_from_then_on(
    s3: S3Server, bucket, monkeypatch, tmp_path: Path
):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    file, right = tmp_path / "credentials", (s3.access_key_id, s3.secret_access_key)
    keys = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text(keys.format("expired", "expired"))
    storage = ObjectStorage(StorageSettings(endpoint=s3.endpoint))
    assert storage._credentials()["access_key_id"] == "expired"
    old = storage.filesystem
    file.write_text(keys.format(*right))
    assert storage.filesystem is old
    monkeypatch.setattr("zwriter.objects.clients.CREDENTIALS_LAST", timedelta(0))
    assert storage._credentials()["access_key_id"] == s3.access_key_id
    assert storage.filesystem is not old
    assert reaches(storage, bucket)


def test_a_settings_file_says_where_and_who(s3: S3Server, bucket, monkeypatch, tmp_path: Path):
    for name in VARIABLES:
        monkeypatch.delenv(name)
    lines = [f'{name} = "{value}"' for name, value in s3.options.items()]
    (tmp_path / "zwriter.toml").write_text("\n".join(["[storage]", *lines]))
    assert reaches(ObjectStorage(load_settings(tmp_path / "zwriter.toml").storage), bucket)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"access_key_id": "AKIANOBODY"}, ServiceError, "does not know the access key"),
        ({"secret_access_key": "nosecret"}, ServiceError, "is not that of the access key"),
        ({"endpoint": "http://127.0.0.1:1"}, ServiceError, "cannot be reached; check `endpoint`"),
        ({"bucket": "nowhere-at-all"}, UsageError, "there is no bucket nowhere-at-all"),
    ],
)
def test_what_is_wrong_is_told_in_a_line_without_secrets(s3, bucket, wrong, kind, message):
    options = s3.options | wrong
    url = f"s3://{options.pop('bucket', bucket)}/x"
    with pytest.raises(kind, match=message) as caught:
        place(url, options).read_bytes()
    told = str(caught.value)
    assert options["endpoint"] in told
    assert "\n" not in told
    assert options["secret_access_key"] not in told
    assert options["access_key_id"] not in told


def test_what_is_wrong_in_writing_is_told_too(s3, bucket):
    for wrong, kind, message in (
        ({"secret_access_key": "nosecret"}, ServiceError, "is not that of the access key"),
        ({"bucket": "nowhere-at-all"}, UsageError, "there is no bucket nowhere-at-all"),
    ):
        options = s3.options | wrong
        name = options.pop("bucket", bucket)
        writer = ObjectStorage(StorageSettings(**options)).writer(name)
        with pytest.raises(kind, match=message), requests_told(name, lambda: s3.endpoint):
            obstore.put(writer, "x", b"")
    with pytest.raises(FileNotFoundError), requests_told(bucket, lambda: s3.endpoint):
        obstore.get(ObjectStorage(StorageSettings(**s3.options)).writer(bucket), "x")


def test_without_credentials_we_say_so(s3, bucket, monkeypatch):
    for name in VARIABLES[:2]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UsageError, match="set AWS_ACCESS_KEY_ID"):
        place(f"s3://{bucket}/x").read_bytes()
    with pytest.raises(UsageError, match="set AWS_ACCESS_KEY_ID"):
        ObjectStorage(StorageSettings()).writer(bucket)


@pytest.mark.parametrize("wrong", ["nonsense", "http://me:PASSWORD@host:1"])
def test_an_endpoint_in_the_environment_that_cannot_be_used_is_told(bucket, monkeypatch, wrong):
    monkeypatch.setenv("AWS_ENDPOINT_URL", wrong)
    for use in (lambda p: p.read_bytes(), lambda p: list(p.storage.filesystem.ls(bucket))):
        with pytest.raises(UsageError, match="endpoint") as caught:
            use(place(f"s3://{bucket}/x"))
        assert "PASSWORD" not in str(caught.value)


def test_a_key_with_a_line_break_is_told():
    keys = KEYS | {"secret_access_key": "secret\n"}
    storage = ObjectStorage(StorageSettings(endpoint="http://127.0.0.1:1", **keys))
    with pytest.raises(UsageError, match="has a line break") as caught:
        storage.writer("bucket")
    assert "secret\n" not in str(caught.value)


def test_secrets_are_not_shown():
    settings = StorageSettings(endpoint="http://127.0.0.1:1", **KEYS)
    storage = ObjectStorage(settings)
    shown = [settings, settings.model_dump(), storage, storage.filesystem, vars(storage.filesystem)]
    shown += [storage.writer("bucket"), storage.writer("bucket").config]
    assert not any(secret in repr(shown) for secret in KEYS.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acces_key_id": "x"}, "acces_key_id.*there are endpoint, region"),
        ({"access_key_id": "x"}, "go together"),
        ({"endpoint": "ceph.example.org"}, "endpoint"),
    ],
)
def test_options_that_there_are_not_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        place("s3://bucket/x", options)


def test_http_is_used_only_where_the_endpoint_says_it():
    for endpoint, allowed in (("http://ceph:7480", True), ("https://ceph", False), (None, False)):
        writer = ObjectStorage(StorageSettings(endpoint=endpoint, **KEYS)).writer("bucket")
        assert (writer.client_options or {}).get("allow_http") in (allowed, str(allowed).lower())


def test_what_tls_does_not_guard_is_signed():
    for endpoint, unsigned in (("http://ceph:7480", False), ("https://ceph", True), (None, True)):
        writer = ObjectStorage(StorageSettings(endpoint=endpoint, **KEYS)).writer("bucket")
        assert writer.config["unsigned_payload"] in (unsigned, str(unsigned).lower())


def test_the_bucket_is_in_the_path_or_in_the_name_of_the_host():
    settings = StorageSettings(endpoint="http://ceph:7480", **KEYS)
    by_path, by_host = settings, settings.model_copy(update={"path_style": False})
    for settings, url in (
        (by_path, "http://ceph:7480/data/x"),
        (by_host, "http://data.ceph:7480/x"),
    ):
        storage = ObjectStorage(settings)
        assert storage.filesystem.url("data/x").partition("?")[0] == url
        expected = url.removesuffix("/x").removesuffix("/data")
        assert storage.writer("data").config["endpoint"] == expected


def test_a_scan_is_written_and_read_with_the_bucket_in_the_name_of_the_host(
    s3: S3Server, bucket, s3_network: S3Faults, monkeypatch, tmp_path: Path
):
    """Nobody resolves such names here: requests go by way of a proxy, which leads to the server."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, s3_network.server.endpoint)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    host = f"localhost:{urlsplit(s3.endpoint).port}"
    options = s3.options | {"endpoint": f"http://{host}", "path_style": False}
    assert reaches(ObjectStorage(StorageSettings(**options)), bucket)
    url = f"s3://{bucket}/scans/S1.zarr"
    spool = SpoolSettings(folder=tmp_path / "spool")
    with ScanWriter(url, storage_options=options, spool=spool) as scan:
        for number in range(5):
            scan.add("adc", "trace", np.full(10, number), float(number))
    read = open_scan(url, storage_options=options)
    assert read.devices["adc"]["trace"].value[:, 0].tolist() == list(range(5))
    assert verify(url, storage_options=options).problems == []
    assert {request.key.split("/")[2] for request in s3_network.log} == {f"{bucket}.{host}"}


def test_a_server_with_a_certificate_of_our_own_is_trusted_if_we_say_so(
    tmp_path: Path, monkeypatch
):
    ca, key, certificate = (tmp_path / name for name in ("ca.pem", "key.pem", "chain.pem"))
    make = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    for command in (
        (*make, "-keyout", tmp_path / "ca.key", "-out", ca, "-subj", "/CN=our own"),
        (
            *(*make, "-keyout", key, "-out", certificate, "-subj", "/CN=127.0.0.1"),
            *("-CA", ca, "-CAkey", tmp_path / "ca.key"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ),
    ):
        subprocess.run(command, check=True, capture_output=True)
    certificate.write_bytes(certificate.read_bytes() + ca.read_bytes())
    with moto(tmp_path, certificate, key) as (endpoint, *keys):
        server = S3Server("moto", endpoint, *keys)
        trusting = ObjectStorage(StorageSettings(**server.options, ca_file=ca))
        writer = trusting.writer("new")
        trusting.filesystem.call_s3("create_bucket", Bucket="new")
        obstore.put(writer, "x", b"content")
        assert trusting.filesystem.cat_file("new/x") == b"content"
        with pytest.raises(ServiceError, match="set `ca_file`"):
            ObjectStorage(StorageSettings(**server.options)).filesystem.cat_file("new/x")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(ca))
        assert reaches(ObjectStorage(StorageSettings(**server.options)), "new")
