"""verify finds what is planted, and nothing in what is whole."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import google_crc32c
import h5py
import numpy as np
import pytest

from zwriter.errors import StoreError, UsageError
from zwriter.model import Add, Position, Source, Update, Verdict
from zwriter.protocol import Message, encode
from zwriter.reader import Report, listing, open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.store.shard_index import MAX_CHUNKS, MISSING, index_bytes, parse_index
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.scans import ScanFolder

ROWS = 600  # chunks of 2 rows, 255 of them in a shard: two shards
SMALL = StoreSettings(flush_interval=60, default=SignalSettings(chunk_bytes=64), durability="none")
DEVICES = "entry/collection/devices"
IMAGE = f"{DEVICES}/eiger/image/value"
SHARD = f"{IMAGE}/c/0/0/0"
LAST_SHARD = f"{IMAGE}/c/1/0/0"


def write(writer: ScanWriter, rows: int = ROWS) -> None:
    frames = np.random.default_rng(1).integers(0, 1000, (rows, 4, 4)).astype(np.uint16)
    for i in range(rows):
        writer.add("eiger", "image", frames[i], float(i))
        writer.add("mcs", "ragged", np.arange(i % 5), max_shape=(None, None))
        writer.add_slice("mcs", "slices", i % 10, [i], max_shape=(None, 100))
        writer.add_slice("mcs", "pieces", i % 10, [i])
        writer.add("mcs", "text", f"number {i}")
        writer.replace("cam", "roi", [i, i], float(i))
        if i % 100 == 50:
            writer.commit()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    with ScanWriter(folder / "S1.zarr", settings=SMALL, master="reference") as writer:
        write(writer)
        writer.point(0, {"samx": {"samx": {"value": 1.5, "timestamp": 1.0}}})
    return folder


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the finished scan that can be damaged."""
    copy = tmp_path / "copy"
    _copy(pristine, copy)
    return copy


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        there = target / path.relative_to(source)
        if path.is_file():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.write_bytes(path.read_bytes())


def index_of(shard: Path) -> np.ndarray:
    return np.frombuffer(shard.read_bytes()[: 255 * 16], "<u8").reshape(255, 2).copy()


def write_index(shard: Path, index: np.ndarray) -> None:
    raw = index.tobytes()
    with shard.open("r+b") as file:
        file.write(raw + google_crc32c.value(raw).to_bytes(4, "little"))


def test_a_whole_scan_has_no_problems(folder, where):
    for path in (where(folder), where(folder / "S1.zarr"), folder / "S1_master.h5"):
        report = verify(path)
        assert report.problems == []
        assert report.exit_code == 0
        assert report.verdict is Verdict.COMPLETE
        assert report.chunks > 0


def test_a_live_scan_is_whole_and_not_complete(tmp_path, where):
    with ScanWriter(tmp_path / "S1.zarr", settings=SMALL, master=None) as writer:
        write(writer)
        report = verify(where(tmp_path / "S1.zarr"))
        assert report.problems == []
        assert report.exit_code == 3
        assert "not finished" in report.gaps[0]


def test_gaps_are_told_and_are_not_damage(scans: ScanFolder):
    with scans.writer(master=None) as writer:
        numbers = (0, 1, 5)
        source = Source(b"", Position("stream", "1-0"))
        writer.apply(
            [Update("mcs", "count", Add((None,)), i, number=i, source=source) for i in numbers]
        )
    report = verify(writer.path)
    assert (report.exit_code, report.verdict) == (3, Verdict.COMPLETE_WITH_GAPS)
    assert any("mcs/count: 3 missing (numbers [[2, 4]])" in gap for gap in report.gaps)


def test_an_aborted_scan_is_not_complete(scans: ScanFolder):
    writer = scans.writer()
    writer.add("mcs", "count", 1)
    writer.finish("aborted")
    writer.close()
    report = verify(scans.path)
    assert (report.exit_code, report.verdict) == (3, Verdict.ABORTED)


def test_records_at_scan_points_are_no_damage(scans: ScanFolder):
    with scans.writer(master=None) as writer:
        for point in range(3):
            value = np.array((np.nan, point), [("x", "<f4"), ("n", "<i2")])
            writer.point(point, {"det": {"hit": {"value": value, "timestamp": 1.0}}})
    assert verify(writer.path).problems == []


