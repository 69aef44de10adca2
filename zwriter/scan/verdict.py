"""What is said of a scan once it is over."""

from __future__ import annotations

from collections.abc import Iterable

from zwriter.model import Ledger, ScanState, Verdict
from zwriter.store.record import ScanRecord


def verdict_of(
    state: ScanState,
    ledgers: Iterable[Ledger],
    record: ScanRecord,
    *,
    given_up: bool,
    quarantined: bool,
) -> Verdict:
    """`state`: how it ended; given_up: nobody knows whether more should have come; quarantined:
    whether anything is, be it of no signal: a device that cannot be called so, a control message.
    """
    if state.broken_off:
        return Verdict.ABORTED
    whole = all(ledger.whole for ledger in ledgers)
    lacks = given_up or quarantined or record.lost_points or record.lacks_baseline
    return Verdict.COMPLETE if whole and not lacks else Verdict.COMPLETE_WITH_GAPS
