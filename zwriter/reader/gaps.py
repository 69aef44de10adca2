"""What is known to be missing of a scan, in lines for people to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zwriter.reader.devices import Device
from zwriter.reader.quarantine import Quarantined
from zwriter.store.record import ScanRecord

MOST_REASONS = 20


def gaps(
    devices: Mapping[str, Device], record: ScanRecord, quarantine: Iterable[Quarantined]
) -> Iterator[str]:
    """Signals that lack something, why the scan was aborted, points and baseline that never came,
    and why messages are in quarantine: the most frequent reasons first. Of the arrays none is read.
    """
    for name, device in devices.items():
        for signal in device:
            yield from gaps_of_signal(f"{name}/{signal}", device.facts(signal))
    if record.status is not None and record.status.broken_off:
        yield from _of_broken_off(record)
    if record.lost_points:
        yield f"{record.lost_points} of {record.expected_points} points never came"
    if record.lacks_baseline:
        yield "the baseline never came"
    reasons = Counter((_label(entry.device, entry.signal), entry.reason) for entry in quarantine)
    for (label, reason), count in reasons.most_common(MOST_REASONS):
        yield f"quarantined, {count} x {label}: {reason}"
    if len(reasons) > MOST_REASONS:
        yield f"quarantined for {len(reasons) - MOST_REASONS} more reasons"


def _of_broken_off(record: ScanRecord) -> Iterator[str]:
    if record.reason:
        yield f"{record.status}: {record.reason}"
    planned = record.status_message.num_points if record.status_message else None
    if planned and 0 < len(record.points) < planned:
        yield f"{len(record.points)} of {planned} points came"


def gaps_of_signal(label: str, counts: Mapping[str, Any]) -> Iterator[str]:
    """A line, if the counts of a signal's ledger say that it lacks something."""
    found = [f"{counts[n]} {n}" for n in ("missing", "cut", "quarantined") if counts[n]]
    if found:
        ranges = counts.get("missing_ranges")
        numbers = f" (numbers {ranges})" if ranges else ""
        yield f"{label}: {', '.join(found)}{numbers}"


def _label(device: str, signal: str) -> str:
    return "/".join(name for name in (device, signal) if name) or "no device"