def test_a_promotion_that_was_not_committed_is_no_damage(tmp_path: Path):
    """As of a writer that died in between, or has not come further."""
    writer = ScanWriter(tmp_path / "S1.zarr", settings=SMALL)

    def write_all(value: float) -> None:
        writer.add("mcs", "count", value)
        writer.add("mcs", "ragged", [value] * 3, max_shape=(None, None))
        writer.add_slice("mcs", "slices", int(value), [value] * 3, max_shape=(None, 100))

    for value in range(40):
        write_all(value)
        writer.flush()
    write_all(40.5)
    with failing("commit.linking", fault), pytest.raises(RuntimeError):
        writer.flush()
    assert verify(tmp_path / "S1.zarr").problems == []
    (tmp_path / "S1.zarr" / DEVICES / "mcs/count/value/c/0").unlink()
    assert any("shard is missing" in problem for problem in verify(tmp_path / "S1.zarr").problems)


def test_rows_that_never_came_need_no_chunk(scans: ScanFolder):
    with scans.writer(settings=SMALL, master=None) as writer:
        for row in (300, 600, 5, 255):
            writer.add_slice("mcs", "slices", row, [1.0] * 4, max_shape=(None, 8))
            writer.flush()
            writer.add_slice("mcs", "slices", row, [2.0] * 4, max_shape=(None, 8))
            writer.flush()
        assert verify(writer.path).problems == []
    assert verify(writer.path).problems == []


