"""What a dead machine left is found, and repaired, scan by scan."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from zwriter.errors import UsageError
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.service.recover import leftovers, repair
from zwriter.service.roots import mark_as_fed
from zwriter.settings import Settings
from zwriter.testing.failpoints import failing, fault

SETTINGS = Settings(store={"durability": "none"})


def begun(path: Path) -> ScanWriter:
    writer = ScanWriter(path, scan_id="one", settings=SETTINGS.store)
    writer.status("open")
    writer.add("adc", "adc_value", 1.0)
    writer.commit()
    return writer


def finished(path: Path) -> None:
    with begun(path) as writer:
        writer.status("closed")


def not_cleaned_up(path: Path) -> None:
    """As one that was killed behind its last step but one."""
    with pytest.raises(RuntimeError), failing("finish.trimmed", fault):
        finished(path)


def found(root: Path) -> list[tuple[str, str]]:
    return [(item.path.name, item.state) for item in leftovers(root, SETTINGS)]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def wreck(tmp_path: Path) -> Path:
    """One of each."""
    finished(tmp_path / "S1.zarr")
    begun(tmp_path / "S2.zarr").close()
    fed = begun(tmp_path / "deeper" / "S3.zarr")
    mark_as_fed(fed.path, "redis://beamline:6379/0")
    fed.close()
    finished(tmp_path / "S4.zarr")
    (tmp_path / "S4_master.h5").unlink()
    not_cleaned_up(tmp_path / "S5.zarr")
    (tmp_path / "S5_master.h5.0123abcd.part").write_bytes(b"half")
    return tmp_path


def test_each_is_listed_and_nothing_is_changed(wreck: Path):
    before = files(wreck)
    assert found(wreck) == [
        ("S2.zarr", "unfinished"),
        ("S4.zarr", "no master file"),
        ("S5.zarr", "not cleaned up"),
        ("S5_master.h5.0123abcd.part", "stray file"),
        ("S3.zarr", "unfinished"),
    ]
    assert files(wreck) == before


def test_of_a_scan_that_a_service_wrote_it_says_how_to_go_on_with_it(wreck: Path):
    problems = {item.path.name: item.problem for item in leftovers(wreck, SETTINGS)}
    assert "`zwriter run` goes on with it if redis://beamline:6379/0" in problems["S3.zarr"]
    assert "zwriter run" not in problems["S2.zarr"]


def test_all_of_it_is_repaired(wreck: Path):
    assert {outcome.error for outcome in repair(leftovers(wreck, SETTINGS), SETTINGS)} == {""}
    assert found(wreck) == []
    assert verify(wreck).problems == []
    names = {path.name for path in wreck.iterdir()}
    stems = ("S1", "S2", "S4", "S5")
    assert names == {f"{s}.zarr" for s in stems} | {f"{s}_master.h5" for s in stems} | {"deeper"}
    assert open_scan(wreck / "S2.zarr").verdict == "ABORTED"
    assert open_scan(wreck / "S5.zarr").verdict == "COMPLETE"


def test_one_that_cannot_be_repaired_stops_no_other(wreck: Path):
    (wreck / "S2_master.h5").mkdir()  # in the way
    errors = {o.leftover.path.name: o.error for o in repair(leftovers(wreck, SETTINGS), SETTINGS)}
    assert "S2_master.h5 is a folder" in errors.pop("S2.zarr")
    assert set(errors.values()) == {""}


def test_commits_that_are_older_than_a_finished_store_do_not_change_it(tmp_path: Path):
    """A writer may be killed while it removes them, in any order."""
    store, beside, kept = (tmp_path / f"S1.{end}" for end in ("zarr", "zwriter", "kept"))
    begun(store).close()
    shutil.copytree(beside, kept)
    finished(store)
    before = files(store)
    kept.rename(beside)
    assert verify(tmp_path).problems == []
    assert [outcome.error for outcome in repair(leftovers(tmp_path, SETTINGS), SETTINGS)] == [""]
    assert files(store) == before
    assert not beside.exists()


def test_what_a_living_writer_has_is_left_alone(tmp_path: Path):
    with begun(tmp_path / "S1.zarr") as writer:
        (tmp_path / "S1_master.h5.0123abcd.part").write_bytes(b"it writes")
        before = files(tmp_path)
        (item,) = leftovers(tmp_path, SETTINGS)
        assert (item.state, item.harmless) == ("being written", True)
        (outcome,) = repair([item], SETTINGS)
        assert outcome.done
        assert files(tmp_path) == before
        writer.status("closed")


def test_a_master_file_that_is_being_exported_is_left_alone(tmp_path: Path):
    with h5py.File(tmp_path / "S1_master.h5.0123abcd.part", "w"):
        assert found(tmp_path) == []
    assert found(tmp_path) == [("S1_master.h5.0123abcd.part", "stray file")]


def test_a_store_that_has_lost_its_commits_or_its_root_is_damaged_and_stays_as_it_is(
    tmp_path: Path,
):
    begun(tmp_path / "S1.zarr").close()
    shutil.rmtree(tmp_path / "S1.zwriter")
    finished(tmp_path / "S2.zarr")
    (tmp_path / "S2.zarr" / "zarr.json").write_text("{")
    before = files(tmp_path)
    assert found(tmp_path) == [("S1.zarr", "damaged"), ("S2.zarr", "damaged")]
    assert all(outcome.error for outcome in repair(leftovers(tmp_path, SETTINGS), SETTINGS))
    assert files(tmp_path) == before


def test_what_somebody_else_put_there_is_not_ours(tmp_path: Path):
    (tmp_path / "theirs.zarr").mkdir()
    (tmp_path / "theirs.zarr" / "zarr.json").write_text('{"node_type": "group"}')
    (tmp_path / "download.part").touch()
    assert found(tmp_path) == []


def test_a_folder_is_needed(tmp_path: Path):
    finished(tmp_path / "S1.zarr")
    for path in (tmp_path / "absent", tmp_path / "S1.zarr"):
        with pytest.raises(UsageError, match="give a folder"):
            list(leftovers(path, SETTINGS))
