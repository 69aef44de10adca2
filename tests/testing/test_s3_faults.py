"""A network that breaks things on purpose: what clients of S3 make of each fault, and that all is
well after it. zwriter's reader tells what it cannot help in one line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import obstore
import pytest
from botocore.exceptions import ClientError
from obstore.exceptions import AlreadyExistsError, GenericError, PermissionDeniedError
from obstore.store import S3Store

from zwriter.errors import ServiceError
from zwriter.objects import place
from zwriter.objects.clients import ObjectStorage
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StorageSettings, StoreSettings
from zwriter.testing.mirror import mirror
from zwriter.testing.s3_faults import S3Faults

pytestmark = pytest.mark.s3

LARGE = bytes(range(256)) * 20_000  # 5 MB: more than what is under way in a socket
AT_ONCE = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=10)}


@pytest.fixture
def through(s3_network: S3Faults) -> ObjectStorage:
    """zwriter's clients, which reach the server through the network."""
    return ObjectStorage(StorageSettings(**s3_network.options))


def client(network: S3Faults, bucket: str, retries: int = 0) -> S3Store:
    """obstore's client, that tries so often again."""
    return S3Store(
        bucket,
        config={"endpoint": network.server.endpoint, "virtual_hosted_style_request": False},
        client_options={"allow_http": True, "timeout": "30s"},
        retry_config={"max_retries": retries, "backoff": AT_ONCE},
    )


@pytest.fixture
def store(s3_network: S3Faults, bucket: str) -> S3Store:
    """A client through the network that tries once."""
    return client(s3_network, bucket)


def log(network: S3Faults, method: str = "PUT") -> list[int | None]:
    return [request.status for request in network.log if request.method == method]


def content(storage: ObjectStorage, bucket: str, key: str) -> bytes | None:
    """What the server has, asked past the network."""
    try:
        return storage.read(bucket, key)
    except FileNotFoundError:
        return None


def test_without_faults_all_clients_are_served_and_counted(s3_network, through, store, bucket):
    obstore.put(store, "a/x", LARGE, use_multipart=False)
    assert bytes(obstore.get_range(store, "a/x", start=250, end=258)) == LARGE[250:258]
    assert obstore.head(store, "a/x")["size"] == len(LARGE)
    assert [(r.method, r.key, r.status) for r in s3_network.log] == [
        ("PUT", f"{bucket}/a/x", 200),
        ("GET", f"{bucket}/a/x", 206),
        ("HEAD", f"{bucket}/a/x", 200),
    ]
    assert s3_network.requests == {"PUT": 1, "GET": 1, "HEAD": 1}
    assert s3_network.uploaded["PUT"] == len(LARGE)
    assert s3_network.downloaded["GET"] == 8

    s3_network.log.clear()
    obstore.put(store, "a/parts", LARGE * 2)  # by parts of 5 MiB
    assert s3_network.requests == {"POST": 2, "PUT": 2}
    assert bytes(obstore.get(store, "a/parts").bytes()) == LARGE * 2

    files = through.filesystem
    files.pipe_file(f"{bucket}/50 % #1+2 ü", LARGE)
    assert files.cat_file(f"{bucket}/50 % #1+2 ü") == LARGE
    assert s3_network.log[-1].key == f"{bucket}/50 % #1+2 ü"
    assert not files.exists(f"{bucket}/nothing")
    assert sorted(files.find(bucket)) == [
        f"{bucket}/{n}" for n in ("50 % #1+2 ü", "a/parts", "a/x")
    ]


def test_a_client_that_waits_before_it_sends_a_body_is_told(s3_network, storage, bucket):
    with closing(s3_network.server.client()) as plain:  # it says Expect: 100-continue
        plain.put_object(Bucket=bucket, Key="x", Body=LARGE)
        assert plain.get_object(Bucket=bucket, Key="x")["Body"].read() == LARGE
        s3_network.answer("SlowDown", times=1)
        plain.put_object(Bucket=bucket, Key="x", Body=b"y")
    assert log(s3_network) == [200, 503, 200]
    assert content(storage, bucket, "x") == b"y"


