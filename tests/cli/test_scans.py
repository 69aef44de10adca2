from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from tests.cli.conftest import complete
from zwriter.model import Add, Position, Source, Update
from zwriter.objects import AnyPath
from zwriter.protocol import Message, encode, keys
from zwriter.testing.scans import ScanFolder, remove

COUNTS = {"expected", "received", "written", "missing", "short", "cut", "quarantined"}
on_a_disk = pytest.mark.parametrize("scans", ["disk"], indirect=True)


@pytest.fixture
def scan(scans: ScanFolder) -> AnyPath:
    """On a disk, and in a bucket."""
    return complete(scans.writer(scan_id="one", scan_number=1))


def test_ls_lists_running_and_finished_scans(cli, scans: ScanFolder, scan: AnyPath):
    with scans.writer("deeper/S2.zarr", scan_id="two", scan_number=2) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.flush()
        lines = json.loads(cli("ls", scans.path, "--json").stdout)
        assert [(line["scan_number"], line["verdict"]) for line in lines] == [
            (1, "COMPLETE"),
            (2, None),
        ]
        text = cli("ls", scans.path).stdout
    assert "COMPLETE" in text
    assert "live" in text
    assert str(scan) in text


def test_ls_says_that_there_are_no_scans(cli, tmp_path: Path):
    result = cli("ls", tmp_path)
    assert (result.exit_code, result.stdout) == (0, f"no scans below {tmp_path}\n")


def test_catalog_writes_a_table_and_brings_it_up_to_date(
    cli, scans: ScanFolder, scan: AnyPath, tmp_path: Path
):
    out = tmp_path / "scans.parquet"
    for read in (1, 0):
        assert cli("catalog", scans.path, out).stdout == f"{out}: scans 1, read anew {read}\n"
    (row,) = pq.read_table(out).to_pylist()
    assert (row["scan_id"], row["path"]) == ("one", str(scan))
    assert row["master"] == str(scans / "S1_master.h5")