def flip_a_bit(store: Path) -> None:
    offset, nbytes = (int(value) for value in index_of(store / SHARD)[100])
    data = bytearray((store / SHARD).read_bytes())
    data[offset + nbytes // 2] ^= 1
    (store / SHARD).write_bytes(data)


def cut_the_file(store: Path) -> None:
    os.truncate(store / SHARD, (store / SHARD).stat().st_size - 100)


def remove_a_shard(store: Path) -> None:
    (store / LAST_SHARD).unlink()


def swap_shards(store: Path) -> None:
    first, last = (store / SHARD).read_bytes(), (store / LAST_SHARD).read_bytes()
    (store / SHARD).write_bytes(last)
    (store / LAST_SHARD).write_bytes(first)


def damage_the_index(store: Path) -> None:
    with (store / SHARD).open("r+b") as file:
        file.seek(33)
        file.write(b"\x55")


def lose_a_chunk(store: Path) -> None:
    index = index_of(store / SHARD)
    index[7] = 2**64 - 1
    write_index(store / SHARD, index)


def overlap_chunks(store: Path) -> None:
    index = index_of(store / SHARD)
    index[7] = index[8]
    write_index(store / SHARD, index)


def point_hdf5_elsewhere(store: Path) -> None:
    """HDF5's own table of chunks, and its checksum, damaged."""
    data = bytearray((store / SHARD).read_bytes())
    table = data.index(b"FADB")
    data[table + 20] ^= 1
    (store / SHARD).write_bytes(data)


def lose_the_hdf5_side(store: Path) -> None:
    with (store / SHARD).open("r+b") as file:
        file.seek(4096)
        file.write(bytes(8))


def shrink_the_array(store: Path) -> None:
    path = store / IMAGE / "zarr.json"
    document = json.loads(path.read_text())
    document["shape"][0] -= 1
    path.write_text(json.dumps(document))


def lose_the_array(store: Path) -> None:
    (store / IMAGE / "zarr.json").unlink()


def send_offsets_back(store: Path) -> None:
    """A shard of offsets that is whole in itself, with other numbers than the values'."""
    offsets = store / f"{DEVICES}/mcs/ragged/offsets"
    row = store / f"{DEVICES}/mcs/pieces/row"
    for path in sorted(offsets.glob("c/*")):
        path.write_bytes((row / path.relative_to(offsets)).read_bytes())


def damage_a_commit(store: Path) -> None:
    path = store / DEVICES / "mcs" / "zarr.json"
    document = json.loads(path.read_text())
    del document["attributes"]["zwriter"]["signals"]["ragged"]["arrays"]
    path.write_text(json.dumps(document))


def damage_a_replaced_value(store: Path) -> None:
    folder = store / f"{DEVICES}/cam/roi/value"
    path = next(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)


def empty_a_shard(store: Path) -> None:
    (store / SHARD).write_bytes(b"")


def damage_the_journal(store: Path) -> None:
    path = next((store / "entry/zwriter/journal/value").rglob("c/0"))
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


def damage_a_scan_point(store: Path) -> None:
    path = next((store / f"{DEVICES}/samx/samx/point_id").rglob("c/0"))
    path.write_bytes((1).to_bytes(8, "little") + b"1234")


def damage_the_root(store: Path) -> None:
    (store / "zarr.json").write_text("{")


def age_consolidated_metadata(store: Path) -> None:
    document = json.loads((store / "zarr.json").read_text())
    document["consolidated_metadata"]["metadata"][IMAGE]["shape"][0] += 5
    (store / "zarr.json").write_text(json.dumps(document))


def change_a_dtype(store: Path) -> None:
    """In the array's document and in the consolidated one."""
    for path in (store / "zarr.json", store / IMAGE / "zarr.json"):
        path.write_text(path.read_text().replace("uint16", "int16"))


def rename_a_dimension(store: Path) -> None:
    path = store / IMAGE / "zarr.json"
    path.write_text(path.read_text().replace("image_row", "image_line"))


def damage_the_empty_quarantine(store: Path) -> None:
    path = next((store / "entry/zwriter/quarantine/offsets").rglob("c/0"))
    path.write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (flip_a_bit, "chunk 100 is damaged: wrong checksum"),
        (cut_the_file, "is cut off"),
        (remove_a_shard, "the shard is missing"),
        (empty_a_shard, "value/c/0/0/0: "),
        (swap_shards, "not the shard that was sealed here"),
        (damage_the_index, "damaged shard index"),
        (lose_a_chunk, "the index lacks chunks 7"),
        (overlap_chunks, "chunk 8 lies over chunk 7"),
        (point_hdf5_elsewhere, "HDF5"),
        (lose_the_hdf5_side, "no HDF5 side"),
        (shrink_the_array, "the commit has"),
        (lose_the_array, "the array is missing"),
        (send_offsets_back, "offsets"),
        (damage_a_commit, "the commit is damaged"),
        (damage_a_replaced_value, "cam/roi/value cannot be read"),
        (damage_the_journal, "journal"),
        (damage_the_empty_quarantine, "quarantine"),
        (change_a_dtype, "dtype int16, the commit has uint16"),
        (rename_a_dimension, "not what the consolidated metadata says"),
        (damage_a_scan_point, "samx/samx/point_id cannot be read"),
        (damage_the_root, "damaged"),
        (age_consolidated_metadata, "consolidated metadata"),
    ],
)
def test_damage_is_found(folder: Path, where, damage: Callable[[Path], None], problem: str):
    damage(folder / "S1.zarr")
    at = where(folder)
    report = verify(f"{at}/S1.zarr")
    assert any(problem in found for found in report.problems), report.problems
    assert report.exit_code == verify(at).exit_code == 4


def test_damaged_chunks_are_found_wherever_they_are_in_large_shards(tmp_path, where):
    """In a bucket a shard comes in several pieces, and shards come side by side."""
    shard_bytes = 12 * 1024 * 1024
    settings = StoreSettings(
        durability="none", default=SignalSettings(codec="none", shard_bytes=shard_bytes)
    )
    frames = np.random.default_rng(1).integers(0, 1000, (20, 1024, 1024)).astype(np.uint16)
    with ScanWriter(tmp_path / "S1.zarr", settings=settings, master=None) as writer:
        for frame in frames:
            writer.add("eiger", "image", frame)
    whole = verify(where(tmp_path)).chunks
    for shard, at in ((0, 20_000), (1, 5_000_000), (2, shard_bytes - 100_000)):
        with (tmp_path / "S1.zarr" / IMAGE / f"c/{shard}/0/0").open("r+b") as file:
            file.seek(at)
            file.write(b"damaged")
    report = verify(where(tmp_path))
    assert [problem.partition("/value/")[2] for problem in report.problems] == [
        f"c/{shard}/0/0: chunk {chunk} is damaged: wrong checksum"
        for shard, chunk in ((0, 0), (1, 2), (2, 5))
    ]
    assert report.chunks == whole - 3


