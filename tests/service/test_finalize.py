"""A scan whose writer is dead is finished without it, and nothing is pretended."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import h5py
import pytest

from zwriter.errors import BeingWritten, StoreError, UsageError
from zwriter.model import ScanState, Verdict
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.finalize import finalize
from zwriter.settings import MasterSettings, Settings, StoreSettings
from zwriter.testing.failpoints import enospc, failing
from zwriter.testing.scans import ScanFolder

FAST = StoreSettings(durability="none")


@pytest.fixture
def settings(scans: ScanFolder) -> Settings:
    return Settings(store={"durability": "none"}, spool=scans.spool)


def left(scans: ScanFolder, *states: str, rows: int = 3, committed: bool = True) -> AnyPath:
    """A scan whose writer has died after these states."""
    writer = scans.writer(scan_id="left", scan_number=1, settings=FAST)
    for state in states:
        writer.status(state, num_points=rows)
    for i in range(rows):
        writer.add("adc", "adc_value", float(i))
    if committed:
        writer.commit()
    writer.close(keep=True)
    return writer.path


def files(folder: AnyPath) -> dict[str, bytes]:
    if isinstance(folder, ObjectPath):
        return {url: place(url).read_bytes() for url in folder.sizes()}
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_scan_whose_end_was_not_heard_is_aborted_and_says_why(
    scans: ScanFolder, settings: Settings
):
    store = left(scans, "open")
    verdict, master = finalize(store, settings)
    scan = open_scan(store)
    assert (verdict, scan.status) == (Verdict.ABORTED, ScanState.ABORTED)
    assert scan.devices["adc"]["adc_value"].value[:].tolist() == [0.0, 1.0, 2.0]
    assert "its writer died" in (scan.record.reason or "")
    assert scan.metadata["num_points"] == 3
    assert verify(scans.path).problems == []
    with master.open("rb") as raw, h5py.File(raw) as file:
        assert file["entry/zwriter/verdict"].asstr()[()] == "ABORTED"
        assert b"its writer died" in file["entry/collection/metadata/bec/reason"][()]


def test_a_scan_that_was_closed_but_not_finished_is_not_complete(
    scans: ScanFolder, settings: Settings
):
    """The end was heard; whether all was read before it, nobody knows."""
    store = left(scans, "open", "closed")
    verdict, _ = finalize(store, settings)
    assert (verdict, open_scan(store).status) == (Verdict.COMPLETE_WITH_GAPS, ScanState.CLOSED)


def test_a_reason_that_was_given_before_is_kept(scans: ScanFolder, settings: Settings):
    writer = scans.writer(settings=FAST)
    writer.status("aborted", reason="user")
    writer.close()
    finalize(writer.path, settings)
    reason = scans.open().record.reason
    assert reason is not None
    assert reason.startswith("user; its writer died")


def test_rows_that_were_not_committed_are_not_there(scans: ScanFolder, settings: Settings):
    store = left(scans, "open", committed=False)
    assert finalize(store, settings)[0] is Verdict.ABORTED
    assert not open_scan(store).devices.get("adc")


def test_a_scan_of_which_no_message_told_keeps_its_id(scans: ScanFolder, settings: Settings):
    store = left(scans)
    assert finalize(store, settings)[0] is Verdict.ABORTED
    assert (open_scan(store).scan_id, open_scan(store).scan_number) == ("left", 1)


def test_the_master_file_has_the_suffix_that_the_scan_was_given(
    scans: ScanFolder, settings: Settings
):
    writer = scans.writer(scan_id="one", settings=FAST)
    writer.status("open")
    message = writer.record.status_message
    assert message is not None
    given = {"system_config": {"file_suffix": "sample7"}}
    writer.record.status_message = message.model_copy(update={"scan_parameters": given})
    writer.status("open")
    writer.close()
    finalize(writer.path, settings)
    assert scans.names() == ["S1.zarr", "S1_master_sample7.h5"]


def test_of_a_finished_scan_only_the_master_file_is_written(scans: ScanFolder, settings: Settings):
    with scans.writer(settings=FAST, master=None) as writer:
        writer.add("adc", "adc_value", 1.0)
    before = files(scans.path)
    verdict, master = finalize(writer.path, settings)
    assert verdict is Verdict.COMPLETE
    after = files(scans.path)
    assert after.pop(str(master))
    assert after == before
    assert verify(scans.path).exit_code == 0
    assert scans.names() == ["S1.zarr", "S1_master.h5"]


def test_a_scan_whose_writer_is_alive_is_left_alone(scans: ScanFolder, settings: Settings):
    with scans.writer(settings=FAST) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.flush()
        before = files(scans.path)
        with pytest.raises(BeingWritten, match=r"is being written by process \d+ on"):
            finalize(writer.path, settings)
        assert files(scans.path) == before
    assert scans.open().verdict is Verdict.COMPLETE


def test_a_writer_that_was_killed_holds_nothing(scans: ScanFolder, settings: Settings):
    program = """
