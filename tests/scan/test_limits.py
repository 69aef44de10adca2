"""What one scan may take: signals, quarantine, lines in the log."""

from __future__ import annotations

import logging
import tracemalloc
from typing import Any

import numpy as np
import pytest

from zwriter import verify
from zwriter.model import (
    Add,
    AddSlice,
    MaxShape,
    Position,
    Rejected,
    Source,
    Update,
    Verdict,
)
from zwriter.settings import StoreSettings
from zwriter.store import finishing
from zwriter.testing.scans import ScanFolder


def update(signal: str, number: int, raw: bytes = b"raw") -> Update:
    source = Source(raw, Position("stream", f"{number}-0"))
    return Update("dev", signal, Add((None,)), number, source=source)


def test_signals_beyond_the_limit_go_to_quarantine_and_harm_no_others(scans: ScanFolder, caplog):
    scan = scans.writer(settings=StoreSettings(max_signals=10), master=None)
    for number in range(3):
        scan.apply([update(f"s{n}", number, raw=b"many") for n in range(1000)])
        scan.apply([update("s3", 100 + number)])
    assert len(scan.ledgers["dev"]) == 10
    assert len([line for line in caplog.messages if "max_signals" in line]) == 5
    assert scan.finish() is Verdict.COMPLETE_WITH_GAPS
    scan.close()
    entries = list(scans.open().quarantine)
    assert len(entries) == 3 * 990
    assert [entry.raw for entry in entries].count(b"many") == 3  # each message once
    signals = scans.open().devices["dev"]
    assert len(signals) == 10
    assert signals["s3"].value[:].tolist() == [0, 100, 1, 101, 2, 102]


def numbered(number: int, value: Any = 1, shape: MaxShape = (None,), stamp: Any = 1.0) -> Update:
    return Update("dev", "sig", Add(shape), value, stamp, number, Source(b"%d" % number))


def test_a_counter_that_jumps_leaves_no_more_room_than_its_limit(scans: ScanFolder):
    scan = scans.writer(master=None)
    for n in range(100):
        scan.apply([numbered(100_000 * n)])
        scan.commit()
    assert scan.finish() is Verdict.COMPLETE_WITH_GAPS
    scan.close()
    signal = scans.open().devices["dev"]["sig"]
    assert signal.ledger.missing == 99 * 99_999  # all of them
    assert signal.value.shape == signal.timestamp.shape == (10 * 99_999 + 100,)
    assert np.flatnonzero(signal.value[:]).tolist()[:3] == [0, 100_000, 200_000]
    assert verify(scans / "S1.zarr").problems == []


@pytest.mark.parametrize(
    ("shape", "value", "stamps"),
    [((None, 1), np.ones((1000, 1), "u1"), None), ((None, None), [1], np.ones(3000))],
    ids=["rows", "timestamps"],
)
def test_room_for_many_rows_or_timestamps_takes_no_memory(
    scans: ScanFolder, shape: MaxShape, value: Any, stamps: Any
):
    scan = scans.writer(master=None)
    scan.apply([numbered(n, value, shape, stamps) for n in (0, 10_000)])
    tracemalloc.start()
    scan.apply([numbered(20_000, value, shape, stamps)])
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()
    scan.close()


def test_a_counter_that_always_jumps_is_counted_though_not_all_its_gaps_are_listed(
    scans: ScanFolder,
):
    scan = scans.writer(scan_id="one", master=None)
    scan.apply([numbered(2 * n) for n in range(30_000)])
    scan.apply([numbered(59_997)])  # late, in a gap that is not listed
    scan.commit()
    scan.close()
    scan = scans.writer(scan_id="one", master=None)
    scan.apply([numbered(60_000)])
    ledger = scan.ledgers["dev"]["sig"]
    assert (ledger.written, ledger.quarantined, ledger.restarts) == (30_001, 1, 0)
    assert ledger.missing == 30_000
    assert len(ledger.missing_ranges) == 10_000
    scan.close()


