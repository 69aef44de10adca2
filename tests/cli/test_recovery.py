from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path

import pytest

from zwriter import ScanWriter, open_scan
from zwriter.service.roots import mark_as_fed


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A scan whose writer is gone."""
    writer = ScanWriter(tmp_path / "S1.zarr", scan_number=1)
    writer.status("open")
    writer.add("adc", "adc_value", 1.0)
    writer.commit()
    writer.close()
    return writer.path


def test_a_scan_whose_writer_is_dead_does_not_run_any_more(cli, unfinished: Path, monkeypatch):
    monkeypatch.setattr("zwriter.reader.scan._QUIET", 0.0)
    assert " live " not in cli("ls", unfinished.parent).stdout
    shown = cli("show", unfinished).stdout
    told = f"its writer is dead; `zwriter finalize {unfinished}` ends it"
    assert f"({told})" in shown
    assert json.loads(cli("show", unfinished, "--json").stdout)["abandoned"] == told
    followed = cli("tail", unfinished)
    assert (followed.exit_code, followed.stderr) == (1, f"zwriter: {unfinished}: {told}\n")
    exported = cli("export", unfinished, unfinished.parent / "out.h5")
    assert exported.exit_code == 2
    assert told in exported.stderr

    (advice,) = re.findall("`zwriter (.*?)`", shown)
    assert cli(*shlex.split(advice)).exit_code == 3
    assert "dead" not in cli("ls", unfinished.parent).stdout
    assert cli("tail", unfinished).exit_code == 0


def test_of_a_scan_whose_service_is_dead_it_says_who_goes_on_with_it(cli, unfinished: Path):
    mark_as_fed(unfinished, "redis://beamline:6379/0")
    assert "its service is dead; `zwriter run` goes on with it" in cli("show", unfinished).stdout


def test_a_writer_on_another_machine_is_not_known_to_be_dead(cli, unfinished: Path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert " live " in cli("ls", unfinished.parent).stdout
    assert "it still runs" in cli("show", unfinished).stdout


def test_a_writer_of_which_nothing_may_be_read_is_not_known_to_be_dead(cli, unfinished, forbid):
    forbid(unfinished.with_suffix(".zwriter"))
    assert " live " in cli("ls", unfinished.parent).stdout


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
