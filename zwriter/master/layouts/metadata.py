"""The scan's metadata, put together as BEC does it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from zwriter.protocol.codec import Message
from zwriter.protocol.keys import safe_name
from zwriter.store.record import ScanRecord


def metadata(record: ScanRecord) -> dict[str, Any]:
    """What goes to `/entry/collection/metadata`: `bec` (info, status, reason, the command that was
    typed), the times, and the user's own entries, which cannot replace those."""
    bec = dict(record.info)
    if record.status is not None:
        bec |= {"status": str(record.status), "reason": record.reason}
    bec["scan_cli_input"] = command(bec)
    times = {"start_time": iso(record.start_time), "end_time": iso(record.end_time)}
    return _user_metadata(record) | {"bec": bec} | times


def iso(time: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC, with the zone that BEC leaves out."""
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat()


def command(info: Mapping[str, Any]) -> str:
    """The call with which the scan was started, as its user would type it."""
    name, inputs = info.get("scan_name"), _fields(info.get("request_inputs"))
    if not isinstance(name, str) or not name:
        return "scans.unknown()"
    bundle = inputs.get("arg_bundle")
    arguments = [_literal(value) for value in bundle] if isinstance(bundle, list) else []
    for group in ("inputs", "kwargs"):
        arguments += [f"{k}={_literal(v)}" for k, v in _fields(inputs.get(group)).items()]
    return f"scans.{name}({', '.join(arguments)})"


def readout_priority(record: ScanRecord) -> dict[str, list[str]]:
    """Which devices are read when: `baseline`, `monitored`, `async` and others."""
    said = record.status_message.readout_priority if record.status_message else {}
    priority = _fields(record.info.get("readout_priority")) or said
    return {name: _names(devices) for name, devices in priority.items()}


def motors(record: ScanRecord) -> list[str]:
    """The devices that the scan moves, in the order in which it reports them."""
    said = record.status_message.scan_report_devices if record.status_message else None
    return _names(record.info.get("scan_report_devices") or said)


def experiment(record: ScanRecord) -> dict[str, Any]:
    """The experiment of the session in which the scan ran, as the deployment says; may be empty."""
    fields = _fields(record.deployment)
    for name in ("active_session", "experiment"):
        fields = _fields(fields.get(name))
    return fields


def user(experiment: Mapping[str, Any]) -> dict[str, str]:
    """Name and role of who is responsible for the experiment; empty when nobody is named."""
    for prefix, role in (("", "proposer"), ("pi_", "principal_investigator")):
        parts = [experiment.get(f"{prefix}{part}") for part in ("firstname", "lastname")]
        if name := " ".join(part for part in parts if isinstance(part, str) and part):
            return {"name": name, "role": role}
    return {}


def _user_metadata(record: ScanRecord) -> dict[str, Any]:
    for fields in (record.info, _fields(record.info.get("metadata"))):
        if found := _fields(fields.get("user_metadata")):
            return found
    return record.status_message.user_metadata if record.status_message else {}


def _fields(value: Any) -> dict[str, Any]:
    """The fields of a message or of a map; empty for anything else."""
    if isinstance(value, Message):
        return value.data
    return value if isinstance(value, dict) else {}


def _names(value: Any) -> list[str]:
    return [name for name in value if safe_name(name)] if isinstance(value, list) else []


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(k)}: {_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)
