"""A scan in a form that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zwriter.reader.scan import Scan


def summary(scan: Scan) -> dict[str, Any]:
    """All facts of a scan and, for each signal, what was expected, received and written; `lag` is
    each device's, see `DeviceCommit`.

    No array is opened: this is quick for any size of scan.
    """
    return {
        "path": str(scan.path),
        "scan_id": scan.scan_id,
        "scan_number": scan.scan_number,
        "status": scan.status,
        "verdict": scan.verdict,
        "finished": scan.finished,
        "start_time": scan.start_time,
        "end_time": scan.end_time,
        "lag": {name: commit.lag for name, commit in scan.commits.items()},
        "devices": {
            name: {signal: device.facts(signal) for signal in device}
            for name, device in scan.devices.items()
        },
    }
