"""The commands that read, on a scan in a bucket."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from zwriter import export
from zwriter.testing.mirror import mirror
from zwriter.testing.s3 import S3Server

pytestmark = pytest.mark.s3


@pytest.fixture
def url(scan: Path, tmp_path: Path, s3: S3Server, bucket: str) -> str:
    """The scan of `scan`, in a bucket."""
    return f"{mirror(tmp_path, s3, bucket)}/{scan.name}"


def contents(path: Path) -> dict[str, np.ndarray]:
    """All datasets of a file but those that say where it comes from."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset) and name != "entry/zwriter/store":
            found[name] = node[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_the_file_that_is_exported_is_that_of_a_scan_on_a_disk(cli, url: str, scan: Path, tmp_path):
    assert cli("export", url, tmp_path / "from_bucket.h5").exit_code == 0
    export(scan, tmp_path / "from_disk.h5", mode="copy")
    ours, theirs = contents(tmp_path / "from_bucket.h5"), contents(tmp_path / "from_disk.h5")
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert cli("verify", tmp_path / "from_bucket.h5").exit_code == 0


def test_hdf5_cannot_link_into_a_bucket(cli, url: str, tmp_path: Path):
    refused = cli("export", url, tmp_path / "out.h5", "--mode", "reference")
    assert refused.exit_code == 2
    assert "mode link, not reference" in refused.stderr
    assert not (tmp_path / "out.h5").exists()


def test_options_of_the_command_line_say_where_and_who(cli, url, s3: S3Server, monkeypatch):
    for name in s3.environment:
        monkeypatch.delenv(name)
    given = [f"--storage-option={name}={value}" for name, value in s3.options.items()]
    for command in ("ls", "show", "tail", "verify"):
        assert cli(command, url, *given).exit_code == 0
    monkeypatch.setenv("ZWRITER__STORAGE__ENDPOINT", s3.endpoint)
    assert cli("show", url, *given[1:]).exit_code == 0


def test_so_does_the_settings_file(cli, url, s3: S3Server, tmp_path: Path, monkeypatch):
    for name in s3.environment:
        monkeypatch.delenv(name)
    config = tmp_path / "zwriter.toml"
    config.write_text("\n".join(["[storage]", *(f'{k} = "{v}"' for k, v in s3.options.items())]))
    folder = url.rpartition("/")[0]
    for name, *args in (
        ("ls", folder),
        ("show", url),
        ("tail", url),
        ("verify", url),
        ("catalog", folder, tmp_path / "scans.parquet"),
        ("export", url, tmp_path / "out.h5"),
    ):
        result = cli(name, *args, "--config", config)
        assert result.exit_code == 0, (name, result.output)
    away = ("--storage-option", "endpoint=http://127.0.0.1:1")
    assert cli("show", url, "--config", config, *away).exit_code == 6


def test_what_is_wrong_is_one_line_without_secrets(cli, url: str, s3: S3Server):
    for option, code, message in (
        ("secret_access_key=wrong", 2, "access_key_id and secret_access_key go together"),
        ("endpoint=http://127.0.0.1:1", 6, "http://127.0.0.1:1 cannot be reached"),
        ("colour=red", 2, "storage option colour"),
        ("colour", 2, "takes NAME=VALUE"),
    ):
        told = cli("show", url, "--storage-option", option)
        assert told.exit_code == code
        assert message in told.stderr
        assert told.stderr.count("\n") == 1
        assert s3.secret_access_key not in told.output
