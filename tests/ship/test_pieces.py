"""Rows that are in a bucket before their shards: when, for whom, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.service.disturbed import arrays, push
from tests.ship.lake import SETTINGS, Lake
from zwriter.errors import StoreError
from zwriter.objects import place
from zwriter.reader import Scan, open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings
from zwriter.ship.bucket import Bucket
from zwriter.ship.claim import Claim
from zwriter.testing.failpoints import failing
from zwriter.testing.waiting import until

pytestmark = pytest.mark.s3

Push = Callable[[ScanWriter, range], None]
RECORD = np.dtype([("x", "<i4"), ("y", "<f8")])
PART = 512  # a row of four is a chunk, four rows are a shard
# what comes between two looks: row and how many values; whether it is sent in shards
LOOK = st.tuples(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 25)), min_size=1, max_size=8),
)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who pauses gets shards; a test may be slow."""
    monkeypatch.setattr("zwriter.ship.pace._LONG", 1_000_000)


def push_all_kinds(scan: ScanWriter, numbers: range) -> None:
    """Whatever grows, in one device."""
    for n in numbers:
        at = float(n)
        scan.add("cam", "scalar", n, at)
        scan.add("cam", "line", np.arange(5) + n, at)
        scan.add("cam", "name", f"frame {n} µ", at)
        scan.add("cam", "pair", np.array([(n, n / 2)], RECORD)[0], at)
        scan.add("cam", "ragged", np.arange(n % 4) + n, at, max_shape=(None, None))
        scan.add("cam", "short", np.arange(n % 3 + 1), at, max_shape=(None, 3))
        scan.add_slice("cam", "pieces", n % 5, np.arange(3) + n, at, max_shape=(None, None))
        scan.add_slice("cam", "map", n // 8 * 2 + n % 2, part(n), at, max_shape=(None, 4 * PART))
        scan.replace("cam", "last", n, at)


def part(n: int) -> np.ndarray:
    """A fourth of a row that is filled in place."""
    return np.arange(PART) + n


def writer(lake: Lake, spool: str = "spool", **options: Any) -> ScanWriter:
    """It commits when it is told, and what it commits is sent soon."""
    shipment = lake.shipment(spool)
    shipment.interval = 0.05
    return lake.writer(shipment, flush_interval=60.0, **options)


def push_in_pieces(lake: Lake, scan: ScanWriter, pushed: Push = push_all_kinds) -> Scan:
    """The bucket has shards of 20 rows, and 10 more in three pieces."""
    pushed(scan, range(20))
    scan.flush()
    for begin, end in pairwise((20, 21, 27, 30)):
        pushed(scan, range(begin, end))
        scan.commit()
        until_there(lake, end)
    found = open_scan(lake.url)
    assert len(found.commits["cam"].pieces) == 3
    return found


def begin_and_die(lake: Lake) -> None:
    """A writer that has sent pieces is gone."""
    scan = writer(lake)
    push_in_pieces(lake, scan)
    lake.network.open = False
    scan.close()
    lake.network.open = True


def until_there(lake: Lake, rows: int) -> None:
    def there() -> bool:
        commits = open_scan(lake.url).commits.values()
        written = (s.ledger.written for c in commits for s in c.signals.values() if s.layout)
        return all(updates == rows for updates in written)

    until(there, f"{rows} rows in the bucket")


def undisturbed(lake: Lake, rows: int) -> Scan:
    """What is to be read of so many rows."""
    here = lake.folder / f"undisturbed-{rows}" / "S1.zarr"
    with ScanWriter(here, scan_id="one", settings=SETTINGS, master=None) as scan:
        push_all_kinds(scan, range(rows))
    return open_scan(here)


def pieces(lake: Lake) -> list[str]:
    """Their URLs."""
    return [url for url in lake.objects() if ".zwriter/pieces/" in url]


def test_rows_are_there_while_their_shards_are_not(lake: Lake) -> None:
    with writer(lake) as scan:
        found = push_in_pieces(lake, scan)
        assert arrays(found) == arrays(undisturbed(lake, 30))
        value = found.devices["cam"]["line"].value
        assert np.array_equal(value[::7, 1:3], (np.arange(30)[:, None] + np.arange(5))[::7, 1:3])
        assert np.array_equal(value[[29, 3, 20]][:, 0], [29, 3, 20])
        assert np.array_equal(value[-1], np.arange(5) + 29)
        assert value[25:25].shape == (0, 5)
        assert found.devices["cam"]["name"].value[-1] == "frame 29 µ"
        assert found.devices["cam"]["pair"].value[-1]["y"] == 14.5
        with pytest.raises(IndexError):
            value[30]
        rows = found.devices["cam"]["map"].rows
        assert [len(row) // PART for row in rows] == [4, 4, 4, 4, 4, 4, 3, 3]
        in_place = found.devices["cam"]["map"].value
        assert in_place[::3, PART - 1 :: PART].tolist() == [
            [PART - 1 + n for n in turns] for turns in ([0, 2, 4, 6], [9, 11, 13, 15])
        ] + [[PART - 1 + 24, PART - 1 + 26, PART - 1 + 28, 0]]
        assert in_place[[7, 0, 7], 0].tolist() == [25, 0, 25]
        assert in_place[-1, -1] == 0
        assert in_place[5:5].shape == (0, 4 * PART)
        assert len(found.devices["cam"].to_xarray()["line"]) == 30
        assert verify(lake.url).problems == []
    assert pieces(lake) == []


def test_who_has_opened_them_finds_them_in_shards_later(lake: Lake) -> None:
    with writer(lake) as scan:
        found = push_in_pieces(lake, scan)
        devices = found.devices["cam"]
        opened = {name: signal.value for name, signal in devices.items() if name != "last"}
        scan.flush()
        assert pieces(lake) == []
        expected = undisturbed(lake, 30).devices["cam"]
        for name, value in opened.items():
            assert np.asarray(value).tolist() == np.asarray(expected[name].value).tolist()


def push_one_row(scan: ScanWriter, numbers: range) -> None:
    """Nothing but a row that is filled in place."""
    for n in numbers:
        scan.add_slice("cam", "map", 0, part(n), float(n), max_shape=(None, 100 * PART))


def test_a_row_that_grows_is_read_as_it_was_or_further_whoever_has_opened_it(lake: Lake) -> None:
    expected = np.concatenate([part(n) for n in range(34)])
    with writer(lake) as scan:
        earlier = push_in_pieces(lake, scan, push_one_row).devices["cam"]["map"]
        length = earlier.length
        assert length is not None
        assert length[0] == 30 * PART
        push_one_row(scan, range(30, 34))
        scan.flush()
        assert pieces(lake) == []
        assert np.array_equal(earlier.value[0, : 30 * PART], expected[: 30 * PART])
        assert np.array_equal(open_scan(lake.url).devices["cam"]["map"].rows[0], expected)


def test_a_signal_of_which_nothing_can_be_written_keeps_no_other_from_its_pieces(
    lake: Lake,
) -> None:
    def refused(scan: ScanWriter) -> None:
        scan.add_slice("cam", "bad", 0, np.zeros((2, 2)), max_shape=(None, 8))

    first = writer(lake)
    refused(first)
    push_in_pieces(lake, first)
    lake.network.open = False
    first.close()
    lake.network.open = True
    with writer(lake, "second") as second:
        refused(second)
        push_all_kinds(second, range(30, 60))
    found = open_scan(lake.url)
    assert found.devices["cam"]["bad"].ledger.quarantined == 2
    assert verify(lake.url).problems == []
    lake.check_nothing_else("second")


def test_a_signal_that_gets_another_dtype_is_sent_in_shards(lake: Lake) -> None:
    def mixed(scan: ScanWriter, numbers: range) -> None:
        for n in numbers:
            scan.add("cam", "scalar", n if n < 40 else n + 0.5, float(n))

    with writer(lake) as scan:
        push_in_pieces(lake, scan, mixed)
        mixed(scan, range(30, 50))
        scan.commit()
        until_there(lake, 50)
        found = open_scan(lake.url)
        assert found.commits["cam"].pieces == ()
        assert found.devices["cam"]["scalar"].value[-1] == 49.5


def test_another_machine_goes_on_from_pieces(lake: Lake) -> None:
    begin_and_die(lake)
    with writer(lake, "second") as second:
        until(lambda: open_scan(lake.url).commits["cam"].epoch > 1, "a commit of the second")
        assert verify(lake.url).problems == []
        assert arrays(open_scan(lake.url)) == arrays(undisturbed(lake, 30))
        push_all_kinds(second, range(30, 60))
    assert verify(lake.url).problems == []
    assert arrays(open_scan(lake.url)) == arrays(undisturbed(lake, 60))
    lake.check_nothing_else("second")


def test_another_machine_finds_rows_in_shards_if_pieces_vanish_while_it_reads(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = writer(lake)
    push_in_pieces(lake, first)
    read = Bucket.read

    def read_late(bucket: Bucket, key: str, *args: Any, **options: Any) -> bytes | None:
        if "/pieces/" in key and pieces(lake):
            first.flush()
        return read(bucket, key, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Claim, "check", lambda claim: None)  # a second passes between two looks
        patch.setattr(Bucket, "read", read_late)
        second = writer(lake, "second")
    assert pieces(lake) == []
    with second:
        push_all_kinds(second, range(30, 60))
    first.close()
    assert arrays(open_scan(lake.url)) == arrays(undisturbed(lake, 60))


def test_verify_looks_at_shards_that_are_sealed_behind_others_that_grow(lake: Lake) -> None:
    def fill(rows: list[int], parts: int) -> None:
        for row in rows * parts:
            scan.add_slice("cam", "map", row, part(row), max_shape=(None, 4 * PART))
        scan.commit()

    def shard_url() -> str:
        return next(url for url in lake.objects() if "map/value/c/1/" in url)

    with writer(lake) as scan:
        fill([0, 4], 1)
        scan.flush()
        fill([5, 6, 7], 4)
        fill([4], 3)
        fill([8], 1)
        until_there(lake, 18)
        committed = open_scan(lake.url).commits["cam"].signals["map"].arrays["value"]
        assert committed.in_shards == 5
        assert set(committed.sealed) == {1}
        assert verify(lake.url).problems == []
        path: Any = place(shard_url())
        data = path.read_bytes()
        path.write_bytes(data[:-9] + b"\xff" * 9)
        assert any("map/value/c/1/0: chunk" in problem for problem in verify(lake.url).problems)
        path.write_bytes(data)


def test_a_few_values_of_many_large_rows_are_read_where_they_are(lake: Lake) -> None:
    width, rows = 2**16, 64  # float64: a row is 512 KiB
    large = SignalSettings(codec="none", chunk_bytes=2**20, shard_bytes=2**26)

    def fill(value: float) -> None:
        for row in range(rows):
            scan.add_slice("cam", "map", row, np.full(1024, value), max_shape=(None, width))

    with writer(lake, default=large) as scan:
        fill(0.5)
        scan.flush()
        fill(1.5)
        scan.commit()
        until_there(lake, 2 * rows)
        found = open_scan(lake.url)
        assert len(found.commits["cam"].pieces) == 1
        value = found.devices["cam"]["map"].value
        assert value.shape == (rows, width)
        assert value[np.arange(0, rows, 2), 1024].tolist() == [1.5] * (rows // 2)
        assert value[[5, 3, 5], 0].tolist() == [0.5] * 3
        assert value[np.arange(0)].shape == (0, width)


def test_another_machine_has_chunks_that_are_whole_as_such(lake: Lake) -> None:
    """Else shards that are full would grow until the scan ends."""

    def fill(scan: ScanWriter, rows: range) -> None:
        for row in rows:
            for _ in range(4):
                scan.add_slice("cam", "map", row, part(row), max_shape=(None, 4 * PART))
        scan.commit()

    scan = writer(lake)
    fill(scan, range(1))
    scan.flush()
    fill(scan, range(1, 3))
    until_there(lake, 12)
    lake.network.open = False
    scan.close()
    lake.network.open = True
    with writer(lake, "second") as second:
        fill(second, range(3, 4))
        until_there(lake, 16)
        committed = open_scan(lake.url).commits["cam"].signals["map"].arrays["value"]
        assert set(committed.sealed) == {0}


@pytest.mark.parametrize("machine", ["spool", "second"], ids=["the same", "another"])
def test_rows_that_are_filled_in_any_order_are_gone_on_with_by(lake: Lake, machine: str) -> None:
    """The second shard is full, and sealed, before the first; of the third nothing came."""
    steps = [(0, 1), *((row, 4) for row in (4, 5, 6, 7)), (0, 1), (1, 3), (12, 2), (0, 1), (1, 1)]
    rest = [(0, 1), (12, 2), (2, 4), (3, 4)]

    def fill(scan: ScanWriter, steps: list[tuple[int, int]]) -> None:
        for row, parts in steps:
            for _ in range(parts):
                values = np.full(PART, row + 0.5)
                scan.add_slice("cam", "map", row, values, max_shape=(None, 4 * PART))

    def filled() -> list[int]:
        signal = open_scan(lake.url).devices["cam"]["map"]
        for row, values in enumerate(signal.rows):
            assert np.all(values == row + 0.5)
        assert np.all(np.isnan(signal.value[8:12]))
        return [len(row) // PART for row in signal.rows]

    scan = writer(lake)
    fill(scan, steps[:1])
    scan.flush()
    lengths = []
    for begin, end in pairwise((1, 3, 5, 6, 8, len(steps))):
        fill(scan, steps[begin:end])
        scan.commit()
        until_there(lake, sum(parts for _, parts in steps[:end]))
        lengths.append(filled())
        assert verify(lake.url).problems == []
    found = open_scan(lake.url)
    assert len(found.commits["cam"].pieces) == 5
    assert lengths[0] == [1, 0, 0, 0, 4, 4]
    assert lengths[-1] == [3, 4, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 2]
    assert set(found.commits["cam"].signals["map"].arrays["value"].sealed) == {1}
    lake.network.open = False
    scan.close()
    lake.network.open = True
    with writer(lake, machine) as second:
        fill(second, rest)
    assert filled() == [4] * 8 + [0] * 4 + [4]
    assert verify(lake.url).problems == []
    lake.check_nothing_else(machine)


@pytest.mark.slow
def test_rows_filled_at_random_are_at_each_commit_as_they_were_pushed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zwriter.ship.tail._PART", 10**9)  # however little comes
    monkeypatch.setattr("zwriter.ship.tail.MOST", 3)
    tiny = SignalSettings(codec="none", chunk_bytes=2 * 40 * 8, shard_bytes=6 * 40 * 8)

    @settings(
        max_examples=8,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        looks=st.lists(LOOK, min_size=2, max_size=7), machine=st.sampled_from(["spool", "other"])
    )
    def fill_and_check(looks: list[tuple[bool, list[tuple[int, int]]]], machine: str) -> None:
        pushed: dict[int, list[float]] = {}
        updates = 0
        folder = lake.folder / uuid4().hex
        here = replace(lake, bucket=f"{lake.bucket}/{folder.name}", folder=folder)

        def fill(scan: ScanWriter, steps: list[tuple[int, int]]) -> None:
            for row, count in steps:
                values = pushed.setdefault(row, [])
                more = range(len(values), min(len(values) + count, 40))
                scan.add_slice(
                    "cam", "map", row, [row + n / 64 for n in more], max_shape=(None, 40)
                )
                values += [row + n / 64 for n in more]

        def check() -> None:
            rows = open_scan(here.url).devices["cam"]["map"].rows
            expected = [pushed.get(row, []) for row in range(max(pushed) + 1)]
            assert [row.tolist() for row in rows] == expected
            assert verify(here.url).problems == []

        scan = writer(here, default=tiny)
        try:
            for whole, steps in looks:
                fill(scan, steps)
                if whole or not updates:
                    scan.flush()
                else:
                    scan.commit()
                updates += len(steps)
                until_there(here, updates)
                check()
            here.network.open = False
        finally:
            scan.close()
            here.network.open = True
        with writer(here, machine, default=tiny) as scan:
            check()
            fill(scan, [(row, 40) for row in range(12)])
        check()

    fill_and_check()


def test_the_same_machine_goes_on_after_pieces(lake: Lake) -> None:
    begin_and_die(lake)
    again = writer(lake)
    push_all_kinds(again, range(30, 60))
    again.finish()
    again.close()
    assert verify(lake.url).problems == []
    assert arrays(open_scan(lake.url)) == arrays(undisturbed(lake, 60))
    lake.check_nothing_else()


def test_a_piece_that_no_commit_names_is_not_read_and_not_left_over(lake: Lake) -> None:
    with writer(lake) as scan:
        push_in_pieces(lake, scan)
        seq = open_scan(lake.url).commits["cam"].seq

        def fail() -> None:
            raise OSError("the writer is stopped here")

        with failing("ship.piece_sent", fail):
            before = len(pieces(lake))
            push_all_kinds(scan, range(30, 31))
            scan.commit()
            until(lambda: len(pieces(lake)) > before, "a piece")
            found = open_scan(lake.url)
            assert found.commits["cam"].seq == seq
            assert len(found.devices["cam"]["line"].rows) == 30
    assert arrays(open_scan(lake.url)) == arrays(undisturbed(lake, 31))
    assert pieces(lake) == []


def test_a_fault_behind_a_commit_that_needs_no_pieces_is_forgotten(lake: Lake) -> None:
    def fail() -> None:
        raise OSError("a fault")

    with writer(lake) as scan:
        push_in_pieces(lake, scan)
        with failing("ship.committed", fail):
            push_all_kinds(scan, range(30, 31))
            scan.commit()
            until(lambda: lake.told, "the fault")
        for n in range(31, 34):
            push_all_kinds(scan, range(n, n + 1))
            scan.commit()
            until_there(lake, n + 1)
        assert arrays(open_scan(lake.url)) == arrays(undisturbed(lake, 34))


def test_names_of_dimensions_are_right_when_timestamps_become_more(lake: Lake) -> None:
    def dims() -> list[tuple[str, ...]]:
        signal = open_scan(lake.url).devices["cam"]["line"]
        assert signal.timestamp is not None
        return [signal.value.dims, signal.timestamp.dims]

    with writer(lake) as scan:
        for n in range(20):
            scan.add("cam", "line", np.arange(3), timestamp=float(n), max_shape=(None,))
        scan.flush()
        for n in range(20, 24):
            scan.add("cam", "line", np.arange(3), timestamp=[float(n)] * 3, max_shape=(None,))
            scan.commit()
        until_there(lake, 24)
        value, timestamp = dims()
        assert value != timestamp


@pytest.mark.parametrize("damage", ["missing", "cut off", "another byte"])
@pytest.mark.parametrize("pushed", [push_all_kinds, push_one_row], ids=["all kinds", "one row"])
def test_a_damaged_piece_is_told_of_and_is_never_missing_rows(
    lake: Lake, damage: str, pushed: Push
) -> None:
    with writer(lake) as scan:
        push_in_pieces(lake, scan, pushed)
        url = pieces(lake)[-1]
        path: Any = place(url)
        data = path.read_bytes()
        if damage == "missing":
            path.delete()
        else:
            path.write_bytes(data[:-9] + (b"" if damage == "cut off" else b"\xff" * 9))
        problems = verify(lake.url).problems
        assert problems
        assert all("cam/" in problem for problem in problems)
        with pytest.raises(StoreError):
            arrays(open_scan(lake.url))
        path.write_bytes(data)
        assert verify(lake.url).problems == []


def test_pieces_and_shards_of_all_devices_are_one_scan(lake: Lake) -> None:
    with writer(lake) as scan:
        for n in range(60):
            push(scan, range(n, n + 1))
            scan.commit()
    lake.check(60)
