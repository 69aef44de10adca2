"""The messages that a file writer sends."""

from __future__ import annotations

import uuid
from enum import Enum
from typing import Any, Literal

from zwriter.protocol.codec import Message


class BECStatus(Enum):
    """`status` of a StatusMessage; BEC's names and numbers."""

    RUNNING = 2
    BUSY = 1
    IDLE = 0
    ERROR = -1


def file_message(
    file_path: str,
    *,
    done: bool,
    successful: bool,
    is_master_file: bool = False,
    device_name: str | list[str] | None = None,
    hinted_h5_entries: dict[str, str] | None = None,
) -> Message:
    """A file is being written (`done` false) or was (`successful` says how)."""
    return Message(
        "FileMessage",
        {
            "file_path": file_path,
            "done": done,
            "successful": successful,
            "is_master_file": is_master_file,
            "device_name": device_name,
            "file_type": "h5",
            "hinted_h5_entries": hinted_h5_entries,
        },
    )


def scan_history_message(
    *,
    scan_id: str,
    scan_number: int,
    dataset_number: int,
    file_path: str,
    exit_status: str,
    reason: str | None,
    start_time: float,
    end_time: float,
    scan_name: str,
    num_points: int | None,
    num_monitored_readouts: int | None,
    request_inputs: dict[str, Any] | None,
    stored_data_info: dict[str, dict[str, dict[str, Any]]],
) -> Message:
    """A scan is in its file. Times are seconds since 1970.

    stored_data_info: device -> signal -> {"shape", "dtype"}
    """
    return Message(
        "ScanHistoryMessage",
        {
            "scan_id": scan_id,
            "scan_number": scan_number,
            "dataset_number": dataset_number,
            "file_path": file_path,
            "exit_status": exit_status,
            "reason": reason,
            "start_time": start_time,
            "end_time": end_time,
            "scan_name": scan_name,
            "num_points": num_points,
            "num_monitored_readouts": num_monitored_readouts,
            "request_inputs": request_inputs,
            "stored_data_info": stored_data_info,
        },
    )


def file_content_message(
    file_path: str, data: dict[str, Any], scan_info: dict[str, Any]
) -> Message:
    """What is in a file."""
    return Message(
        "FileContentMessage", {"file_path": file_path, "data": data, "scan_info": scan_info}
    )


def alarm_message(
    severity: Literal[0, 1, 2],
    error_message: str,
    *,
    compact_error_message: str | None = None,
    exception_type: str,
    device: str | list[str] | None = None,
    metadata: dict[str, Any] | None = None,
) -> Message:
    """Something is wrong: severity 0 is a warning, 1 minor, 2 major."""
    info = {
        "id": str(uuid.uuid4()),
        "error_message": error_message,
        "compact_error_message": compact_error_message,
        "exception_type": exception_type,
        "device": device,
    }
    return Message("AlarmMessage", {"severity": severity, "info": info}, metadata or {})


def status_message(name: str, status: BECStatus, info: dict[str, Any]) -> Message:
    """A service lives. Whoever has not said so for 6 s is taken for dead."""
    return Message("StatusMessage", {"name": name, "status": status, "info": info})