def test_indices_that_jump_make_no_more_rows_without_data_than_their_limit(scans: ScanFolder):
    scan = scans.writer(scan_id="one", master=None)
    pushed = 0
    for index in range(400_000, 8_000_000, 400_000):
        mode = AddSlice((None, 4), index)
        scan.apply([Update("dev", "sig", mode, [1.0], source=Source(b"raw"))])
        pushed += 1
        scan.commit()
        scan.close()  # what is known of the rows is known to the next writer
        scan = scans.writer(scan_id="one", master=None)
    scan.apply([Update("dev", "sig", AddSlice((None, 4), 800_001), [1.0])])  # as ever
    ledger = scan.ledgers["dev"]["sig"]
    assert (ledger.written, ledger.quarantined) == (3, pushed - 2)
    assert scan.finish() is Verdict.COMPLETE_WITH_GAPS
    scan.close()
    assert scans.open().devices["dev"]["sig"].value.shape == (800_002, 4)
    assert scans.nbytes < 20_000_000


def test_a_limit_of_signals_holds_for_what_cannot_be_read_too(scans: ScanFolder):
    scan = scans.writer(settings=StoreSettings(max_signals=10), master=None)
    scan.apply([Rejected("dev", f"s{n}", "bad", Source(b"raw")) for n in range(100)])
    assert len(scan.ledgers["dev"]) == 10
    scan.close()


def test_quarantine_ends_at_its_limit_and_the_scan_goes_on(scans: ScanFolder):
    settings = StoreSettings(quarantine_bytes=100_000)
    scan = scans.writer(settings=settings, master=None)
    bad = [
        Rejected("dev", "sig", "bad" * 1000, Source(bytes(10_000), Position("stream", f"{n}-0")))
        for n in range(30_000)
    ]
    scan.apply([*bad, update("good", 1)])
    assert scan.ledgers["dev"]["sig"].quarantined == 30_000
    assert scan.finish() is Verdict.COMPLETE_WITH_GAPS
    scan.close()
    assert sum(bool(entry.raw) for entry in scans.open().quarantine) == 9
    assert scans.nbytes < 20_000_000
    assert scans.open().devices["dev"]["good"].value[:].tolist() == [1]


def test_logs_of_many_chunks_are_in_the_finished_store(scans: ScanFolder, monkeypatch):
    monkeypatch.setattr(finishing, "LOG_CHUNK", 1000)
    with scans.writer(master=None) as scan:
        scan.apply([Rejected("dev", "sig", "bad", Source(b"%d" % n * 100)) for n in range(50)])
        for n in range(100):
            scan.point(n, {"samx": {"samx": {"value": n, "timestamp": 1.0}}})
    read = scans.open()
    assert [entry.raw for entry in read.quarantine] == [b"%d" % n * 100 for n in range(50)]
    assert read.sync["samx"]["samx"].value[:].tolist() == list(range(100))
    assert verify(scans / "S1.zarr").problems == []


def test_the_log_has_an_end_however_many_names_there_are(scans: ScanFolder, caplog):
    caplog.set_level(logging.WARNING)
    scan = scans.writer(settings=StoreSettings(max_signals=1), master=None)
    scan.apply([Rejected("dev", f"s{n}", "bad", Source(b"raw")) for n in range(5000)])
    assert len(caplog.messages) < 1100
    scan.close()


def test_a_limit_of_signals_holds_for_what_is_only_announced(scans: ScanFolder) -> None:
    with scans.writer(settings=StoreSettings(max_signals=1), master=None) as scan:
        scan.add("dev", "one", 1)
        scan.expect("dev", "one", 1)
        scan.expect("dev", "two", 5)
    written = scans.open()
    assert list(written.devices["dev"]) == ["one"]
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert ["5 updates were announced" in entry.reason for entry in written.quarantine] == [True]
