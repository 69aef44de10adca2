"""What the service tells others: that it lives, which files there are, and what went wrong."""

from __future__ import annotations

import contextlib
import getpass
import logging
import socket
import threading
import time
from typing import Any, Literal

import redis

from zwriter.assemble import as_array
from zwriter.errors import BadMessage, BadUpdate
from zwriter.ingest.commands import Commands
from zwriter.master import metadata
from zwriter.model import Verdict
from zwriter.objects import AnyPath
from zwriter.protocol import BECStatus, Message, encode, keys
from zwriter.protocol.outgoing import (
    alarm_message,
    file_content_message,
    file_message,
    scan_history_message,
    status_message,
)
from zwriter.reader import dtype_name
from zwriter.store.record import ScanRecord

log = logging.getLogger(__name__)

NAME = "FileWriterManager"
_HEARTBEAT = 1.0
_HISTORY_LENGTH = 10_000


Gaps = dict[str, dict[str, int]]
"""`device/signal` -> how many updates are missing, cut, quarantined; of signals that lack some."""


class Outbox:
    """Sends; what cannot be sent is said in the log and harms nobody."""

    def __init__(self, client: Commands) -> None:
        self._client = client

    def beat(self, stop: threading.Event) -> None:
        """Say that the service runs, every second until `stop` is set."""
        info = {"user": _user(), "hostname": socket.gethostname()}
        while not stop.is_set():
            message = status_message(NAME, BECStatus.RUNNING, {**info, "timestamp": time.time()})
            # what listens says that Redis is away: here it would be a line a second
            with contextlib.suppress(redis.RedisError):
                self._set_publish(keys.service_status(NAME), message, keys.STATUS_TTL)
            stop.wait(_HEARTBEAT)

    def file_opened(self, scan_id: str, master: AnyPath) -> None:
        """There will be this master file."""
        message = file_message(str(master), done=False, successful=False, is_master_file=True)
        self._tell(keys.scan_file(scan_id, "master"), message, keys.FILE_TTL)

    def file_done(
        self, scan_id: str, master: AnyPath, verdict: Verdict, gaps: Gaps, *, whole: bool
    ) -> None:
        """The master file is there, or never will be. `whole`: with all that there was."""
        message = file_message(str(master), done=True, successful=whole, is_master_file=True)
        message.metadata.update(verdict=str(verdict), gaps=gaps)
        self._tell(keys.scan_file(scan_id, "master"), message, keys.FILE_TTL)

    def history(
        self,
        record: ScanRecord,
        master: AnyPath,
        devices: dict[str, Any],
        verdict: Verdict,
        gaps: Gaps,
    ) -> None:
        """A line in the history of scans. `devices`: as in `Scan.summary()`."""
        status = record.status_message
        if status is None or record.scan_number is None:
            log.info("scan %s has no number and no place in the history", record.scan_id)
            return
        ended = record.end_time or time.time()
        message = scan_history_message(
            scan_id=record.scan_id,
            scan_number=record.scan_number,
            dataset_number=status.dataset_number or 0,
            file_path=str(master),
            exit_status=str(status.status),
            reason=status.reason if status.reason in ("user", "alarm") else None,
            start_time=record.start_time or ended,
            end_time=ended,
            scan_name=status.scan_name or "",
            num_points=status.num_points,
            num_monitored_readouts=status.num_monitored_readouts,
            request_inputs=status.request_inputs,
            stored_data_info=_stored(record, devices),
        )
        message.metadata.update(verdict=str(verdict), gaps=gaps)
        try:
            self._client.xadd(
                keys.scan_history(),
                {"data": encode(message)},
                maxlen=_HISTORY_LENGTH,
                approximate=True,
            )
        except (redis.RedisError, BadMessage) as error:
            log.warning("scan %s: not in the history: %s", record.scan_id, error)

    def content(self, record: ScanRecord, master: AnyPath) -> None:
        """What is in the master file, but for the async data."""
        data: dict[str, dict[str, Any]] = {
            device: dict(signals) for device, signals in record.baseline.items()
        }
        for device, signals in record.sync_signals().items():
            data[device] = {
                name: {"value": list(signal.values), "timestamp": list(signal.timestamps)}
                for name, signal in signals.items()
            }
        message = file_content_message(str(master), data, metadata(record))
        self._tell(keys.file_content(), message, keys.FILE_TTL)

    def alarm(
        self,
        severity: Literal[0, 1, 2],
        text: str,
        *,
        kind: str,
        device: str | None = None,
        scan_id: str = "",
    ) -> None:
        """Something is wrong; `kind` is the name of an exception or what stands for one."""
        message = alarm_message(
            severity,
            text,
            compact_error_message=text,
            exception_type=kind,
            device=device,
            metadata={"scan_id": scan_id},
        )
        self._tell(keys.alarms(), message, None)

    def _tell(self, key: str, message: Message, ttl: int | None) -> None:
        try:
            self._set_publish(key, message, ttl)
        except (redis.RedisError, BadMessage) as error:
            log.warning("%s could not be sent: %s", message.type, error)

    def _set_publish(self, key: str, message: Message, ttl: int | None) -> None:
        raw = encode(message)
        with self._client.pipeline(transaction=True) as pipe:
            pipe.set(key, raw, ex=ttl).publish(key, raw).execute()


def _stored(record: ScanRecord, devices: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """device -> signal -> shape and dtype of its values in the master file, as h5py has them."""
    found: dict[str, dict[str, Any]] = {}
    for device, readings in record.baseline.items():
        for signal, reading in readings.items():
            try:
                value = as_array(reading["value"])
            except BadUpdate:  # it is JSON there
                value = as_array("")
            shape = list(value.shape)
            found.setdefault(device, {})[signal] = _said(shape, dtype_name(value.dtype))
    for device, signals in devices.items():
        for signal, facts in signals.items():
            ragged = facts["ragged"]
            shape, dtype = (
                ([facts["rows"]], "object") if ragged else (facts["shape"], facts["dtype"])
            )
            found.setdefault(device, {})[signal] = _said(shape, dtype)
    return found


def _said(shape: list[int], dtype: str | None) -> dict[str, Any]:
    return {"shape": shape or [1], "dtype": "object" if dtype == "string" else dtype}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in some containers
        return "unknown"