def test_a_stale_index_of_a_live_scan_is_found(tmp_path):
    """The chunk it points to is whole in itself, and older than what was committed."""
    store = tmp_path / "S1.zarr"
    writer = ScanWriter(store, settings=SMALL)
    for i in range(3):
        writer.add("mcs", "count", i)
        writer.commit()
        if i == 1:
            old = index_of(store / DEVICES / "mcs/count/value/c/0")
    assert verify(store).problems == []
    write_index(store / DEVICES / "mcs/count/value/c/0", old)
    assert any("stale" in problem for problem in verify(store).problems)
    writer.close()


def test_commits_that_differ_are_found(tmp_path, where):
    store = tmp_path / "S1.zarr"
    writer = ScanWriter(store, settings=SMALL)
    writer.add("mcs", "count", 1)
    writer.commit()
    latest = max((tmp_path / "S1.zwriter/commits/mcs").iterdir())
    document = json.loads(latest.read_text())
    document["attributes"]["zwriter"]["signals"]["count"]["rows"] = 2
    latest.unlink()  # it is the device's document, too
    latest.write_text(json.dumps(document))
    assert any("is not that of" in problem for problem in verify(where(store)).problems)
    writer.close()


def test_a_lost_source_of_a_master_file_is_found(folder: Path):
    """HDF5 itself would read fill values, and say nothing."""
    (folder / "S1.zarr" / LAST_SHARD).unlink()
    report = verify(folder / "S1_master.h5")
    assert any("its source" in problem for problem in report.problems)
    assert report.exit_code == 4


def test_a_device_that_was_never_read_is_no_damage(scans: ScanFolder):
    with scans.writer() as writer:
        fields = {"scan_id": writer.record.scan_id, "status": "open", "info": {}}
        fields["readout_priority"] = {"monitored": ["samx"]}
        writer.journal("status", "", encode(Message("ScanStatusMessage", fields)))
        writer.add("mcs", "count", 1)
    assert verify(scans.path).problems == []


def test_a_lost_link_of_a_master_file_is_found(folder: Path):
    with h5py.File(folder / "S1_master.h5", "r+") as file:
        file["lost"] = h5py.ExternalLink("nowhere.h5", "/data")
        file["dangling"] = h5py.SoftLink("/nowhere")
    problems = verify(folder / "S1_master.h5").problems
    assert any("/lost: nowhere.h5 cannot be opened" in problem for problem in problems)
    assert any("/dangling" in problem for problem in problems)


def test_a_damaged_chunk_of_a_master_file_is_found(scans: ScanFolder):
    with scans.writer(settings=SMALL, master="copy") as writer:
        write(writer, 20)
    master = scans / "S1_master.h5"
    data = bytearray(master.read_bytes())
    with h5py.File(io.BytesIO(data), "r") as file:
        offset = file[IMAGE].id.get_chunk_info(3).byte_offset
    assert verify(master).problems == []
    data[offset : offset + 32] = b"\xff" * 32
    master.write_bytes(data)
    assert any("cannot be read" in problem for problem in verify(master).problems)


def test_a_file_that_is_no_hdf5_file_is_damaged(scans: ScanFolder):
    (scans / "S1_master.h5").write_bytes(b"nothing")
    assert verify(scans / "S1_master.h5").exit_code == 4


def test_an_hdf5_file_that_is_no_master_file_is_none(folder: Path):
    with h5py.File(folder / "notes.h5", "w") as file:
        file["entry/data"] = [1, 2, 3]
    for path in (folder / "notes.h5", folder / "S1.zarr" / SHARD):
        report = verify(path)
        assert report.exit_code == 4
        assert report.problems == [f"{path} is no master file of zwriter: no /entry/zwriter in it"]


def test_master_files_of_others_in_a_folder_are_passed_by(folder: Path):
    with h5py.File(folder / "S2_master.h5", "w") as file:
        file["entry/data"] = [1, 2, 3]
    assert verify(folder).problems == []
    (folder / "S3_master.h5").write_bytes(b"nothing")
    (problem,) = verify(folder).problems
    assert "S3_master.h5" in problem


def test_a_folder_with_nothing_to_verify_is_an_error(tmp_path: Path, where):
    with pytest.raises(UsageError, match="no scan store"):
        verify(where(tmp_path))