import os, signal, sys
from zwriter import ScanWriter
from zwriter.settings import SpoolSettings
writer = ScanWriter(sys.argv[1], spool=SpoolSettings(folder=sys.argv[2]))
writer.add("adc", "adc_value", 1.0)
writer.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""
    store = scans / "S1.zarr"
    arguments = [str(store), str(scans.spool.folder)]
    subprocess.run([sys.executable, "-c", program, *arguments], check=False)
    assert finalize(store, settings)[0] is Verdict.ABORTED
    assert scans.open().devices["adc"]["adc_value"].value[:].tolist() == [1.0]


def test_a_disk_that_refuses_is_told_and_it_can_be_done_again(
    scans: ScanFolder, settings: Settings
):
    store = left(scans, "open")
    with failing("seal.metadata", enospc), pytest.raises(StoreError, match="no space"):
        finalize(store, settings)
    assert not (scans / "S1_master.h5").exists()
    assert finalize(store, settings)[0] is Verdict.ABORTED
    assert verify(scans.path).problems == []


def test_a_mode_that_no_master_file_there_has_is_refused_before_anything_is_done(
    scans: ScanFolder, settings: Settings
):
    store = left(scans, "open")
    before = files(scans.path)
    mode = "reference" if isinstance(store, ObjectPath) else "link"
    wrong = settings.model_copy(update={"master": MasterSettings(mode=mode)})
    with pytest.raises(UsageError, match=f"have mode .*, not {mode}"):
        finalize(store, wrong)
    assert files(scans.path) == before
    assert finalize(store, settings)[0] is Verdict.ABORTED


def test_where_no_scan_is_none_is_made(scans: ScanFolder, settings: Settings):
    with pytest.raises(UsageError, match="no such scan store"):
        finalize(scans / "S1.zarr", settings)
    assert scans.names() == []


def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path):
    (tmp_path / "S2.zarr").mkdir()
    with pytest.raises(StoreError, match="not a scan store"):
        finalize(tmp_path / "S2.zarr", Settings())
    assert [path.name for path in tmp_path.rglob("*")] == ["S2.zarr"]


def test_a_scan_whose_commits_are_lost_is_told_so(tmp_path: Path):
    with closing(ScanWriter(tmp_path / "S1.zarr", settings=FAST)) as writer:
        writer.add("adc", "adc_value", 1.0)
        writer.commit()
    (tmp_path / "S1.zwriter").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="which lay beside it, is not there"):
        finalize(tmp_path / "S1.zarr", Settings())


def test_a_service_does_not_go_on_with_a_scan_that_was_finalized(beamline_anywhere):
    beamline = beamline_anywhere
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
    assert files(beamline.root).items() >= before.items()
    assert open_scan(beamline.store(1)).devices["mcs"]["counts"].value[:].tolist() == [1, 2]
