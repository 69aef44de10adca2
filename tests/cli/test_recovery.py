from __future__ import annotations

import json
from pathlib import Path

import pytest

from zwriter import ScanWriter, open_scan


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A scan whose writer is gone."""
    writer = ScanWriter(tmp_path / "S1.zarr", scan_number=1)
    writer.status("open")
    writer.add("adc", "adc_value", 1.0)
    writer.commit()
    writer.close()
    return writer.path


def test_finalize_says_what_the_scan_is_and_where_its_master_file_is(cli, unfinished: Path):
    result = cli("finalize", unfinished)
    assert (result.exit_code, result.stdout) == (
        3,
        f"ABORTED, {unfinished.parent / 'S1_master.h5'}\n",
    )
    assert cli("finalize", unfinished).stdout == result.stdout


def test_finalize_of_a_complete_scan_ends_with_0(cli, scan: Path):
    (scan.parent / "S1_master.h5").unlink()
    assert cli("finalize", scan).exit_code == 0
    assert cli("verify", scan.parent).exit_code == 0


def test_finalize_of_a_scan_that_is_being_written_ends_with_5_and_one_line(cli, tmp_path: Path):
    with ScanWriter(tmp_path / "S1.zarr"):
        result = cli("finalize", tmp_path / "S1.zarr")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.startswith("zwriter: ")
    assert result.stderr.count("\n") == 1


def test_finalize_where_nothing_is_ends_with_2(cli, tmp_path: Path):
    assert cli("finalize", tmp_path / "S1.zarr").exit_code == 2


def test_recover_lists_and_changes_nothing_until_it_is_told_to(cli, unfinished: Path):
    listed = cli("recover", unfinished.parent)
    assert listed.exit_code == 1
    assert f"{unfinished}: unfinished" in listed.stdout
    assert not open_scan(unfinished).finished
    repaired = cli("recover", unfinished.parent, "--repair")
    assert repaired.exit_code == 0
    assert "ABORTED" in repaired.stdout
    assert open_scan(unfinished).finished
    assert cli("recover", unfinished.parent).exit_code == 0


def test_recover_tells_programs_as_well(cli, unfinished: Path):
    listed = cli("recover", unfinished.parent, "--json")
    (line,) = json.loads(listed.stdout)
    assert (line["path"], line["state"]) == (str(unfinished), "unfinished")
    assert line["problem"]
    assert line["remedy"]
    assert listed.exit_code == 1
    repaired = cli("recover", unfinished.parent, "--repair", "--json")
    (line,) = json.loads(repaired.stdout)
    assert line["done"].startswith("ABORTED")
    assert line["error"] == ""


def test_recover_of_what_is_being_written_has_nothing_to_do(cli, tmp_path: Path):
    with ScanWriter(tmp_path / "S1.zarr"):
        result = cli("recover", tmp_path)
    assert result.exit_code == 0
    assert "being written" in result.stdout


def test_recover_ends_with_1_where_something_is_left(cli, unfinished: Path):
    (unfinished.parent / "S1_master.h5").mkdir()  # in the way
    result = cli("recover", unfinished.parent, "--repair")
    assert result.exit_code == 1
    assert "give the name of a file" in result.stdout
