"""What lies where scans are, and paths as people give them."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import h5py
import pytest
import zarr

from tests.cli.conftest import complete
from zwriter import ScanWriter, export, open_scan
from zwriter.errors import UsageError


@pytest.fixture
def master(scan: Path) -> Path:
    return scan.with_name("S1_master.h5")


def lines(result) -> list[str]:
    return [line for line in (result.stdout + result.stderr).splitlines() if line]


def test_a_store_is_verified_with_its_master_file(cli, scan: Path, master: Path):
    assert cli("verify", scan).exit_code == 0
    os.truncate(master, 3000)
    result = cli("verify", scan)
    assert result.exit_code == 4
    assert f"{master} cannot be read" in result.stdout
    master.unlink()
    assert cli("verify", scan).exit_code == 0
    with h5py.File(master, "w") as file:
        file["theirs"] = 1
    assert cli("verify", scan).exit_code == 0


def test_a_master_file_that_is_damaged_is_not_taken_for_one(cli, scan: Path, master: Path):
    """And what is said to be done about it can be done."""
    os.truncate(master, 0)
    result = cli("recover", scan.parent)
    assert result.exit_code == 1
    assert f"{master}: damaged" in result.stdout
    result = cli("finalize", scan)
    assert result.exit_code == 2
    told = f"{master} is there, and is damaged, or no HDF5 file; remove it, or give another name"
    assert lines(result) == [f"zwriter: {told}"]
    master.unlink()
    assert cli("finalize", scan).exit_code == 0
    assert cli("recover", scan.parent).exit_code == 0


def test_what_is_damaged_is_said_and_ends_ls_with_4(cli, scan: Path):
    (scan / "zarr.json").write_text("{")
    result = cli("ls", scan.parent)
    assert result.exit_code == 4
    assert lines(result)[-1].startswith(f"{scan}: ")


def test_a_zarr_group_of_somebody_else_is_no_scan(cli, scan: Path):
    zarr.open_group(scan.with_name("analysis.zarr"), mode="w").create_array(
        "x", shape=3, dtype="i4"
    )
    result = cli("ls", scan.parent)
    assert (result.exit_code, "analysis" in result.stdout) == (0, False)
    assert cli("verify", scan.parent).exit_code == 0
    assert "scans 1," in cli("catalog", scan.parent, scan.with_name("x.parquet")).stdout


def test_folders_that_are_links_are_looked_into_and_each_once(cli, scan: Path, tmp_path: Path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "proposal").symlink_to(scan.parent)
    (linked / "again").symlink_to(scan.parent)
    (linked / "round").symlink_to(linked)
    assert cli("ls", linked).stdout.count("S1.zarr") == 1
    assert "scans 1," in cli("catalog", linked, tmp_path / "x.parquet").stdout
    result = cli("verify", linked)
    assert (result.exit_code, "COMPLETE, no problems" in result.stdout) == (0, True)
    scan.with_name("S1_master.h5").unlink()
    assert "no master file" in cli("recover", linked).stdout


def test_commands_that_are_told_can_be_pasted(cli, tmp_path: Path):
    folder = tmp_path / "a [b] 'c'"
    folder.mkdir()
    writer = ScanWriter(folder / "S1.zarr", master=None)
    writer.status("open")
    writer.close()
    told = cli("show", writer.path).stdout
    command = told.partition("`zwriter ")[2].partition("`")[0]
    assert cli(*shlex.split(command)).exit_code == 3
    assert open_scan(writer.path).finished


@pytest.mark.parametrize("out", ["sub/", "out.zarr"])
def test_what_is_no_name_of_a_file_is_none_to_export_to(cli, scan: Path, out: str):
    result = cli("export", scan, f"{scan.parent}/{out}")
    assert result.exit_code == 2
    assert "no name of an HDF5 file" in result.stderr


@pytest.mark.parametrize("command", ["verify", "ls", "show", "recover"])
def test_an_empty_path_is_none(cli, command: str):
    result = cli(command, "")
    assert result.exit_code == 2
    assert "is no path" in result.stderr or "give a" in result.stderr


def test_a_home_folder_is_known_by_its_sign(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = complete(ScanWriter("~/S1.zarr"))
    assert path == tmp_path / "S1.zarr"
    export("~/S1.zarr", "~/other.h5")
    assert open_scan("~/S1.zarr").finished
    assert (tmp_path / "other.h5").exists()


@pytest.mark.parametrize("path", [None, 7, b"x", ["a"]], ids=repr)
def test_what_is_no_path_is_told_in_one_line(path):
    with pytest.raises(UsageError, match="is no path"):
        open_scan(path)


@pytest.mark.parametrize("inside", ["file.txt/S1.zarr", "f.zarr", "file.txt/a/b/S1.zarr"])
def test_there_is_no_store_in_a_file(tmp_path: Path, inside: str):
    for name in ("file.txt", "f.zarr"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="is a file; choose another path"):
        ScanWriter(tmp_path / inside)