def test_a_client_that_waits_is_refused_before_it_has_sent_its_body(s3_network, bucket):
    wrong = replace(s3_network.server, secret_access_key="nosecret").client()
    with closing(wrong), pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.put_object(Bucket=bucket, Key="x", Body=LARGE)
    assert log(s3_network) == [403]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, GenericError),
        ("InternalError", 500, GenericError),
        ("ExpiredToken", 400, GenericError),
        ("RequestTimeTooSkewed", 403, PermissionDeniedError),
        ("ConditionalRequestConflict", 409, AlreadyExistsError),
    ],
)
def test_errors_are_those_of_s3(s3_network, storage, store, bucket, code, status, kind):
    s3_network.answer(code, times=1)
    with pytest.raises(kind, match=rf"status code: {status}(?s:.*)<Code>{code}</Code>"):
        obstore.put(store, "x", LARGE, use_multipart=False)
    assert content(storage, bucket, "x") is None
    obstore.put(store, "x", b"x")
    assert log(s3_network) == [status, 200]


def test_an_error_may_have_another_status_than_aws_gives_it(s3_network, store):
    s3_network.answer("ExpiredToken", status=403)
    with pytest.raises(PermissionDeniedError, match="<Code>ExpiredToken</Code>"):
        obstore.put(store, "x", b"")


def test_rules_are_a_sequence_and_for_those_that_they_fit(s3_network, store, bucket):
    s3_network.answer("SlowDown", times=2, method="PUT", key="*/commits/*")
    s3_network.answer("InternalError", times=1, key="*/commits/*")
    obstore.put(store, "scan/shard", b"")
    for expected in ("SlowDown", "SlowDown", "InternalError"):
        with pytest.raises(GenericError, match=expected):
            obstore.put(store, "scan/commits/1", b"")
    obstore.put(store, "scan/commits/1", b"")
    s3_network.answer("SlowDown", method="GET")
    for _ in range(3):
        with pytest.raises(GenericError, match="SlowDown"):
            obstore.get(store, "scan/shard")
    assert obstore.head(store, "scan/shard")["size"] == 0
    s3_network.heal()
    obstore.get(store, "scan/shard")


def test_when_an_answer_is_lost_the_server_has_done_it(s3_network, storage, store, bucket):
    s3_network.lose_answers(times=2, method="PUT")
    with pytest.raises(GenericError, match="error sending request"):
        obstore.put(store, "once", b"mine", mode="create")
    assert content(storage, bucket, "once") == b"mine"
    with pytest.raises(AlreadyExistsError, match="<Code>PreconditionFailed</Code>"):
        obstore.put(client(s3_network, bucket, retries=1), "again", b"mine", mode="create")
    assert content(storage, bucket, "again") == b"mine"
    assert log(s3_network) == [None, None, 412]


def test_a_condition_that_is_ignored_lets_write_over_what_is_there(
    s3_network, storage, store, bucket
):
    obstore.put(store, "x", b"first", mode="create")
    s3_network.ignore_conditions()
    obstore.put(store, "x", b"second", mode="create")
    assert content(storage, bucket, "x") == b"second"
    s3_network.heal()
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "x", b"third", mode="create")


def test_of_an_upload_that_is_cut_nothing_appears(s3_network, storage, store, bucket):
    s3_network.cut_uploads(after=1_000_000, times=2)
    with pytest.raises(GenericError, match="error sending request"):
        obstore.put(store, "x", LARGE, use_multipart=False)
    assert content(storage, bucket, "x") is None
    obstore.put(client(s3_network, bucket, retries=1), "x", LARGE, use_multipart=False)
    assert content(storage, bucket, "x") == LARGE
    assert log(s3_network) == [None, None, 200]


