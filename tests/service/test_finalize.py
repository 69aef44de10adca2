"""A scan whose writer is dead is finished without it, and nothing is pretended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from zwriter.errors import BeingWritten, StoreError, UsageError
from zwriter.model import ScanState, Verdict
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import Settings
from zwriter.testing.failpoints import enospc, failing

SETTINGS = Settings(store={"durability": "none"})


def left(path: Path, *states: str, rows: int = 3, committed: bool = True) -> Path:
    """A scan whose writer has died after these states."""
    writer = ScanWriter(path, scan_id="left", scan_number=1, settings=SETTINGS.store)
    for state in states:
        writer.status(state, num_points=rows)
    for i in range(rows):
        writer.add("adc", "adc_value", float(i))
    if committed:
        writer.commit()
    writer.close()
    return path


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_scan_whose_end_was_not_heard_is_aborted_and_says_why(tmp_path: Path):
    store = left(tmp_path / "S1.zarr", "open")
    verdict, master = finalize(store, SETTINGS)
    scan = open_scan(store)
    assert (verdict, scan.status) == (Verdict.ABORTED, ScanState.ABORTED)
    assert scan.devices["adc"]["adc_value"].value[:].tolist() == [0.0, 1.0, 2.0]
    assert "its writer died" in (scan.record.reason or "")
    assert scan.metadata["num_points"] == 3
    assert verify(tmp_path).problems == []
    with h5py.File(master) as file:
        assert file["entry/zwriter/verdict"].asstr()[()] == "ABORTED"
        assert b"its writer died" in file["entry/collection/metadata/bec/reason"][()]


def test_a_scan_that_was_closed_but_not_finished_is_not_complete(tmp_path: Path):
    """The end was heard; whether all was read before it, nobody knows."""
    store = left(tmp_path / "S1.zarr", "open", "closed")
    verdict, _ = finalize(store, SETTINGS)
    assert (verdict, open_scan(store).status) == (Verdict.COMPLETE_WITH_GAPS, ScanState.CLOSED)


def test_a_reason_that_was_given_before_is_kept(tmp_path: Path):
    writer = ScanWriter(tmp_path / "S1.zarr", settings=SETTINGS.store)
    writer.status("aborted", reason="user")
    writer.close()
    finalize(tmp_path / "S1.zarr", SETTINGS)
    reason = open_scan(tmp_path / "S1.zarr").record.reason
    assert reason is not None
    assert reason.startswith("user; its writer died")


def test_rows_that_were_not_committed_are_not_there(tmp_path: Path):
    store = left(tmp_path / "S1.zarr", "open", committed=False)
    assert finalize(store, SETTINGS)[0] is Verdict.ABORTED
    assert not open_scan(store).devices.get("adc")


def test_a_scan_of_which_no_message_told_keeps_its_id(tmp_path: Path):
    store = left(tmp_path / "S1.zarr")
    assert finalize(store, SETTINGS)[0] is Verdict.ABORTED
    assert (open_scan(store).scan_id, open_scan(store).scan_number) == ("left", 1)


def test_the_master_file_has_the_suffix_that_the_scan_was_given(tmp_path: Path):
    writer = ScanWriter(tmp_path / "S1.zarr", scan_id="one", settings=SETTINGS.store)
    writer.status("open")
    message = writer.record.status_message
    assert message is not None
    given = {"system_config": {"file_suffix": "sample7"}}
    writer.record.status_message = message.model_copy(update={"scan_parameters": given})
    writer.status("open")
    writer.close()
    assert finalize(tmp_path / "S1.zarr", SETTINGS)[1] == tmp_path / "S1_master_sample7.h5"


def test_of_a_finished_scan_only_the_master_file_is_written(tmp_path: Path):
    with ScanWriter(tmp_path / "S1.zarr", settings=SETTINGS.store) as writer:
        writer.add("adc", "adc_value", 1.0)
    before = files(tmp_path / "S1.zarr")
    (tmp_path / "S1_master.h5").unlink()
    assert finalize(tmp_path / "S1.zarr", SETTINGS)[0] is Verdict.COMPLETE
    assert files(tmp_path / "S1.zarr") == before
    assert verify(tmp_path).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["S1.zarr", "S1_master.h5"]


def test_a_scan_whose_writer_is_alive_is_left_alone(tmp_path: Path):
    with ScanWriter(tmp_path / "S1.zarr", settings=SETTINGS.store) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.commit()
        before = files(tmp_path)
        with pytest.raises(BeingWritten, match=r"is being written by process \d+ on"):
            finalize(tmp_path / "S1.zarr", SETTINGS)
        assert files(tmp_path) == before
    assert open_scan(tmp_path / "S1.zarr").verdict is Verdict.COMPLETE


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path):
    program = """
import os, signal, sys
from zwriter import ScanWriter
writer = ScanWriter(sys.argv[1])
writer.add("adc", "adc_value", 1.0)
writer.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "S1.zarr"], check=False)
    assert finalize(tmp_path / "S1.zarr", SETTINGS)[0] is Verdict.ABORTED
    assert open_scan(tmp_path / "S1.zarr").devices["adc"]["adc_value"].value[:].tolist() == [1.0]


def test_a_disk_that_refuses_is_told_and_it_can_be_done_again(tmp_path: Path):
    store = left(tmp_path / "S1.zarr", "open")
    with failing("seal.metadata", enospc), pytest.raises(StoreError, match="no space"):
        finalize(store, SETTINGS)
    assert not (tmp_path / "S1_master.h5").exists()
    assert finalize(store, SETTINGS)[0] is Verdict.ABORTED
    assert verify(tmp_path).problems == []


def test_where_no_scan_is_none_is_made(tmp_path: Path):
    with pytest.raises(UsageError, match="no such scan store"):
        finalize(tmp_path / "S1.zarr", SETTINGS)
    (tmp_path / "S2.zarr").mkdir()
    with pytest.raises(StoreError, match="not a scan store"):
        finalize(tmp_path / "S2.zarr", SETTINGS)
    assert [path.name for path in tmp_path.rglob("*")] == ["S2.zarr"]


def test_a_scan_whose_commits_are_lost_is_told_so(tmp_path: Path):
    store = left(tmp_path / "S1.zarr", "open")
    (tmp_path / "S1.zwriter").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="which lay beside it, is not there"):
        finalize(store, SETTINGS)


def test_a_service_does_not_go_on_with_a_scan_that_was_finalized(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        scan.add("mcs", "counts", [1, 2], max_shape=(None,))
        beamline.live(1, rows=2)
        with pytest.raises(BeingWritten):
            finalize(beamline.store(1), beamline.settings)
    scan.add("mcs", "counts", 3, max_shape=(None,))  # nobody reads it
    assert finalize(beamline.store(1), beamline.settings)[0] is Verdict.ABORTED
    before = files(beamline.root)
    with beamline.service():
        scan.close()
        with beamline.publisher.open_scan(scan_number=2):
            pass
        beamline.written(2)
    assert {path: data for path, data in files(beamline.root).items() if path in before} == before
    assert open_scan(beamline.store(1)).devices["mcs"]["counts"].value[:].tolist() == [1, 2]
