"""Publishing a scan as BEC does, from any Python program."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Self

import redis

from zwriter.protocol import keys
from zwriter.protocol.codec import Message, encode
from zwriter.protocol.connection import connect
from zwriter.protocol.published_scan import PublishedScan


class Publisher:
    """Opens scans that zwriter, or BEC's own file writer, will write.

    redis: a URL (`redis://`, `rediss://`, `unix://`), or a client, which stays the caller's
    Raises ServiceError when Redis does not answer; when it goes away later, what is called then
    raises redis-py's own errors (redis.RedisError).

    Example:
        >>> with Publisher("redis://localhost:6379/0") as publisher:
        ...     with publisher.open_scan(scan_number=1, async_devices=["eiger"]) as scan:
        ...         for frame in frames:
        ...             scan.add("eiger", "eiger_image", frame, max_shape=(None, 512, 512))

    """

    def __init__(self, redis: str | redis.Redis) -> None:
        self._owned = isinstance(redis, str)
        self._redis = connect(redis) if isinstance(redis, str) else redis
        self._states: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._owned:
            self._redis.close()

    def open_scan(
        self,
        *,
        scan_number: int,
        scan_id: str | None = None,
        scan_name: str = "scan",
        scan_type: str = "software_triggered",
        dataset_number: int = 0,
        num_points: int | None = None,
        monitored: Sequence[str] = (),
        baseline: Sequence[str] = (),
        async_devices: Sequence[str] = (),
        scan_report_devices: Sequence[str] = (),
        scan_parameters: Mapping[str, Any] | None = None,
        request_inputs: Mapping[str, Any] | None = None,
        user_metadata: Mapping[str, Any] | None = None,
        file_base: str | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> PublishedScan:
        """Announce a scan. Use the result in a `with` block, which closes it.

        scan_id: default: a new uuid
        num_points: how many scan points there will be, if that is known
        monitored, baseline, async_devices: names of devices, by how they are read
        file_base: where its files go: `<file_base>.zarr`, `<file_base>_master.h5`
        info: what is to be in `metadata/bec` besides

        Raises BadMessage when a value is not what the protocol says it is.
        """
        scan_id = scan_id or str(uuid.uuid4())
        common = {
            "scan_id": scan_id,
            "scan_number": scan_number,
            "num_points": num_points,
            "num_monitored_readouts": (num_points or 0) if monitored else 0,
            "scan_name": scan_name,
            "scan_type": scan_type,
            "dataset_number": dataset_number,
            "scan_report_devices": list(scan_report_devices),
            "user_metadata": dict(user_metadata or {}),
            "readout_priority": {
                "monitored": list(monitored),
                "baseline": list(baseline),
                "async": list(async_devices),
                "continuous": [],
                "on_request": [],
            },
            # BEC's file writer looks system_config up without asking whether it is there
            "scan_parameters": {
                "system_config": {"file_suffix": None, "file_directory": None},
                **(scan_parameters or {}),
            },
            "request_inputs": dict(
                request_inputs or {"arg_bundle": [], "inputs": {}, "kwargs": {}}
            ),
        }
        bec_info = {
            **common,
            "baseline_readout_requested": bool(baseline),
            "monitor_sync": "bec",
            **({"file_components": [file_base, "h5"]} if file_base else {}),
            **(info or {}),
        }
        return PublishedScan(self._redis, {**common, "session_id": None, "info": bec_info})

    def beamline_state(self, name: str, status: str, label: str = "") -> None:
        """Say how a part of the beamline is: status "valid", "invalid", "warning" or "unknown"."""
        if name not in self._states:
            self._states.append(name)
            states = [{"name": n, "state_type": "", "parameters": {}} for n in self._states]
            available = Message("AvailableBeamlineStatesMessage", {"states": states})
            self._redis.xadd(keys.available_beamline_states(), {"data": encode(available)})
        state = {"name": name, "status": status, "label": label, "timestamp": time.time()}
        message = Message("BeamlineStateMessage", state)
        self._redis.xadd(keys.beamline_state(name), {"data": encode(message)})
