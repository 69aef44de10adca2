"""A scan as its journal tells it."""

from __future__ import annotations

from typing import Any

import pytest

from zwriter.errors import BadMessage
from zwriter.model import ScanState
from zwriter.protocol import Message, encode
from zwriter.store.record import ScanRecord, journal_entry


def status(state: str, timestamp: float | None = None, number: int = 7, **info: Any) -> bytes:
    fields = {"scan_id": "scan", "status": state, "info": info, "timestamp": timestamp}
    return encode(Message("ScanStatusMessage", {**fields, "scan_number": number}))


def point(number: int, value: Any, scan: str = "scan") -> Message:
    data = {"samx": {"samx": {"value": value, "timestamp": float(number)}}}
    return Message("ScanMessage", {"scan_id": scan, "point_id": number, "data": data})


def bundle(*messages: Message) -> bytes:
    return encode(Message("BundleMessage", {"messages": list(messages)}))


def test_info_of_all_status_messages_is_merged() -> None:
    record = ScanRecord()
    record.apply("status", "", status("open", 1.0, num_points=3, positions=[1]), 0)
    record.apply("status", "", status("closed", 9.0, num_points=2, DIID=5), 0)
    assert record.info == {"num_points": 2, "positions": [1]}
    assert (record.scan_id, record.scan_number) == ("scan", 7)
    assert (record.status, record.start_time, record.end_time) == (ScanState.CLOSED, 1.0, 9.0)


def test_a_message_without_time_has_the_time_at_which_it_came() -> None:
    record = ScanRecord()
    record.apply("status", "", status("open"), 5.0)
    assert record.start_time == 5.0


def test_resuming_does_not_change_when_the_scan_began() -> None:
    record = ScanRecord()
    for time, state in enumerate(("open", "paused", "open", "aborted")):
        record.apply("status", "", status(state, float(time)), 0)
    assert (record.start_time, record.end_time) == (0.0, 3.0)


def test_a_scan_keeps_its_number_whatever_is_said_later(caplog: pytest.LogCaptureFixture) -> None:
    record = ScanRecord()
    for state, number in (("open", 7), ("paused", 77), ("closed", 77)):
        record.apply("status", "", status(state, number=number), 0)
    assert record.scan_number == 7
    assert caplog.text.count("it stays number 7") == 1


def test_a_scan_that_has_ended_does_not_open_again() -> None:
    record = ScanRecord()
    record.apply("status", "", status("closed"), 0)
    with pytest.raises(BadMessage, match="too late"):
        record.apply("status", "", status("open"), 0)
    assert record.status is ScanState.CLOSED


def test_points_come_in_any_order_and_a_second_time() -> None:
    record = ScanRecord()
    record.apply("segment", "", bundle(point(2, 2.5), point(0, 0)), 0)
    record.apply("segment", "1", encode(point(1, 1)), 0)
    record.apply("segment", "0", encode(point(0, 0)), 0)
    signal = record.sync_signals()["samx"]["samx"]
    assert signal.point_ids.tolist() == [0, 1, 2]
    assert list(signal.values) == [0, 1, 2.5]
    assert list(signal.timestamps) == [0, 1, 2]


def test_nothing_of_a_bundle_with_another_scans_point_is_taken() -> None:
    record = ScanRecord(scan_id="scan")
    with pytest.raises(BadMessage, match="other"):
        record.apply("segment", "", bundle(point(0, 0), point(1, 1, scan="other")), 0)
    assert not record.points


def test_replaying_the_journal_gives_the_same_record() -> None:
    entries = [
        ("status", "", status("open", 1.0, num_points=1)),
        ("segment", "0", encode(point(0, 3))),
        ("status", "", status("closed", 2.0)),
    ]
    record = ScanRecord()
    for kind, name, raw in entries:
        record.apply(kind, name, raw, 4.0)
    journal = [journal_entry(kind, name, raw, 4.0) for kind, name, raw in entries]
    replayed = ScanRecord.replay(journal)
    assert replayed.entries == 3
    replayed.entries = 0
    assert replayed == record


def test_what_cannot_be_read_is_listed_and_the_rest_is_taken() -> None:
    journal = [
        b"\xc1",
        journal_entry("status", "", b"no message", 0),
        journal_entry("weather", "", status("open"), 0),
        journal_entry("status", "", status("open"), 0),
    ]
    record = ScanRecord.replay(journal)
    assert record.status is ScanState.OPEN
    assert len(record.unreadable) == 3
