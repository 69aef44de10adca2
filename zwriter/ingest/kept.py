"""What Redis keeps of a scan's control messages: there even when their publishing was not heard."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from zwriter.errors import BadMessage
from zwriter.ingest.commands import Commands, Entry, WrongType
from zwriter.protocol import keys
from zwriter.protocol.codec import decode
from zwriter.protocol.messages import ScanStatus

log = logging.getLogger(__name__)

_SCAN_COUNT = 1000
_HISTORY = 1000
_DAY = 86400.0

T = TypeVar("T")


class Kept:
    """The keys that hold control messages, each as the bytes that are stored there. Whatever else
    somebody has put there is none."""

    def __init__(self, client: Commands) -> None:
        self._client = client
        self._told: set[str] = set()  # keys that hold something else, and the log has said so

    def status(self, scan: str) -> bytes | None:
        """The scan's latest status."""
        raw = self._value(keys.scan_info(scan))
        if raw is None:
            # producers that keep only one key: that of the scan which changed last
            raw = self._value(keys.scan_status())
            last = _status_in(raw)
            if raw is not None and (last is None or last.scan_id != scan):
                return None
        return raw

    def statuses(self) -> Iterator[bytes]:
        """The latest status of every scan that Redis knows."""
        yield from self._values(keys.scan_info("*")).values()
        last = self._value(keys.scan_status())
        if last is not None:
            yield last

    def points(self, scan: str, numbers: Iterable[int]) -> dict[int, bytes]:
        """Those of the scan's points `numbers` that are there."""
        wanted = list(numbers)
        if not wanted:
            return {}
        found = self._client.mget([keys.scan_segment_point(scan, n) for n in wanted])
        return {n: raw for n, raw in zip(wanted, found, strict=True) if raw is not None}

    def baseline(self, scan: str) -> bytes | None:
        return self._value(keys.scan_baseline_of(scan))

    def files(self, scan: str) -> dict[str, bytes]:
        """Key -> FileMessage, of the files that devices of the scan wrote."""
        return self._values(keys.scan_file(keys.escape(scan), "*"))

    def master_file(self, scan: str) -> bytes | None:
        """What was last said of the scan's master file."""
        return self._value(keys.scan_file(scan, "master"))

    def is_left_open(self, status: ScanStatus) -> bool:
        """Whether a scan was opened more than a day ago and never ended, and another one was begun
        since: who ran it is gone."""
        begun = status.timestamp
        if status.status.ended or begun is None or time.time() - begun < _DAY:
            return False
        last = _status_in(self._value(keys.scan_status()))
        if last is None or last.scan_id == status.scan_id:
            return False
        return (last.timestamp or 0.0) > begun

    def history(self) -> set[str]:
        """The scans that have a line in the newest part of the history, and a file."""
        found = set()
        for _, fields in self.last_entries(keys.scan_history(), _HISTORY):
            try:
                message = decode(fields.get(b"data", b""))
            except BadMessage:
                continue
            if message.metadata.get("verdict") != "FAILED":
                found.add(str(message.data.get("scan_id")))
        return found

    def configurations(self) -> dict[str, bytes]:
        """Key -> configuration readings, of the session's enabled devices; of all devices if
        nobody says which these are."""
        devices = self._enabled_devices()
        if devices is None:
            return self._values(keys.read_configuration("*"))
        return self._get([keys.read_configuration(device) for device in devices])

    def last_entry(self, stream: str) -> bytes | None:
        """The newest message of a stream."""
        for _, fields in self.last_entries(stream, 1):
            return fields.get(b"data")
        return None

    def last_entries(self, stream: str, count: int) -> list[Entry]:
        """The newest `count` entries of a stream, the newest first."""
        return self._read(stream, lambda: self._client.xrevrange(stream, count=count)) or []

    def entries_after(self, stream: str, entry: bytes) -> list[Entry]:
        """What a stream has behind an entry."""
        return self._read(stream, lambda: self._client.xrange(stream, min=b"(" + entry)) or []

    def _value(self, key: str) -> bytes | None:
        return self._read(key, lambda: self._client.get(key))

    def _read(self, key: str, read: Callable[[], T]) -> T | None:
        """What is read of a key; None if it holds something else, which the log says once."""
        try:
            return read()
        except WrongType:
            if key not in self._told:
                self._told.add(key)
                log.warning("%s holds something else than it should, and is not read", key)
            return None

    def _enabled_devices(self) -> list[str] | None:
        raw = self._value(keys.device_config())
        if raw is None:
            return None
        try:
            resource = decode(raw).data["resource"]
            return [device["name"] for device in resource if device.get("enabled", True)]
        except (BadMessage, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be used: %s", keys.device_config(), error)
            return None

    def _values(self, pattern: str) -> dict[str, bytes]:
        found = self._client.scan_iter(match=pattern, count=_SCAN_COUNT)
        return self._get(sorted({key.decode("utf-8", "surrogateescape") for key in found}))

    def _get(self, names: list[str]) -> dict[str, bytes]:
        if not names:
            return {}
        values = self._client.mget([name.encode("utf-8", "surrogateescape") for name in names])
        return {name: raw for name, raw in zip(names, values, strict=True) if raw is not None}


def _status_in(raw: bytes | None) -> ScanStatus | None:
    """None if there is none, or it cannot be read."""
    try:
        return None if raw is None else ScanStatus.of(decode(raw))
    except BadMessage:
        return None