def test_catalog_without_pyarrow_is_told_in_a_line(cli, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = cli("catalog", tmp_path, tmp_path / "scans.parquet")
    assert result.exit_code == 2
    assert result.stderr == "zwriter: a catalog needs pyarrow: pip install pyarrow\n"


def test_show_json_tells_all_about_each_signal_of_a_finished_scan(cli, scan: AnyPath):
    facts = json.loads(cli("show", scan, "--json").stdout)
    assert (facts["scan_id"], facts["scan_number"], facts["verdict"]) == ("one", 1, "COMPLETE")
    assert facts["path"] == str(scan)
    signal = facts["devices"]["adc"]["adc_value"]
    assert signal.keys() >= COUNTS
    assert signal["shape"] == [10, 3]
    assert signal["dtype"] == "float64"
    assert signal["received"] == signal["written"] == 10


def test_show_json_of_a_running_scan_has_no_verdict_yet(cli, scans: ScanFolder):
    with scans.writer(scan_number=1) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.flush()
        facts = json.loads(cli("show", writer.path, "--json").stdout)
    assert facts["verdict"] is None
    assert facts["devices"]["adc"]["adc_value"]["written"] == 1


def test_show_says_how_far_a_running_scan_is_behind(cli, scans: ScanFolder):
    stream = keys.async_signal("one", "adc", "adc_value")
    entry = f"{int((time.time() - 7200) * 1000)}-0"  # two hours ago
    source = Source(b"", Position(stream, entry))
    with scans.writer(scan_id="one") as writer:
        writer.apply([Update("adc", "adc_value", Add((None,)), 1.0, None, 0, source)])
        writer.flush()
        lag = json.loads(cli("show", writer.path, "--json").stdout)["lag"]["adc"]
        assert re.search(rf"\(it .*, lag {lag:.1f} s\)", cli("show", writer.path).stdout)
        writer.expect("adc", "adc_value", 1)
        writer.flush()
        later = json.loads(cli("show", writer.path, "--json").stdout)["lag"]
    assert lag >= 7200
    assert later == {"adc": None}  # nothing has come since then


@on_a_disk
def test_show_prints_a_line_for_each_signal(cli, scan: AnyPath):
    text = cli("show", scan).stdout
    assert "verdict COMPLETE" in text
    assert "adc_value" in text
    assert "10x3" in text


def test_show_says_why_messages_are_in_quarantine(cli, scans: ScanFolder):
    with scans.writer(scan_number=1) as writer:
        writer.add("adc", "image", np.zeros((2, 2)))
        writer.add("adc", "image", np.zeros((3, 3)), max_shape=(None, 2, 2))
        for _ in range(2):
            writer.add("adc", "map", {"not": "numbers"})
    text = cli("show", writer.path).stdout
    assert "quarantined, 2 x adc/map: values of type object cannot be stored" in text
    assert "quarantined, 1 x adc/image: rows of shape (3, 3) where (2, 2) are expected" in text
    assert "None" not in text
    gaps = json.loads(cli("show", writer.path, "--json").stdout)["gaps"]
    assert "adc/map: 2 quarantined" in gaps


@on_a_disk
def test_show_counts_rows_of_different_lengths_as_rows(cli, scans: ScanFolder):
    with scans.writer(scan_number=1) as writer:
        for n in range(3):
            writer.add("tof", "events", [1.0] * n, max_shape=(None, None))
            writer.point(n, {"samx": {"samx": {"value": [1.0] * n}}})
    text = cli("show", writer.path).stdout
    assert text.count("3 ragged") == 2


def test_tail_follows_a_scan_to_its_end(scans: ScanFolder):
    command = [sys.executable, "-m", "zwriter.cli", "tail", str(scans / "S1.zarr"), "--json"]
    with scans.writer(scan_number=1) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.flush()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            assert first == {"status": first["status"], "verdict": None, "written": {"adc": 1}}
            writer.add("adc", "adc_value", 2.0)
            writer.finish("closed")
            lines = [json.loads(line) for line in process.stdout]
    assert all(line != following for line, following in pairwise(lines))
    assert lines[-1] == {"status": "closed", "verdict": "COMPLETE", "written": {"adc": 2}}
    assert process.returncode == 0


def test_tail_of_a_finished_scan_is_its_end(cli, scan: AnyPath):
    assert "COMPLETE  adc 10" in cli("tail", scan).stdout


@pytest.mark.parametrize(
    ("scans", "mode"),
    [
        *(("disk", mode) for mode in ("auto", "copy", "reference")),
        *(pytest.param("bucket", mode, marks=pytest.mark.s3) for mode in ("auto", "copy")),
    ],
    indirect=["scans"],
)
def test_export_writes_a_master_file(cli, scan: AnyPath, tmp_path: Path, mode: str):
    out = tmp_path / "again.h5"
    result = cli("export", scan, out, "--mode", mode)
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    with h5py.File(out) as file:
        value = file["entry/collection/devices/adc/adc_value/value"][()]
    np.testing.assert_array_equal(value[:, 0], np.arange(10.0))


@on_a_disk
@pytest.mark.parametrize("out", ["folder", "S1.zarr/out.h5"])
def test_export_to_where_no_file_can_be_is_wrong_usage(cli, scan: Path, out: str):
    (scan.parent / "folder").mkdir()
    result = cli("export", scan, scan.parent / out)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert not list(scan.parent.rglob("*.part"))
    assert zarr.open(scan, mode="r").attrs["default"] == "entry"


@on_a_disk
def test_export_says_of_the_source_what_the_settings_say(cli, scan: AnyPath, tmp_path: Path):
    config = tmp_path / "zwriter.toml"
    config.write_text('[master]\nfacility = "Somewhere"\n')
    out = tmp_path / "again.h5"
    assert cli("export", scan, out, "--config", config).exit_code == 0
    with h5py.File(out) as file:
        assert file["entry/instrument/source/name"].asstr()[()] == "Somewhere"


def test_verify_ends_with_0_for_a_complete_scan(cli, scan: AnyPath):
    result = cli("verify", scan)
    assert (result.exit_code, result.stdout) == (0, f"{scan}: COMPLETE, no problems\n")


def test_verify_ends_with_3_for_a_scan_with_gaps(cli, scans: ScanFolder):
    with scans.writer(scan_number=1) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.expect("adc", "adc_value", 5)
    result = cli("verify", writer.path, "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["verdict"] == "COMPLETE_WITH_GAPS"


def test_a_folder_has_no_verdict_while_a_scan_in_it_has_none(cli, scans: ScanFolder, scan: AnyPath):
    with scans.writer("S2.zarr", scan_number=2, master=None) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.flush()
        assert f"{scans.path}: no verdict, no problems" in cli("verify", scans.path).stdout
    assert f"{scans.path}: COMPLETE, no problems" in cli("verify", scans.path).stdout


def test_why_a_scan_was_aborted_is_shown_and_told_by_verify(cli, scans: ScanFolder):
    with scans.writer(scan_number=1) as writer:
        scan = {"scan_id": writer.scan_id, "info": {}, "num_points": 11}
        for told in ({"status": "open"}, {"status": "aborted", "reason": "the shutter was closed"}):
            writer.journal("status", "", encode(Message("ScanStatusMessage", scan | told, {})))
        writer.point(0, {"samx": {"samx": {"value": 0.5, "timestamp": 1.0}}})
    for command in ("show", "verify"):
        said = cli(command, writer.path).stdout
        assert "aborted: the shutter was closed" in said
        assert "1 of 11 points came" in said


def test_verify_ends_with_4_for_a_damaged_scan(cli, scan: AnyPath):
    shard = scan / "entry/collection/devices/adc/adc_value/value/c/0/0"
    content = bytearray(shard.read_bytes())
    where = int.from_bytes(content[:8], "little") + 30
    content[where] ^= 0xFF
    remove(shard)
    shard.write_bytes(content)
    result = cli("verify", scan, "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["problems"]


@pytest.mark.parametrize("command", ["show", "tail", "verify"])
def test_a_path_where_nothing_is_ends_with_2_and_one_line(cli, scans: ScanFolder, command: str):
    result = cli(command, scans / "absent.zarr")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("zwriter: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "tail", "export"])
def test_a_folder_of_scans_where_one_is_wanted_ends_with_2_and_one_line(
    cli, scans: ScanFolder, scan: AnyPath, tmp_path: Path, command: str
):
    result = cli(command, scans.path, *([tmp_path / "out.h5"] if command == "export" else []))
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    (advice,) = re.findall("`zwriter (.*?)`", result.stderr)
    assert str(scan) in cli(*shlex.split(advice)).stdout


@on_a_disk
@pytest.mark.parametrize("command", ["show", "tail", "export"])
def test_a_scan_that_may_not_be_read_ends_with_4_and_one_line(cli, scan, forbid, command: str):
    forbid(scan / "zarr.json")
    result = cli(command, scan, *([scan.parent / "out.h5"] if command == "export" else []))
    told = f"zwriter: {scan}/zarr.json: Permission denied; check its permissions\n"
    assert (result.exit_code, result.stderr) == (4, told)


@on_a_disk
def test_a_scan_that_may_not_be_read_hides_no_other(cli, scans: ScanFolder, scan, forbid):
    complete(scans.writer("S2.zarr", scan_id="two", scan_number=2))
    forbid(scan / "zarr.json")
    listed = cli("ls", scans.path)
    assert listed.exit_code == 4
    _, first, second, why = listed.stdout.splitlines()
    assert "cannot be read" in first
    assert "COMPLETE" in second
    assert why.startswith(f"{scan}: ")
    out = scans / "scans.parquet"
    cataloged = cli("catalog", scans.path, out)
    assert cataloged.exit_code == 4
    assert "1 damaged, or cannot be read" in cataloged.stdout
    assert [bool(row["error"]) for row in pq.read_table(out).to_pylist()] == [True, False]
    verified = cli("verify", scans.path)
    assert verified.exit_code == 4
    assert f"{scan} cannot be read" in verified.stdout


@on_a_disk
def test_a_folder_that_may_not_be_read_is_not_taken_for_empty(cli, scans: ScanFolder, scan, forbid):
    complete(scans.writer("deeper/S2.zarr", scan_id="two", scan_number=2))
    out = scans / "scans.parquet"
    cli("catalog", scans.path, out)
    before = out.read_bytes()
    forbid(scans / "deeper")
    for command, code in ((("ls",), 4), (("recover",), 1), (("verify",), 4), (("catalog", out), 4)):
        name, *more = command
        result = cli(name, scans.path, *more)
        assert result.exit_code == code, command
        told = [line for line in result.output.splitlines() if str(scans / "deeper") in line]
        assert len(told) == 1 + (name == "ls"), command
        assert all("cannot be read" in line or "Permission denied" in line for line in told)
    assert out.read_bytes() == before


@on_a_disk
def test_what_a_file_system_keeps_for_itself_is_no_folder_of_scans(cli, scan: Path, forbid):
    (scan.parent / "lost+found").mkdir()
    forbid(scan.parent / "lost+found")
    for command in ("ls", "recover", "verify"):
        assert cli(command, scan.parent).exit_code == 0
