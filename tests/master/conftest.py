"""The captured scan as a finished store, made without a Redis and without the service."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from zwriter.model import Position, Source
from zwriter.protocol import decode, keys, updates_in
from zwriter.scan import ScanWriter

CAPTURE = Path(__file__).parents[1] / "data" / "bec_line_scan_add.msgpack.gz"
CONFIGURATION = "info/devices/read_configuration/"


@pytest.fixture(scope="session")
def captured_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished store of the captured scan; not to be changed."""
    return write_captured_scan(tmp_path_factory.mktemp("captured") / "S00001.zarr")


def write_captured_scan(path: Path) -> Path:
    """What the service does with the messages of the captured scan, in their order."""
    scan = ScanWriter(path)
    opened, configuration = False, {}
    for name, key, raw in _commands():
        if name == "SET" and key.startswith(CONFIGURATION):
            configuration[key.removeprefix(CONFIGURATION)] = raw
        if name == "SET" and key == keys.scan_status():
            scan.journal("status", "", raw)
            opened = True
        if not opened:
            continue
        for device, reading in configuration.items():
            scan.journal("config", device, reading)
        configuration.clear()
        if name == "SET" and key == keys.scan_baseline():
            scan.journal("baseline", "", raw)
        if name == "PUBLISH" and key == keys.scan_segment():
            scan.journal("segment", "", raw)
        if name == "XADD" and key.startswith("info/devices/async_"):
            _, device, _ = keys.parse_async_stream(key)
            scan.apply(updates_in(decode(raw), device, Source(raw, Position(key, "0-1"))))
    scan.finish(scan.record.status)
    scan.close()
    return path


def _commands() -> Iterator[tuple[str, str, Any]]:
    """(command, key, last argument) of each captured command."""
    with gzip.open(CAPTURE) as file:
        captured = msgpack.Unpacker(file, raw=False, strict_map_key=False)
        next(captured)
        for _, (name, key, *arguments) in captured:
            command, at = name.decode(), -1 if name == b"XADD" else 0
            yield command, key.decode(), arguments[at] if arguments else b""
