"""A scan that is being published: its data, and its life from open to closed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np
import redis
from redis.client import Pipeline

from zwriter.errors import BadMessage, BadUpdate, UsageError
from zwriter.model import Add, AddSlice, Mode, Rejected, Replace, ScanState, Source
from zwriter.protocol import keys
from zwriter.protocol.codec import Message, encode
from zwriter.protocol.messages import (
    Baseline,
    FileReference,
    Readings,
    ScanPoint,
    ScanStatus,
    SignalIndex,
)
from zwriter.protocol.outgoing import file_message
from zwriter.protocol.updates import updates_in

Reading = Mapping[str, Any]
"""{"value": ..., "timestamp": seconds since 1970}"""


class PublishedScan:
    """A scan that is being published; made by `Publisher.open_scan`.

    Leaving its `with` block closes it: as "closed", or as "aborted" when an exception leaves.
    Devices may publish from threads of their own, a device from one.
    """

    def __init__(self, client: redis.Redis, status_fields: dict[str, Any]) -> None:
        self._redis = client
        self._status_fields = status_fields
        self._thread = threading.local()  # .pipe: the batch that is open in this thread
        self._points: set[int] = set()
        self._numbers: dict[tuple[str, str, str], int] = {}
        self.scan_id: str = status_fields["scan_id"]
        self._publish_status(ScanState.OPEN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.status.ended:
            return
        if kind is None:
            self.close()
        else:
            self.close("aborted", "user" if issubclass(kind, KeyboardInterrupt) else "alarm")

    # async data

    def add(
        self,
        device: str,
        signal: str,
        value: Any,
        timestamp: float | Sequence[float] | None = None,
        *,
        max_shape: Sequence[int | None],
        stream: str | None = None,
        max_size: int = 1000,
    ) -> None:
        """Append rows to a signal.

        value: one row or a block of rows; scalar, (nested) list or array
        timestamp: seconds since 1970, or one for each sample; default: now
        max_shape: (None,) scalars, (None, N) or (None, H, W) rows of that shape,
            (None, None) rows of any length
        stream: the stream's name, when it is not the signal's
        max_size: how many updates Redis keeps, at least

        Raises BadUpdate when the update breaks the rules of the wire, BadMessage when the value has
        no encoding; then nothing is sent.
        """
        mode = Add(tuple(max_shape))
        self.update(device, stream or signal, {signal: _reading(value, timestamp)}, mode, max_size)

    def add_slice(
        self,
        device: str,
        signal: str,
        index: int,
        value: Any,
        timestamp: float | Sequence[float] | None = None,
        *,
        max_shape: Sequence[int | None],
        stream: str | None = None,
        max_size: int = 1000,
    ) -> None:
        """Append a 1-D piece to row `index`, behind what that row has. Otherwise like `add`.

        max_shape: (None or M, N) rows of at most N, (None, None) rows of any length
        """
        mode = AddSlice(tuple(max_shape), index)
        self.update(device, stream or signal, {signal: _reading(value, timestamp)}, mode, max_size)

    def replace(
        self,
        device: str,
        signal: str,
        value: Any,
        timestamp: float | Sequence[float] | None = None,
        *,
        stream: str | None = None,
        max_size: int = 1000,
    ) -> None:
        """Set the whole signal; the last value wins. Otherwise like `add`."""
        reading = {signal: _reading(value, timestamp)}
        self.update(device, stream or signal, reading, Replace(), max_size)

    def update(
        self,
        device: str,
        stream: str,
        readings: Mapping[str, Reading],
        mode: Mode,
        max_size: int = 1000,
    ) -> None:
        """Push several signals of a device in one message.

        readings: signal -> {"value": ..., "timestamp": ...}; a timestamp may be missing
        Otherwise like `add`.
        """
        async_update = _async_update(mode)
        indices = {name: self._numbers.get((device, stream, name), 0) for name in readings}
        signals = {name: dict(reading) for name, reading in readings.items()}
        metadata = {"async_update": async_update, "async_indices": indices}
        message = Message("DeviceMessage", {"signals": signals}, metadata)
        for item in updates_in(message, device, Source(b"")):
            if isinstance(item, Rejected):
                raise BadUpdate(f"{device}/{item.signal}: {item.reason}")
        index = self._index(device, stream, signals, indices, async_update)
        stream_key = keys.async_signal(self.scan_id, device, stream)
        index_key = keys.async_signal_index(self.scan_id, device, stream)
        data, announcement = encode(message), encode(index)
        with self._sending() as pipe:
            pipe.xadd(stream_key, {"data": data}, maxlen=max_size, approximate=True)
            pipe.expire(stream_key, keys.ASYNC_TTL)
            pipe.rpush(index_key, announcement)
            pipe.expire(index_key, keys.INDEX_TTL)
        for name, number in indices.items():
            self._numbers[device, stream, name] = number + 1

    def _index(
        self,
        device: str,
        stream: str,
        signals: dict[str, Any],
        indices: dict[str, int],
        async_update: dict[str, Any],
    ) -> Message:
        try:
            shapes = {name: list(np.shape(reading["value"])) for name, reading in signals.items()}
        except ValueError as error:
            raise BadUpdate(
                f"{device}: rows of different lengths are updates of their own"
            ) from error
        fields = {
            "scan_id": self.scan_id,
            "device": device,
            "signal": stream,
            "shapes": shapes,
            "indices": indices,
            "async_update": {"max_shape": None, "index": None, **async_update},
        }
        message = Message("DeviceAsyncSignalIndexMessage", fields)
        SignalIndex.of(message)
        return message

    # sync data

    def point(self, point_id: int, data: Mapping[str, Mapping[str, Reading]]) -> None:
        """Publish what the monitored devices were at a scan point: device -> signal -> reading."""
        fields = {"point_id": point_id, "scan_id": self.scan_id, "data": data}
        metadata = {
            name: self._status_fields[name]
            for name in ("scan_id", "scan_type", "scan_report_devices")
        }
        message = Message("ScanMessage", fields, metadata)
        ScanPoint.of(message)
        raw, bundle = encode(message), encode(Message("BundleMessage", {"messages": [message]}))
        with self._sending() as pipe:
            pipe.set(keys.scan_segment_point(self.scan_id, point_id), raw, ex=keys.POINT_TTL)
            pipe.publish(keys.scan_segment(), bundle)
        self._points.add(point_id)

    def baseline(self, data: Mapping[str, Mapping[str, Reading]]) -> None:
        """Publish what the baseline devices were, once: device -> signal -> reading."""
        message = Message("ScanBaselineMessage", {"scan_id": self.scan_id, "data": data})
        Baseline.of(message)
        raw = encode(message)
        with self._sending() as pipe:
            pipe.set(keys.scan_baseline_of(self.scan_id), raw, ex=keys.POINT_TTL)
            _set_publish(pipe, keys.scan_baseline(), raw)

    def configuration(self, device: str, signals: Mapping[str, Reading]) -> None:
        """Publish a device's configuration: signal -> reading."""
        message = Message("DeviceMessage", {"signals": signals})
        Readings.of(message)
        key = keys.read_configuration(_checked(device))
        with self._sending() as pipe:
            _set_publish(pipe, key, encode(message))

    def file(
        self,
        name: str,
        path: str,
        *,
        done: bool = True,
        successful: bool = True,
        hinted_h5_entries: dict[str, str] | None = None,
    ) -> None:
        """Announce a file that a device has written itself, by the device's name.

        hinted_h5_entries: name below the device in the master file -> path in that file
        """
        message = file_message(
            path,
            done=done,
            successful=successful,
            device_name=name,
            hinted_h5_entries=hinted_h5_entries,
        )
        FileReference.of(message)
        key = keys.scan_file(self.scan_id, _checked(name))
        with self._sending() as pipe:
            _set_publish(pipe, key, encode(message), keys.FILE_TTL)

    # the scan's life

    def pause(self) -> None:
        self._publish_status(ScanState.PAUSED)

    def resume(self) -> None:
        self._publish_status(ScanState.OPEN)

    def close(self, status: str = "closed", reason: str | None = None) -> None:
        """End the scan as "closed", "aborted", "halted" or "user_completed".

        reason: "user" or "alarm", where there is one
        """
        ends = [state for state in ScanState if state.ended]
        if status not in ends:
            raise UsageError(f"a scan does not end as {status!r} but as {', '.join(ends)}")
        self._publish_status(ScanState(status), reason)

    def _publish_status(self, state: ScanState, reason: str | None = None) -> None:
        fields = {
            **self._status_fields,
            "status": state.value,
            "reason": reason,
            "timestamp": time.time(),
        }
        if state.ended:
            # the writer waits for as many points as were read, which may be fewer than planned
            fields["num_monitored_readouts"] = len(self._points)
        message = Message("ScanStatusMessage", fields)
        ScanStatus.of(message)
        raw = encode(message)
        with self._sending() as pipe:
            ttl = keys.POINT_TTL if state.ended else None
            pipe.set(keys.scan_info(self.scan_id), raw, ex=ttl)
            _set_publish(pipe, keys.scan_status(), raw)
        self.status: ScanState = state

    # sending

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Send all that this thread publishes in the block at its end, in one go, which is faster.

        What was published before an exception is sent too.
        """
        if self._open_batch is not None:
            yield
            return
        with self._redis.pipeline(transaction=True) as pipe:
            self._thread.pipe = pipe
            try:
                yield
            finally:
                self._thread.pipe = None
                pipe.execute()

    @property
    def _open_batch(self) -> Pipeline | None:
        return getattr(self._thread, "pipe", None)

    @contextmanager
    def _sending(self) -> Iterator[Pipeline]:
        batch = self._open_batch
        if batch is not None:
            yield batch
            return
        with self._redis.pipeline(transaction=True) as pipe:
            yield pipe
            pipe.execute()


def _checked(name: str) -> str:
    if not keys.safe_name(name):
        raise BadMessage(f"{name!r} cannot be the name of a device")
    return name


def _reading(value: Any, timestamp: float | Sequence[float] | None) -> Reading:
    return {"value": value, "timestamp": time.time() if timestamp is None else timestamp}


def _async_update(mode: Mode) -> dict[str, Any]:
    shape = {} if mode.max_shape is None else {"max_shape": list(mode.max_shape)}
    index = {"index": mode.index} if isinstance(mode, AddSlice) else {}
    return {"type": mode.name, **shape, **index}


def _set_publish(pipe: Pipeline, key: str, raw: bytes, ttl: int | None = None) -> None:
    pipe.set(key, raw, ex=ttl)
    pipe.publish(key, raw)
