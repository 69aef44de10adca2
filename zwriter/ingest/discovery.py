"""Which async streams a scan has: found by their keys, sooner where devices describe themselves."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zwriter.errors import BadMessage
from zwriter.ingest.commands import Commands
from zwriter.protocol import keys
from zwriter.protocol.codec import decode

log = logging.getLogger(__name__)

_FIRST_INTERVAL = 0.2
_LAST_INTERVAL = 1.0
_REST = 10  # times what a look took: among millions of keys it takes seconds
_SCAN_COUNT = 1000


@dataclass(frozen=True, slots=True)
class StreamName:
    """An async stream: its key, the device whose updates it holds, and its index list, if any."""

    key: str
    device: str
    index_key: str | None = None

    @property
    def raw(self) -> bytes:
        """The key as Redis has it."""
        return self.key.encode("utf-8", "surrogateescape")


class Discovery:
    """Looks for the streams of one scan: each `_FIRST_INTERVAL` seconds, then ever more rarely, and
    always so that most of the time is left to read them."""

    def __init__(self, client: Commands, scan_id: str) -> None:
        self._client = client
        self._scan_id = scan_id
        self._known: set[str] = set()
        self._interval = _FIRST_INTERVAL
        self._due = 0.0
        self.looked = 0.0  # when the last look began
        self._hurried = 0.0

    @property
    def due(self) -> bool:
        return self._hurried > self.looked or time.monotonic() >= self._due

    def hurry(self) -> None:
        """Look at once, and often again. For any thread."""
        self._interval, self._hurried = _FIRST_INTERVAL, time.monotonic()

    def described(self, devices: Iterable[str]) -> list[StreamName]:
        """The streams that the scan's devices will have, as far as they say so.

        What a device says is not to be saved is not, here or later.
        """
        found = []
        names = list(devices)
        for device, raw in zip(names, _mget(self._client, names), strict=True):
            for storage, saved in _storages(raw, device):
                key = keys.async_signal(self._scan_id, device, storage)
                if key not in self._known:
                    self._known.add(key)
                    if saved and keys.safe_name(storage):
                        found.append(_named(self._scan_id, key))
        return found

    def look(self) -> list[StreamName]:
        """The streams that were not known before, in one pass over Redis' keys."""
        begun = time.monotonic()
        new = dict.fromkeys(key for key in self._matching() if key not in self._known)
        streams = [key for key in new if self._is_stream(key)]
        self._known.update(new)  # only now: what Redis did not answer for is looked for again
        self._interval = min(2 * self._interval, _LAST_INTERVAL)
        self.looked, now = begun, time.monotonic()
        self._due = now + max(self._interval, _REST * (now - begun))
        return [_named(self._scan_id, key) for key in streams]

    def _matching(self) -> Iterator[str]:
        """Keys of streams that are there, and of those that an index list says there were."""
        index_list = keys.async_signal_index(keys.escape(self._scan_id), "*", "*")
        for pattern in (*keys.async_stream_patterns(self._scan_id), index_list):
            for raw in self._client.scan_iter(match=pattern, count=_SCAN_COUNT):
                key = raw.decode("utf-8", "surrogateescape")
                yield _indexed(self._scan_id, key) if pattern == index_list else key

    def _is_stream(self, key: str) -> bool:
        """Whether it is one, or was one: nothing is there any more."""
        kind = self._client.type(key.encode("utf-8", "surrogateescape"))
        if kind not in (b"stream", b"none"):
            log.warning("scan %s: %r is no stream and not read", self._scan_id, key)
            return False
        return True


def _indexed(scan_id: str, index_key: str) -> str:
    """The stream that an index list tells of."""
    device, _, name = index_key.partition(f"/{scan_id}/")[2].rpartition("/")
    return keys.async_signal(scan_id, device, name)


def _named(scan_id: str, key: str) -> StreamName:
    try:
        scan, device, name = keys.parse_async_stream(key)
    except BadMessage as error:
        # Read it all the same: what is in it goes to quarantine, under a name that is no device's.
        log.warning("scan %s: %s; its data goes to quarantine", scan_id, error)
        return StreamName(key, key.partition(f"/{scan_id}/")[2])
    return StreamName(key, device, keys.async_signal_index(scan, device, name) if name else None)


def _mget(client: Commands, devices: list[str]) -> list[bytes | None]:
    return list(client.mget([keys.device_info(device) for device in devices])) if devices else []


def _storages(raw: bytes | None, device: str) -> set[tuple[str, bool]]:
    """(storage name, saved) of the device's async signals; nothing if it does not say."""
    if raw is None:
        return set()
    try:
        signals: dict[str, dict[str, Any]] = decode(raw).data["info"]["signals"]
        return {
            (str(signal["storage_name"]), bool(signal["describe"]["signal_info"]["saved"]))
            for signal in signals.values()
            if signal.get("signal_class") in ("AsyncSignal", "AsyncMultiSignal", "DynamicSignal")
        }
    except (BadMessage, KeyError, TypeError, AttributeError) as error:
        log.warning("device %s: its description cannot be used: %s", device, error)
        return set()
