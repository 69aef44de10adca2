from __future__ import annotations

from zwriter.ingest import ControlEvent
from zwriter.service.early import _BYTES, Early


def event(scan_id: str, nbytes: int = 10) -> ControlEvent:
    return ControlEvent("segment", scan_id, "0", bytes(nbytes))


def test_what_is_kept_of_a_scan_is_given_out_once():
    early = Early()
    early.keep(event("a"))
    early.keep(event("b"))
    early.keep(event("a"))
    assert early.take("a") == [event("a"), event("a")]
    assert early.take("a") == []


def test_of_too_much_the_oldest_scan_goes(caplog):
    early = Early()
    for scan_id in ("old", "new"):
        early.keep(event(scan_id, _BYTES // 2 + 1))
    assert early.take("old") == []
    assert len(early.take("new")) == 1
    assert "scan old: was never opened" in caplog.text
