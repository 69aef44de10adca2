"""Scans that other machines have registered in a root in a bucket: which ones are gone on with."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.conftest import Beamline
from tests.service.disturbed import push
from tests.service.test_bucket import service
from zwriter.model import Verdict
from zwriter.objects import AnyPath, ObjectPath, contents, place
from zwriter.reader import verify
from zwriter.service.roots import find_unfinished, redis_name
from zwriter.settings import SpoolSettings
from zwriter.testing.fixtures import any_redis

pytestmark = [pytest.mark.s3, pytest.mark.outage]


def registered(root: ObjectPath, name: str) -> ObjectPath:
    return root / ".zwriter/open" / name


@pytest.mark.parametrize(
    "text",
    [
        "{root}/../../other/x.zarr",
        "{root}/../x.zarr",
        "{root}/a/../../x.zarr",
        "{root}",
        "{root}/",
        "{root}/S1",
        "{root}/S1.zwriter",
        "{root}/S1.zarr\nfurther",
        "{root}-2/S1.zarr",
        "/etc/S1.zarr",
        "",
    ],
)
def test_what_is_registered_and_no_store_of_the_root_is_skipped(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    skipped(bucket, tmp_path, caplog, text.format(root=f"s3://{bucket}/data").encode())


@pytest.mark.parametrize(
    "end",
    [b"\xff\xfe.zarr", b"\0.zarr", b"x" * 10_000_000 + b".zarr"],
    ids=["utf-8", "nul", "long"],
)
def test_what_is_registered_and_cannot_be_read_is_skipped(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    skipped(bucket, tmp_path, caplog, f"s3://{bucket}/data/".encode() + end)


def unfinished(root: AnyPath, spool: Path, redis: str) -> Iterator[AnyPath]:
    """As a service whose Redis knows all scans finds them."""
    return find_unfinished(root, SpoolSettings(folder=spool), redis, lambda scan_id: True)


def skipped(bucket: str, spool: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    root = place(f"s3://{bucket}/data")
    assert isinstance(root, ObjectPath)
    registered(root, "bad").write_bytes(content)
    for name in ("a", "z"):
        registered(root, name).write_bytes(f"{root}/S/{name}.zarr".encode())
        (root / "S" / f"{name}.zwriter" / "redis").write_bytes(b"redis://here\n")
    with caplog.at_level(logging.WARNING):
        stores = unfinished(root, spool, "redis://here")
        found = [str(store) for store in stores]
    assert found == [f"{root}/S/a.zarr", f"{root}/S/z.zarr"]
    (warning,) = caplog.messages
    assert ".zwriter/open/bad" in warning
    assert len(warning) < 1000


@pytest.mark.parametrize("finder", ["another spool", "the same spool", "the same folder"])
def test_a_scan_that_a_living_service_of_another_redis_feeds_is_not_looked_for(
    bucket: str, tmp_path: Path, finder: str
) -> None:
    root = f"s3://{bucket}/data" if "spool" in finder else str(tmp_path / "data")
    spool = tmp_path / ("spool" if finder == "the same spool" else "spool of ours")
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(any_redis(tmp_path / "redis"))
        theirs = stack.enter_context(contextlib.closing(Beamline(redis.url, root)))
        scan = theirs.publisher.open_scan(scan_number=1, monitored=["samx"])
        with service(theirs, tmp_path / "spool"):
            push(scan, range(10))
            theirs.live(1, rows=10)
            path = place(root)
            assert list(unfinished(path, spool, "redis://ours")) == []
            name = redis_name(redis.url)
            if finder != "another spool":
                assert list(unfinished(path, spool, name)) != []


def test_a_scan_that_the_service_of_another_redis_feeds_is_left_to_it(
    bucket: str, tmp_path: Path
) -> None:
    root = f"s3://{bucket}/data"
    with contextlib.ExitStack() as stack:
        ours, theirs = (
            stack.enter_context(
                contextlib.closing(
                    Beamline(stack.enter_context(any_redis(tmp_path / name)).url, root)
                )
            )
            for name in ("ours", "theirs")
        )
        scan = theirs.publisher.open_scan(scan_number=1, monitored=["samx"])
        with service(theirs, tmp_path / "spool"):
            push(scan, range(10))
            theirs.live(1, rows=10)
        epochs = list(contents(theirs.store(1).with_suffix(".zwriter") / "epochs"))
        with service(ours, tmp_path / "spool of ours"):
            another = ours.publisher.open_scan(scan_number=2, monitored=["samx"])
            push(another, range(5))
            another.close()
            assert ours.finished(2).verdict is Verdict.COMPLETE
        assert list(contents(theirs.store(1).with_suffix(".zwriter") / "epochs")) == epochs
        with service(theirs, tmp_path / "spool"):
            push(scan, range(10, 20))
            scan.close()
            written = theirs.finished(1)
        assert written.verdict is Verdict.COMPLETE
        assert verify(written.path).problems == []
