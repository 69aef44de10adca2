"""What one scan may take: signals, quarantine, lines in the log."""

from __future__ import annotations

import logging
from pathlib import Path

import msgpack

from zwriter import ScanWriter, open_scan
from zwriter.model import Add, Position, Rejected, Source, Update, Verdict
from zwriter.settings import StoreSettings
from zwriter.store.framed import read_frames


def update(signal: str, number: int, raw: bytes = b"raw") -> Update:
    source = Source(raw, Position("stream", f"{number}-0"))
    return Update("dev", signal, Add((None,)), number, source=source)


def quarantined(path: Path) -> list[list]:
    return [msgpack.unpackb(frame) for frame in read_frames(path / "S1.zwriter/quarantine")]


def test_signals_beyond_the_limit_go_to_quarantine_and_harm_no_others(tmp_path: Path, caplog):
    scan = ScanWriter(tmp_path / "S1.zarr", settings=StoreSettings(max_signals=10), master=None)
    for number in range(3):
        scan.apply([update(f"s{n}", number, raw=b"many") for n in range(1000)])
        scan.apply([update("s3", 100 + number)])
    assert len(scan.ledgers["dev"]) == 10
    entries = quarantined(tmp_path)
    assert len(entries) == 3 * 990
    assert [entry[-1] for entry in entries].count(b"many") == 3  # each message once
    assert len([line for line in caplog.messages if "max_signals" in line]) == 5
    assert scan.finish() is Verdict.COMPLETE_WITH_GAPS
    scan.close()
    signals = open_scan(tmp_path / "S1.zarr").devices["dev"]
    assert len(signals) == 10
    assert signals["s3"].value[:].tolist() == [0, 100, 1, 101, 2, 102]


def test_a_limit_of_signals_holds_for_what_cannot_be_read_too(tmp_path: Path):
    scan = ScanWriter(tmp_path / "S1.zarr", settings=StoreSettings(max_signals=10), master=None)
    scan.apply([Rejected("dev", f"s{n}", "bad", Source(b"raw")) for n in range(100)])
    assert len(scan.ledgers["dev"]) == 10
    scan.close()


def test_quarantine_ends_at_its_limit_and_the_scan_goes_on(tmp_path: Path):
    settings = StoreSettings(quarantine_bytes=100_000)
    scan = ScanWriter(tmp_path / "S1.zarr", settings=settings, master=None)
    bad = [
        Rejected("dev", "sig", "bad" * 1000, Source(bytes(10_000), Position("stream", f"{n}-0")))
        for n in range(30_000)
    ]
    scan.apply([*bad, update("good", 1)])
    assert (tmp_path / "S1.zwriter/quarantine").stat().st_size < 20_000_000
    assert sum(bool(entry[-1]) for entry in quarantined(tmp_path)) == 9
    assert scan.ledgers["dev"]["sig"].quarantined == 30_000
    assert scan.finish() is Verdict.COMPLETE_WITH_GAPS
    scan.close()
    assert open_scan(tmp_path / "S1.zarr").devices["dev"]["good"].value[:].tolist() == [1]


def test_the_log_has_an_end_however_many_names_there_are(tmp_path: Path, caplog):
    caplog.set_level(logging.WARNING)
    scan = ScanWriter(tmp_path / "S1.zarr", settings=StoreSettings(max_signals=1), master=None)
    scan.apply([Rejected("dev", f"s{n}", "bad", Source(b"raw")) for n in range(5000)])
    assert len(caplog.messages) < 1100
    scan.close()