def test_a_report_is_json(pristine):
    report = verify(pristine)
    assert json.loads(json.dumps(report.to_json()))["exit_code"] == 0
    assert isinstance(report, Report)


def test_verify_changes_nothing(folder: Path):
    def state() -> dict[Path, tuple[int, bytes]]:
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}

    before = state()
    verify(folder)
    assert state() == before


def noise(path: Path, seed: int) -> Path:
    """Frames that do not get smaller by compression: all such scans have the same indices."""
    frames = np.random.default_rng(seed).integers(0, 2**16, (8, 4, 4)).astype("<u2")
    with ScanWriter(path, settings=SMALL, master="reference") as writer:
        for i in range(8):
            writer.add("eiger", "image", frames[i], 1.0)
            writer.add("eiger", "second", frames[7 - i], 1.0)
        writer.replace("cam", "roi", [seed, seed], 1.0)
        writer.replace("cam", "other", [seed + 1, seed], 1.0)
    return path


def swap(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    for path, content in ((one, second), (other, first)):
        path.chmod(0o644)
        path.write_bytes(content)


def chunk_of(store: Path, signal: str) -> Path:
    folder = store / DEVICES / signal / "value"
    return next(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")


def test_shards_that_were_swapped_between_two_scans_or_two_signals_are_found(tmp_path: Path):
    one, two = noise(tmp_path / "S1.zarr", 1), noise(tmp_path / "S2.zarr", 2)
    image, second = chunk_of(one, "eiger/image"), chunk_of(one, "eiger/second")
    assert index_of(image).tolist() == index_of(second).tolist()
    swap(image, second)
    assert any("not the shard that was sealed here" in p for p in verify(one).problems)
    swap(image, second)
    assert verify(tmp_path).problems == []
    swap(image, chunk_of(two, "eiger/image"))
    for store in (one, two):
        assert any("not the shard that was sealed here" in p for p in verify(store).problems)


def test_replaced_values_that_were_swapped_are_found(tmp_path: Path, where):
    store = noise(tmp_path / "S1.zarr", 1)
    swap(chunk_of(store, "cam/roi"), chunk_of(store, "cam/other"))
    assert any("not the value that was committed" in p for p in verify(where(store)).problems)


def test_the_journal_of_another_scan_is_found(tmp_path: Path):
    one, two = noise(tmp_path / "S1.zarr", 1), noise(tmp_path / "S2.zarr", 2)
    for path in sorted((two / "entry/zwriter/journal").rglob("*")):
        if path.is_file():
            there = one / path.relative_to(two)
            there.parent.mkdir(parents=True, exist_ok=True)
            there.unlink(missing_ok=True)
            there.write_bytes(path.read_bytes())
    assert any("of another scan" in problem for problem in verify(one).problems)


def test_an_older_commit_in_a_finished_store_is_found(folder: Path):
    path = folder / "S1.zarr" / DEVICES / "mcs" / "zarr.json"
    document = json.loads(path.read_text())
    document["attributes"]["zwriter"]["seq"] -= 1
    path.write_text(json.dumps(document))
    assert any("consolidated metadata" in p for p in verify(folder / "S1.zarr").problems)


def test_a_commit_that_was_lost_in_a_live_store_is_found(tmp_path: Path, where):
    writer = ScanWriter(tmp_path / "S1.zarr", settings=SMALL)
    writer.add("mcs", "count", 1)
    writer.commit()
    max((tmp_path / "S1.zwriter/commits/mcs").iterdir()).unlink()
    assert any("is not that of" in problem for problem in verify(where(tmp_path)).problems)
    writer.close()


def test_a_master_file_that_links_to_another_array_is_found(tmp_path: Path):
    noise(tmp_path / "S1.zarr", 1)
    with h5py.File(tmp_path / "S1_master.h5", "r+") as file:
        signals = file[f"{DEVICES}/eiger"]
        target = signals["second"].get("value", getlink=True)
        del signals["image/value"]
        signals["image/value"] = h5py.ExternalLink(target.filename, target.path)
    problems = verify(tmp_path / "S1_master.h5").problems
    assert any("which is another array's" in problem for problem in problems)


def test_a_master_file_of_another_scan_or_another_ending_is_found(tmp_path: Path):
    noise(tmp_path / "S1.zarr", 1)
    noise(tmp_path / "S2.zarr", 2)
    master = tmp_path / "S1_master.h5"
    with h5py.File(master, "r+") as file:
        file["entry/zwriter/verdict"][()] = "ABORTED"
    assert any("write it again" in problem for problem in verify(master).problems)
    with h5py.File(master, "r+") as file:
        file["entry/zwriter/store"][()] = "S2.zarr"
    assert any("is of another scan" in problem for problem in verify(master).problems)


def test_a_master_file_in_the_place_of_another_scans_is_found(tmp_path: Path):
    for number in (1, 2):
        noise(tmp_path / f"S{number}.zarr", number)
    swap(tmp_path / "S1_master.h5", tmp_path / "S2_master.h5")
    for path in (tmp_path / "S1.zarr", tmp_path / "S2_master.h5", tmp_path):
        assert any("is of another scan" in problem for problem in verify(path).problems)


@pytest.mark.parametrize("node", ["entry", "entry/collection/devices/samx"])
def test_a_damaged_group_of_a_master_file_is_told_in_a_line(tmp_path: Path, node: str):
    with ScanWriter(tmp_path / "S1.zarr", master="reference") as writer:
        writer.status("open", scan_report_devices=["samx"])
        for point in range(3):
            writer.point(point, {"samx": {"samx": {"value": point, "timestamp": 1.0}}})
    master = tmp_path / "S1_master.h5"
    with h5py.File(master) as file:
        header = h5py.h5o.get_info(file[node].id).addr
    data = bytearray(master.read_bytes())
    data[header + 6] ^= 1
    master.write_bytes(data)
    for path in (tmp_path, tmp_path / "S1.zarr", master):
        assert any(str(master) in problem for problem in verify(path).problems)


def test_a_file_that_is_none_of_the_scans_is_no_damage(folder: Path):
    (folder / "S1.zarr" / IMAGE / "c" / "notes.txt").write_text("hello")
    assert verify(folder).problems == []


def test_rows_whose_chunk_is_not_in_its_shard_are_never_read_as_fill_values(tmp_path: Path):
    """As after a request that was done long after a newer one."""
    settings = StoreSettings(default=SignalSettings(chunk_bytes=800, codec="none"))
    with ScanWriter(tmp_path / "S1.zarr", settings=settings, master=None) as scan:
        for number in range(250):
            scan.add("adc", "value", float(number))
        scan.commit()
    array = tmp_path / "S1.zarr/entry/collection/devices/adc/value/value"
    shard = array / "c" / "0"
    shard.chmod(0o644)
    with shard.open("r+b") as file:
        index = parse_index(file.read(16 * MAX_CHUNKS + 4), MAX_CHUNKS)
        index[1] = MISSING
        file.seek(0)
        file.write(index_bytes(index))
    value = open_scan(tmp_path / "S1.zarr").devices["adc"]["value"].value
    assert value[:100].tolist() == list(range(100))
    for rows in (slice(None), slice(90, 210)):
        with pytest.raises(StoreError, match="cannot be read"):
            value[rows]
    with pytest.raises(StoreError, match="lacks a chunk"):
        value[150]


@pytest.mark.parametrize("attributes", [None, [], 5])
def test_a_root_document_that_says_nonsense_is_told_in_a_line(tmp_path: Path, attributes: object):
    with ScanWriter(tmp_path / "S1.zarr", master=None) as scan:
        scan.add("adc", "value", 1.0)
    root = tmp_path / "S1.zarr/zarr.json"
    root.write_text(json.dumps(json.loads(root.read_text()) | {"attributes": attributes}))
    (problem,) = verify(tmp_path / "S1.zarr").problems
    assert "not a scan store of zwriter" in problem
    (line,) = listing(tmp_path)
    assert "not a scan store of zwriter" in line["error"]


def test_a_scan_that_is_written_can_be_read_by_a_link_to_its_store(tmp_path: Path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.zarr"
    with ScanWriter(tmp_path / "there" / "S1.zarr", master=None) as scan:
        scan.point(0, {"samx": {"samx": {"value": 1.0, "timestamp": 1.0}}})
        scan.add("adc", "value", 1.0)
        scan.flush()
        link.symlink_to(scan.path)
        assert open_scan(link).devices["samx"]["samx"].value[:].tolist() == [1.0]
        assert verify(link).problems == []
