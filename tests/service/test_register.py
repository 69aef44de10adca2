"""Scans that other machines have registered in a root in a bucket: which ones are gone on with."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from zwriter.objects import ObjectPath, place
from zwriter.service.roots import find_unfinished
from zwriter.settings import SpoolSettings

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


def skipped(bucket: str, spool: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    root = place(f"s3://{bucket}/data")
    assert isinstance(root, ObjectPath)
    registered(root, "bad").write_bytes(content)
    for name in ("a", "z"):
        registered(root, name).write_bytes(f"{root}/S/{name}.zarr".encode())
    with caplog.at_level(logging.WARNING):
        found = [str(store) for store in find_unfinished(root, SpoolSettings(folder=spool))]
    assert found == [f"{root}/S/a.zarr", f"{root}/S/z.zarr"]
    (warning,) = caplog.messages
    assert ".zwriter/open/bad" in warning
    assert len(warning) < 1000
