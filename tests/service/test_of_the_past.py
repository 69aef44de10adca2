"""Scans that Redis still has a status of, and that nobody will go on with: neither begun nor
written anew."""

from __future__ import annotations

import time

import pytest

from zwriter.ingest import Kept
from zwriter.model import Verdict
from zwriter.protocol import Message, ScanStatus, encode, keys
from zwriter.testing.waiting import until

HOURS = 3600.0


def status(scan_id: str, state: str, age: float, number: int = 7) -> bytes:
    fields = {
        "scan_id": scan_id,
        "status": state,
        "scan_number": number,
        "readout_priority": {},
        "info": {},
        "timestamp": time.time() - age,
    }
    return encode(Message("ScanStatusMessage", fields))


def add_to_history(beamline, scan_id: str, **metadata: str) -> None:
    raw = encode(Message("ScanHistoryMessage", {"scan_id": scan_id}, metadata))
    beamline.redis("XADD", keys.scan_history(), "*", "data", raw)


def write_another(beamline) -> None:
    """One that is heard after all that Redis has kept was looked at."""
    with beamline.publisher.open_scan(scan_number=1) as scan:
        scan.add("mcs", "counts", 1, max_shape=(None,))
    assert beamline.written(1).verdict is Verdict.COMPLETE


def test_one_that_is_in_the_history_since_long_is_not_written_where_the_root_is_now(beamline):
    """Its status, the last one of any scan, stays in Redis for ever."""
    beamline.redis("SET", keys.scan_status(), status("old", "closed", 5 * HOURS))
    add_to_history(beamline, "old")
    with beamline.service():
        write_another(beamline)
    assert not beamline.store(7).exists()


@pytest.mark.parametrize(
    ("age", "metadata"),
    [(5 * HOURS, None), (0.1 * HOURS, {}), (5 * HOURS, {"verdict": "FAILED"})],
    ids=["not in the history", "a moment ago", "could not be written"],
)
def test_one_that_may_lack_its_file_is_written(beamline, age, metadata):
    beamline.redis("SET", keys.scan_status(), status("old", "closed", age))
    if metadata is not None:
        add_to_history(beamline, "old", **metadata)
    with beamline.service():
        assert beamline.written(7).scan_id == "old"


def test_one_that_was_left_open_is_not_begun(beamline):
    beamline.redis("SET", keys.scan_info("left"), status("left", "open", 30 * HOURS))
    beamline.redis("SET", keys.scan_status(), status("later", "closed", 20 * HOURS, number=8))
    with beamline.service():
        write_another(beamline)
        assert not beamline.store(7).exists()


def test_one_that_was_left_open_when_we_had_begun_it_ends_as_aborted(beamline, monkeypatch):
    monkeypatch.setattr("zwriter.service.scan_life._LONG", 0.5)
    beamline.redis("SET", keys.scan_info("left"), status("left", "open", 30 * HOURS))
    with beamline.service():  # nothing was begun since
        beamline.live(7)
    beamline.redis("SET", keys.scan_status(), status("later", "closed", 20 * HOURS, number=8))
    with beamline.service():
        written = beamline.written(7)
    assert written.verdict is Verdict.ABORTED
    assert "nobody to end it" in written.record.reason


def test_one_that_is_paused_for_long_goes_on_as_long_as_no_other_is_begun(beamline, monkeypatch):
    looks = []

    def look(kept: Kept, status: ScanStatus) -> bool:
        looks.append(status.scan_id)
        return is_left_open(kept, status)

    is_left_open = Kept.is_left_open
    monkeypatch.setattr(Kept, "is_left_open", look)
    monkeypatch.setattr("zwriter.service.scan_life._LONG", 0.1)
    beamline.redis("SET", keys.scan_info("slow"), status("slow", "open", 30 * HOURS))
    beamline.redis("SET", keys.scan_status(), status("slow", "paused", 29 * HOURS))
    with beamline.service():
        beamline.live(7)
    looks.clear()
    with beamline.service():
        until(lambda: len(looks) > 3)
        assert not beamline.live(7).finished
