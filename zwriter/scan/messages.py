"""Control messages of a scan that has no service: as it would have heard them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from zwriter.model import ScanState
from zwriter.protocol import Message, encode
from zwriter.store.record import ScanRecord

Readings = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""{device: {signal: {"value": .., "timestamp": ..}}}"""


def point_message(scan_id: str, point_id: int, readings: Readings) -> bytes:
    """What was read at a scan point."""
    data = {"point_id": point_id, "scan_id": scan_id, "data": readings}
    return encode(Message("ScanMessage", data, {}))


def baseline_message(scan_id: str, readings: Readings) -> bytes:
    """What was read once."""
    return encode(Message("ScanBaselineMessage", {"scan_id": scan_id, "data": readings}, {}))


def status_message(
    scan_id: str,
    scan_number: int | None,
    record: ScanRecord,
    state: ScanState | str,
    reason: str | None,
    info: Mapping[str, Any],
) -> bytes:
    """The scan's state from now on; else as `record` has it, with `info` besides."""
    last = record.status_message
    known = last.model_dump() if last else {"info": {}}
    own = {"scan_id": scan_id, "scan_number": scan_number}
    changes = {"status": str(state), "reason": reason, "timestamp": time.time()}
    fields = {**known, **own, **changes, "info": {**known["info"], **own, **info}}
    return encode(Message("ScanStatusMessage", fields, {}))
