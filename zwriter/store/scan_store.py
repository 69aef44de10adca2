"""The store of one scan: where things lie, the root document, and what goes into it when it is
finished.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError, UsageError
from zwriter.model import Rejected, ScanState, Verdict
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.store.device import DeviceWriter
from zwriter.store.framed import FramedLog, read_frames
from zwriter.store.record import ScanRecord, journal_entry
from zwriter.store.whole import WholeArray
from zwriter.store.zarr_json import consolidated, group_json, read_json, sync_tree, write_json

FORMAT = 1
DEVICES = "entry/collection/devices"
_GROUPS = {
    "entry": {"NX_class": "NXentry"},
    "entry/collection": {"NX_class": "NXcollection"},
    DEVICES: {"NX_class": "NXcollection"},
}


def side_folder(path: Path) -> Path:
    """The folder beside a store that is there while the scan is not finalized."""
    return path.with_suffix(".zwriter")


class ScanStore:
    """A store opened for writing: created, or continued from its commits and its journal."""

    def __init__(
        self, path: Path, settings: StoreSettings, scan_id: str, scan_number: int | None
    ) -> None:
        if path.suffix != ".zarr":
            raise UsageError(f"{path}: the name of a store ends in .zarr")
        self.path = path
        self.settings = settings
        self._side = side_folder(path)
        begun = (path / "zarr.json").exists() or self._side.exists()
        if path.exists() and not begun and any(path.iterdir()):
            raise StoreError(f"{path} is not empty and not a store: choose another path")
        if (path / "zarr.json").exists() and not self._side.exists():
            raise UsageError(f"{path} is finished: choose another path, or remove it")
        (self._side / "commits").mkdir(parents=True, exist_ok=True)
        self._journal = FramedLog(self._side / "journal")
        self._quarantine = FramedLog(self._side / "quarantine")
        self._quarantine_bytes = 0
        self.record = ScanRecord.replay(read_frames(self._side / "journal"))
        self.scan_id = self.record.scan_id or scan_id
        self.scan_number = self.record.scan_number or scan_number
        self._root = self._open_root()
        self.devices = {
            folder.name: self._device(folder.name)
            for folder in sorted((self._side / "commits").iterdir())
        }

    def _open_root(self) -> dict[str, Any]:
        if (self.path / "zarr.json").exists():
            own: dict[str, Any] = read_json(self.path / "zarr.json")["attributes"]["zwriter"]
            return own
        for name, attributes in _GROUPS.items():
            (self.path / name).mkdir(parents=True, exist_ok=True)
            write_json(self.path / name / "zarr.json", group_json(attributes))
        own = {"format": FORMAT, "scan_id": self.scan_id, "scan_number": self.scan_number}
        own |= {"status": ScanState.OPEN, "verdict": None, "finished": False}
        own |= {"start_time": time.time(), "end_time": None}
        self._root = own
        self.show()
        return own

    def show(self, **changes: Any) -> None:
        """Write the root document, with `changes` of what zwriter says of the scan."""
        self._root |= changes
        attributes = {"NX_class": "NXroot", "default": "entry", "zwriter": self._root}
        write_json(self.path / "zarr.json", group_json(attributes))

    @property
    def finished(self) -> bool:
        return bool(self._root["finished"])

    @property
    def verdict(self) -> Verdict | None:
        return None if self._root["verdict"] is None else Verdict(self._root["verdict"])

    def device(self, name: str) -> DeviceWriter:
        """The writer of a device, new if it has none yet."""
        if name not in self.devices:
            self.devices[name] = self._device(name)
        return self.devices[name]

    def _device(self, name: str) -> DeviceWriter:
        return DeviceWriter(
            self.path / DEVICES / name, self._side / "commits" / name, self.settings
        )

    def journal(self, kind: str, name: str, raw: bytes) -> None:
        """Take in a control message. Raises BadMessage, and keeps nothing, if it cannot be read."""
        now = time.time()
        self.record.apply(kind, name, raw, now)
        self._journal.append(journal_entry(kind, name, raw, now))
        if kind == "status":
            self.show(
                scan_id=self.record.scan_id,
                scan_number=self.record.scan_number,
                status=self.record.status,
                start_time=self.record.start_time,
                end_time=self.record.end_time,
            )

    def quarantine(self, rejected: Rejected) -> None:
        """Keep, raw, what could not be written; nothing more once the limit is reached."""
        source = rejected.source
        raw = source.raw if source else b""
        position = source.position if source else None
        stream, entry = (position.stream, position.entry) if position else ("", "")
        if self._quarantine_bytes + len(raw) > self.settings.quarantine_bytes:
            raw = b""
        self._quarantine_bytes += len(raw)
        when = rejected.time or time.time()
        fields = [when, rejected.device, rejected.signal, stream, entry, rejected.reason, raw]
        self._quarantine.append(msgpack.packb(fields))

    @property
    def has_quarantined(self) -> bool:
        """Whether there is anything that could not be written, now or before a restart."""
        return (self._side / "quarantine").stat().st_size > 0

    def write_points(self) -> None:
        """What was read at scan points, as arrays; all of it each time: sync data are small."""
        settings = SignalSettings(codec=self.settings.default.codec)
        for device, signals in self.record.sync_signals().items():
            folder = self.path / DEVICES / device
            own = self.devices[device].signals if device in self.devices else {}
            if not (folder / "zarr.json").exists():
                folder.mkdir(parents=True, exist_ok=True)
                write_json(folder / "zarr.json", group_json({"NX_class": "NXcollection"}))
            for signal, data in signals.items():
                group = folder / (f"{signal}_sync" if signal in own else signal)
                if isinstance(data.values, list) or isinstance(data.timestamps, list):
                    continue  # ragged readings are in the journal, and in the master file
                columns = {"value": data.values, "timestamp": data.timestamps}
                self._write_columns(group, columns | {"point_id": data.point_ids}, settings)

    def _write_columns(
        self, group: Path, columns: dict[str, NDArray[Any]], settings: SignalSettings
    ) -> None:
        if not (group / "zarr.json").exists():
            group.mkdir(parents=True, exist_ok=True)
            own = {"layout": "points", "mode": None, "max_shape": None}
            attributes = {"NX_class": "NXdata", "signal": "value", "zwriter": own}
            write_json(group / "zarr.json", group_json(attributes))
        for name, values in columns.items():
            axes = [f"{group.name}_{axis}" for axis in range(1, values.ndim)]
            dimensions = [f"{group.name}_point", *axes]
            WholeArray(group / name, settings, None).write(values, dimensions, {})

    def finish(self, verdict: Verdict) -> None:
        """Seal everything and put what lies beside the store into it. Can be repeated."""
        self.write_points()
        for device in self.devices.values():
            device.seal()
        for name in ("journal", "quarantine"):
            self._store_frames(name, read_frames(self._side / name))
        attributes = {"configuration": _plain(self.record.configuration)}
        self._write_group("entry/collection/configuration", attributes)
        self._write_group("entry/collection/baseline", {"baseline": _plain(self.record.baseline)})
        self._write_group("entry/collection/metadata", {"bec": _plain(self.record.info)})
        self.show(verdict=verdict, end_time=self._root["end_time"] or time.time())
        document = consolidated(self.path)
        self._root["finished"] = document["attributes"]["zwriter"]["finished"] = True
        if self.settings.durability != "none":
            sync_tree(self.path)
        write_json(self.path / "zarr.json", document, sync=self.settings.durability != "none")

    def _write_group(self, name: str, attributes: dict[str, Any]) -> None:
        (self.path / name).mkdir(parents=True, exist_ok=True)
        document = group_json({"NX_class": "NXcollection", **attributes})
        write_json(self.path / name / "zarr.json", document)

    def _store_frames(self, name: str, frames: Iterable[bytes]) -> None:
        payloads = list(frames)
        offsets = np.cumsum([0, *map(len, payloads)], dtype=np.int64)
        value = np.frombuffer(b"".join(payloads), np.uint8)
        self._write_group("entry/zwriter", {})
        self._write_group(f"entry/zwriter/{name}", {})
        folder = self.path / "entry/zwriter" / name
        WholeArray(folder / "value", SignalSettings(), None).write(value, [f"{name}_byte"], {})
        WholeArray(folder / "offsets", SignalSettings(), None).write(
            offsets, [f"{name}_offset"], {}
        )

    def sync(self) -> None:
        """Return when the journal is on the disk."""
        self._journal.sync()

    def close(self) -> None:
        """Let go of all files. A finished store loses what only served while it was open."""
        self._journal.close()
        self._quarantine.close()
        if self.finished:
            for device in self.devices.values():
                device.trim()
            shutil.rmtree(self._side)
        for device in self.devices.values():
            device.close()


def _plain(value: Any) -> Any:
    """`value` as JSON has it: for reading by people; the journal has it exactly."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
