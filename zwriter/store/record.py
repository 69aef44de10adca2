"""What the journal says about a scan: everything but its async arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from zwriter.errors import BadMessage
from zwriter.model import ScanState
from zwriter.protocol.codec import Message, decode, messages_in
from zwriter.protocol.messages import (
    Baseline,
    BeamlineState,
    FileReference,
    Readings,
    ScanPoint,
    ScanStatus,
)
from zwriter.store.columns import Column, column

log = logging.getLogger(__name__)

Reading = dict[str, Any]
DeviceReadings = dict[str, dict[str, Reading]]

# Parts of `info` that belong to BEC's queue, not to the scan.
_NOT_METADATA = ("DIID", "stream")

# BEC: scans of other types wait for their points only if `monitor_sync` is "bec"
_SYNC_TYPES = ("step", "software_triggered", "hardware_triggered")


@dataclass(frozen=True, slots=True)
class SyncSignal:
    """One signal's readings at scan points, in order of point_id.

    point_ids: (n,) int64; values: (n, *row), or a list of n arrays where shapes differ;
    timestamps: as values, seconds since 1970, NaN where there was none; lost: how many points of
    the scan never came, None where it does not say how many there are.
    """

    point_ids: NDArray[np.int64]
    values: Column
    timestamps: Column
    lost: int | None = None


@dataclass(slots=True)
class ScanRecord:
    """A scan as its control messages tell it. `info` is the info of all status messages, merged;
    times are seconds since 1970; `start_time` is None if the opening was never seen."""

    scan_id: str = ""
    scan_number: int | None = None
    status: ScanState | None = None
    reason: str | None = None
    status_message: ScanStatus | None = None
    info: dict[str, Any] = field(default_factory=dict)
    start_time: float | None = None
    end_time: float | None = None
    points: dict[int, DeviceReadings] = field(default_factory=dict)
    baseline: DeviceReadings = field(default_factory=dict)
    configuration: DeviceReadings = field(default_factory=dict)
    file_references: dict[str, FileReference] = field(default_factory=dict)
    states: dict[str, list[BeamlineState]] = field(default_factory=dict)
    deployment: Message | None = None
    account: Message | None = None
    unreadable: list[str] = field(default_factory=list)
    entries: int = 0

    @classmethod
    def replay(cls, payloads: Iterable[bytes]) -> ScanRecord:
        """The record of a journal's payloads; what cannot be read is listed in `unreadable`."""
        record = cls()
        record.extend(payloads)
        return record

    def extend(self, payloads: Iterable[bytes]) -> None:
        """Take in the next payloads of the journal, as `replay` does from its beginning."""
        for payload in payloads:
            try:
                time, kind, name, raw = msgpack.unpackb(payload)
                self.apply(kind, name, raw, time)
            except (BadMessage, ValueError, TypeError) as error:
                self.unreadable.append(f"journal entry {self.entries}: {error}")
            self.entries += 1

    def apply(self, kind: str, name: str, raw: bytes, time: float) -> None:
        """Take in one control message as it came at `time` (seconds since 1970).

        Raises BadMessage, and changes nothing, if it cannot be read or is of another scan.
        """
        match kind:
            case "status":
                self._apply_status(ScanStatus.of(decode(raw)), time)
            case "segment":
                points = [ScanPoint.of(message) for message in messages_in(raw)]
                for point in points:
                    self._check_scan(point.scan_id)
                for point in points:
                    self._take_point(point)
            case "baseline":
                baseline = Baseline.of(decode(raw))
                self._check_scan(baseline.scan_id)
                self.baseline = baseline.data
            case "config":
                self.configuration[name] = Readings.of(decode(raw)).signals
            case "file":
                self.file_references[name] = FileReference.of(decode(raw))
            case "state":
                state = BeamlineState.of(decode(raw))
                history = self.states.setdefault(state.name, [])
                if state not in history:
                    history.append(state)
            case "deployment":
                self.deployment = decode(raw)
            case "account":
                self.account = decode(raw)
            case _:
                raise BadMessage(f"the journal knows no kind {kind!r}")

    @property
    def expected_points(self) -> int:
        """How many points the scan says it has; 0 unless it was closed and has such points."""
        status = self.status_message
        if status is None or status.status is not ScanState.CLOSED:
            return 0
        waits = status.scan_type in _SYNC_TYPES or status.info.get("monitor_sync") == "bec"
        if not waits or not status.readout_priority.get("monitored"):
            return 0
        return status.num_monitored_readouts or 0

    @property
    def lost_points(self) -> int:
        """How many of the expected points are not there."""
        return max(0, self.expected_points - len(self.points))

    @property
    def lacks_baseline(self) -> bool:
        """Whether the scan came to its end and should have baseline readings, but has none."""
        over = self.status in (ScanState.CLOSED, ScanState.USER_COMPLETED)
        return bool(over and self.info.get("baseline_readout_requested") and not self.baseline)

    def sync_signals(self) -> dict[str, dict[str, SyncSignal]]:
        """What was read at scan points: by device, by signal. Points that lack a signal are not
        in its `point_ids`."""
        readings: dict[str, dict[str, dict[int, Reading]]] = {}
        for point_id in sorted(self.points):
            for device, signals in self.points[point_id].items():
                for signal, reading in signals.items():
                    readings.setdefault(device, {}).setdefault(signal, {})[point_id] = reading
        lost = self.lost_points if self.expected_points else None
        return {
            device: {signal: _sync_signal(of_signal, lost) for signal, of_signal in signals.items()}
            for device, signals in readings.items()
        }

    def _take_point(self, point: ScanPoint) -> None:
        """One that comes again, or in parts, adds to what is known of it."""
        known = self.points.setdefault(point.point_id, {})
        for device, signals in point.data.items():
            known[device] = {**known.get(device, {}), **signals}

    def _apply_status(self, message: ScanStatus, time: float) -> None:
        self._check_scan(message.scan_id)
        if self.status is not None and self.status.ended and not message.status.ended:
            raise BadMessage(f"scan {message.scan_id} has ended; {message.status} comes too late")
        self.scan_id = message.scan_id
        last = self.status_message
        if self.scan_number is None:
            self.scan_number = message.scan_number
        elif message.scan_number not in (None, self.scan_number, last and last.scan_number):
            text = "scan %s: a status calls it number %s; it stays number %s"
            log.warning(text, message.scan_id, message.scan_number, self.scan_number)
        self.status, self.reason, self.status_message = message.status, message.reason, message
        self.info |= {k: v for k, v in message.info.items() if k not in _NOT_METADATA}
        when = time if message.timestamp is None else message.timestamp
        if message.status is ScanState.OPEN and self.start_time is None:
            self.start_time = when
        if message.status.ended and self.end_time is None:
            self.end_time = when

    def _check_scan(self, scan_id: str) -> None:
        if self.scan_id and scan_id != self.scan_id:
            raise BadMessage(f"a message of scan {scan_id} in the journal of {self.scan_id}")


def journal_entry(kind: str, name: str, raw: bytes, time: float) -> bytes:
    """The payload of a journal record: what `ScanRecord.replay` reads."""
    payload: bytes = msgpack.packb([time, kind, name, raw])
    return payload


def _sync_signal(readings: dict[int, Reading], lost: int | None) -> SyncSignal:
    return SyncSignal(
        np.array(list(readings), np.int64),
        column([reading.get("value") for reading in readings.values()]),
        column([reading.get("timestamp") for reading in readings.values()]),
        lost,
    )
