"""The names of BEC's Redis keys, channels and streams: one function each.

With "*" for an argument the result is a pattern for SCAN or PSUBSCRIBE; `escape` the others then.
"""

from __future__ import annotations

import re
from functools import lru_cache

from zwriter.errors import BadMessage

# a key's time to live, in seconds
POINT_TTL = 1800
ASYNC_TTL = 600
INDEX_TTL = 3600
FILE_TTL = 3600
STATUS_TTL = 6

MAX_NAME_BYTES = 240

_ASYNC_SIGNAL = "info/devices/async_signal/"
_ASYNC_READBACK = "info/devices/async_readback/"
_READ_CONFIGURATION = "info/devices/read_configuration/"
_PUBLIC = "info/public/"


def readable(text: str) -> str:
    """A text with keys in it as UTF-8 can have it: Redis' keys are bytes of any kind."""
    return text.encode("utf-8", "backslashreplace").decode()


def safe_name(name: object) -> bool:
    """Whether a scan, device or signal may be called so: it becomes part of keys, paths and nodes.

    1 to 240 bytes of printable UTF-8 without `/`, backslash and `..`, and none of the names that
    Zarr keeps for itself. What zwriter appends to it fits into the 255 bytes of a file system.
    """
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME_BYTES and _safe(name)


@lru_cache(maxsize=4096)  # asked for every signal of every message
def _safe(name: str) -> bool:
    return (
        name.isprintable()
        and len(name.encode()) <= MAX_NAME_BYTES
        and not any(part in name for part in ("/", "\\", ".."))
        and name not in (".", "zarr.json")
        and not name.startswith("__")
    )


def escape(text: str) -> str:
    """`text` as a Redis glob pattern that matches only itself."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)


def scan_status() -> str:
    return "info/scans/scan_status"


def scan_segment() -> str:
    return "info/scans/scan_segment"


def scan_segment_point(scan: str, point: int | str) -> str:
    return f"{_PUBLIC}{scan}/scan_segment/{point}"


def scan_baseline() -> str:
    return "info/scans/scan_baseline"


def scan_baseline_of(scan: str) -> str:
    return f"{_PUBLIC}{scan}/scan_baseline"


def scan_info(scan: str) -> str:
    return f"{_PUBLIC}{scan}/scan_info"


def scan_file(scan: str, name: str) -> str:
    return f"{_PUBLIC}{scan}/file/{name}"


def async_signal(scan: str, device: str, name: str) -> str:
    return f"{_ASYNC_SIGNAL}{scan}/{device}/{name}"


def async_signal_index(scan: str, device: str, name: str) -> str:
    return f"info/devices/async_signal_index/{scan}/{device}/{name}"


def async_readback(scan: str, device: str) -> str:
    return f"{_ASYNC_READBACK}{scan}/{device}"


def device_info(device: str) -> str:
    return f"info/devices/info/{device}"


def device_config() -> str:
    return "info/devices/config"


def read_configuration(device: str) -> str:
    return f"{_READ_CONFIGURATION}{device}"


def available_beamline_states() -> str:
    return "user/available_beamline_states"


def beamline_state(name: str) -> str:
    return f"user/beamline_state/{name}"


def account() -> str:
    return "info/account"


def deployment_info() -> str:
    return "info/deployment/deployment_info"


def scan_history() -> str:
    return "info/scans/scan_history"


def file_content() -> str:
    return "internal/internal/file_content"


def alarms() -> str:
    return "user/alarms"


def service_status(name: str) -> str:
    return f"user/services/status/{name}"


def async_stream_patterns(scan: str) -> tuple[str, str]:
    """Patterns that match every async stream of a scan, of both kinds, and nothing else."""
    return async_signal(escape(scan), "*", "*"), async_readback(escape(scan), "*")


def parse_async_stream(key: str | bytes) -> tuple[str, str, str]:
    """(scan, device, name) of an async stream; the older readback streams have the name "".

    Raises BadMessage when it is not such a key or a part of it is no safe name.
    """
    text = _text(key)
    if text.startswith(_ASYNC_SIGNAL):
        scan, device, name = _parts(text, _ASYNC_SIGNAL, 3)
        return scan, device, name
    if text.startswith(_ASYNC_READBACK):
        scan, device = _parts(text, _ASYNC_READBACK, 2)
        return scan, device, ""
    raise BadMessage(f"{text[:300]!r} is not the key of an async stream")


def parse_scan_file(key: str | bytes) -> tuple[str, str]:
    """(scan, name) of `info/public/<scan>/file/<name>`. Raises BadMessage."""
    scan, _, name = _parts(_text(key), _PUBLIC, 3)
    return scan, name


def parse_read_configuration(key: str | bytes) -> str:
    """The device of `info/devices/read_configuration/<device>`. Raises BadMessage."""
    return _parts(_text(key), _READ_CONFIGURATION, 1)[0]


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode("utf-8", "backslashreplace")


def _parts(key: str, prefix: str, count: int) -> tuple[str, ...]:
    parts = key.removeprefix(prefix).split("/")
    if not key.startswith(prefix) or len(parts) != count or not all(map(safe_name, parts)):
        raise BadMessage(f"{key[:300]!r} does not name {count} parts after {prefix!r}")
    return tuple(parts)