def test_an_answer_is_held_until_it_is_released(s3_network, storage, store, bucket):
    held = s3_network.hold(method="PUT")
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(obstore.put, store, "x", b"x")
        held.wait()
        assert content(storage, bucket, "x") == b"x"
        assert not put.done()
        held.release()
        put.result()
        obstore.put(store, "y", b"y")


def test_all_connections_are_cut_in_the_middle_of_a_request(s3_network, storage, store, bucket):
    held = s3_network.hold(times=1)
    with ThreadPoolExecutor(1) as pool:
        put = pool.submit(obstore.put, store, "x", b"x")
        held.wait()
        s3_network.cut()
        with pytest.raises(GenericError, match="error sending request"):
            put.result()
    s3_network.heal()
    obstore.put(store, "x", b"y")
    assert content(storage, bucket, "x") == b"y"


def test_a_server_that_is_gone_refuses_until_it_is_back(s3_network, through, store, bucket):
    path = place(f"s3://{bucket}/x", s3_network.options)
    obstore.put(store, "x", b"x")
    s3_network.open = False
    with pytest.raises(GenericError, match="error sending request"):
        obstore.put(store, "x", b"y")
    for read in (path.read_bytes, lambda: through.filesystem.cat_file(f"{bucket}/x")):
        with pytest.raises(ServiceError, match="cannot be reached; check `endpoint`"):
            read()
    s3_network.open = True
    assert path.read_bytes() == through.filesystem.cat_file(f"{bucket}/x") == b"x"


def test_a_slow_network_carries_all_the_same(s3_network, storage, store, bucket):
    s3_network.delay, s3_network.bytes_per_second = 0.01, 100e6
    obstore.put(store, "x", LARGE, use_multipart=False)
    assert bytes(obstore.get(store, "x").bytes()) == LARGE


def test_a_file_that_is_open_is_read_on_after_a_cut_or_tells_it_in_a_line(
    s3_network, store, bucket
):
    obstore.put(store, "x", LARGE * 4, use_multipart=False)
    path = place(f"s3://{bucket}/x", s3_network.options)
    with path.open() as file:
        assert file.read(3) == LARGE[:3]
        file.seek(15_000_000)
        s3_network.cut_downloads(after=1000, times=1)
        assert file.read(3) == (LARGE * 4)[15_000_000:15_000_003]
    with path.open() as file:
        assert file.read(3) == LARGE[:3]
        file.seek(15_000_000)
        s3_network.cut_downloads(after=1000)
        with pytest.raises(ServiceError, match="cannot be reached; check `endpoint`") as caught:
            file.read(3)
        assert "\n" not in str(caught.value)
        s3_network.heal()
        assert file.read(3) == (LARGE * 4)[15_000_000:15_000_003]


def test_a_live_scan_is_read_although_things_go_wrong_now_and_then(
    tmp_path: Path, s3_network, s3, bucket
):
    small = StoreSettings(
        flush_interval=60, default=SignalSettings(chunk_bytes=64), durability="none"
    )
    frames = np.arange(10)[:, None, None] + np.zeros((4, 3), np.uint16)
    with ScanWriter(tmp_path / "S1.zarr", settings=small, master=None) as writer:
        for i, frame in enumerate(frames):
            writer.add("det", "image", frame, 1.7e9 + i)
        writer.commit()
        url = f"{mirror(tmp_path, s3, bucket)}/S1.zarr"
    for fault in (
        lambda: s3_network.answer("SlowDown", times=2),
        lambda: s3_network.answer("InternalError", times=1),
        lambda: s3_network.lose_answers(times=1),
        lambda: s3_network.cut_downloads(after=10, times=1),
    ):
        fault()
        scan = open_scan(url, storage_options=s3_network.options)
        np.testing.assert_array_equal(scan.devices["det"]["image"].value, frames)
        fault()
        scan.refresh()
        np.testing.assert_array_equal(scan.devices["det"]["image"].value, frames)
    s3_network.answer("ExpiredToken")
    with pytest.raises(ServiceError, match="the credentials have expired; get new ones"):
        open_scan(url, storage_options=s3_network.options)
