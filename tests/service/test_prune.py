"""What is left of scans for a bucket is found, and goes if nobody needs it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zwriter.cli import app
from zwriter.objects import place
from zwriter.objects.clients import ObjectStorage
from zwriter.reader import open_scan
from zwriter.scan import ScanWriter
from zwriter.settings import SpoolSettings

pytestmark = pytest.mark.s3


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpoolSettings:
    monkeypatch.setenv("ZWRITER__SPOOL__FOLDER", str(tmp_path / "spool"))
    return SpoolSettings(folder=tmp_path / "spool")


def prune(*options: str) -> str:
    result = CliRunner().invoke(app, ["prune", *options])
    assert result.exit_code == 0, result.output
    return result.output


def leave_in_spool(root: str, spool: SpoolSettings, copy: Path, *but: str) -> None:
    """A scan that is in the bucket, and still in the spool, as if who cleans that up was killed;
    but: names of folders that it has removed."""
    with ScanWriter(f"{root}/S1.zarr", spool=spool, master=None) as scan:
        scan.add("mcs", "counts", 1)
        scan.finish()
        shutil.copytree(spool.folder, copy, ignore=shutil.ignore_patterns(*but))
    shutil.copytree(copy, spool.folder, dirs_exist_ok=True)


def test_a_scan_that_the_bucket_has_whole_goes_from_the_spool(bucket, spool, tmp_path):
    root = f"s3://{bucket}/data"
    leave_in_spool(root, spool, tmp_path / "copy")
    assert "the bucket has all of it" in prune(root)
    assert "1 that can go" in prune(root)
    assert "1 removed" in prune(root, "--remove")
    assert [path for path in spool.folder.rglob("*") if path.is_file()] == []
    assert prune(root, "--days", "0") == f"{root}: nothing to remove\n"
    assert open_scan(f"{root}/S1.zarr").finished


def test_what_a_killed_clean_up_left_of_it_goes_too(bucket, spool, tmp_path):
    root = f"s3://{bucket}/data"
    leave_in_spool(root, spool, tmp_path / "copy", "S1.zwriter")
    assert "the bucket has all of it" in prune(root)
    assert "removed" in prune(root, "--remove")
    assert [path for path in spool.folder.rglob("*") if path.is_file()] == []


def test_a_scan_that_waits_for_the_bucket_stays(bucket, spool):
    root = f"s3://{bucket}/data"
    scan = ScanWriter(f"{root}/S1.zarr", spool=spool, scan_id="one", master=None)
    scan.add("mcs", "counts", 1)
    scan.commit()
    assert "is being written by process" in prune(root, "--remove")
    scan.close()
    assert f"waits for {root}/S1.zarr" in prune(root, "--remove")
    with ScanWriter(f"{root}/S1.zarr", spool=spool, scan_id="one", master=None) as scan:
        scan.add("mcs", "counts", 2)
    assert open_scan(f"{root}/S1.zarr").devices["mcs"]["counts"].value[:].tolist() == [1, 2]


def test_a_scan_that_the_bucket_has_and_differs_stays(bucket, spool, tmp_path):
    root = f"s3://{bucket}/data"
    for number in (1, 2):
        with ScanWriter(f"{root}/S1.zarr", spool=spool, master=None) as scan:
            scan.add("mcs", "counts", number)
            scan.finish()
            shutil.copytree(spool.folder, tmp_path / f"copy-{number}")
        if number == 1:
            place(f"{root}/S1.zarr").storage.filesystem.rm(f"{bucket}/data", recursive=True)
    shutil.copytree(tmp_path / "copy-1", spool.folder, dirs_exist_ok=True)
    assert f"waits for {root}/S1.zarr" in prune(root, "--remove")
    assert [*spool.folder.rglob("S1.zarr/zarr.json")]


def test_an_upload_that_was_not_ended_goes(bucket, spool):
    path = place(f"s3://{bucket}/data/S1_master.h5")
    path.storage.filesystem.call_s3("create_multipart_upload", Bucket=bucket, Key=path.key)
    root = f"s3://{bucket}/data"
    assert f"{path}: removed" in prune(root, "--remove", "--days", "0")
    assert path.parent.unfinished_uploads() == []


@pytest.mark.parametrize("options", [(), ("--remove",)], ids=["listed", "removed"])
def test_an_upload_that_may_still_be_under_way_stays_and_it_is_told_when_it_counts(
    bucket, spool, monkeypatch, options
):
    def just_begun(*_):  # all of moto's are of 2010
        yield "data/S1_master.h5", "upload", time.time()

    monkeypatch.setattr(ObjectStorage, "unfinished_uploads", just_begun)
    root = f"s3://{bucket}/data"
    told = f"{root}: nothing to remove; uploads and what was put aside count after 1 d (--days)\n"
    assert prune(root, *options) == told


def test_what_was_put_aside_goes_with_its_root_only(bucket, spool):
    aside = spool.folder / f"aside-{'1' * 32}"
    (aside / "S1.zwriter").mkdir(parents=True)
    endpoint = place(f"s3://{bucket}").storage.endpoint
    mark = {"id": "1", "url": f"s3://{bucket}/data/S1.zarr", "endpoint": endpoint}
    (aside / "S1.zwriter" / "spool").write_text(json.dumps(mark))
    assert "aside" not in prune(f"s3://{bucket}/other", "--remove", "--days", "0")
    assert aside.exists()
    assert f"{aside}: removed" in prune(f"s3://{bucket}/data", "--remove", "--days", "0")
    assert not aside.exists()


def test_what_nobody_knows_stays_and_a_bucket_may_be_called_as_what_is_put_aside(bucket, spool):
    unknown, elsewhere = (spool.folder / f"aside-{digit * 32}" for digit in "12")
    scan = spool.folder / "aside-bucket" / "S1.zarr"
    for folder in (unknown / "S1.zarr", elsewhere / "S1.zwriter", scan):
        folder.mkdir(parents=True)
    mark = {"id": "1", "url": f"s3://{bucket}/data/S1.zarr", "endpoint": "http://elsewhere"}
    (elsewhere / "S1.zwriter" / "spool").write_text(json.dumps(mark))
    told = prune(f"s3://{bucket}/data", "--remove", "--days", "0")
    assert f"{unknown}: needed" in told or "nobody knows of which scan" in told
    assert "aside-bucket" not in told
    assert unknown.exists()
    assert elsewhere.exists()
    assert scan.exists()


def test_what_is_in_no_bucket_is_told(tmp_path, spool):
    result = CliRunner().invoke(app, ["prune", str(tmp_path)])
    assert result.exit_code == 2
