"""The store of one scan: opened, described by its root document, finished, cleaned up."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from zwriter.errors import PlaceTaken, StoreError, UsageError
from zwriter.failpoint import failpoint
from zwriter.model import Rejected, ScanState, Source, Verdict
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.store.commits import CommitLog
from zwriter.store.device import DeviceWriter
from zwriter.store.disk import (
    make_folder,
    remove,
    step,
    sync_file,
    sync_folder,
    sync_tree,
    temporary_of,
)
from zwriter.store.epochs import EPOCHS, Epoch
from zwriter.store.finishing import remove_leftovers, store_log, store_readings
from zwriter.store.framed import FramedLog, read_frames
from zwriter.store.held import HeldFolder
from zwriter.store.layout import (
    DEVICES,
    FED_BY,
    FORMAT,
    GROUPS,
    LOGS,
    check_store_name,
    own_attributes,
    side_folder,
)
from zwriter.store.points import write_points
from zwriter.store.quarantine import Quarantine
from zwriter.store.record import ScanRecord, journal_entry
from zwriter.store.takeover import TakeOver, clear_away
from zwriter.store.zarr_json import consolidated, group_json, read_json, write_json

_READING = 0.1  # seconds that other readers than ours may take between a shard's index and a chunk


class ScanStore:
    """A store opened for writing: created, or continued from its commits and its journal.

    Raises UsageError for a path that cannot be used, StoreError for a store that is damaged, Fenced
    when another writer was quicker to take it over.
    """

    def __init__(
        self, path: Path, settings: StoreSettings, scan_id: str | None, scan_number: int | None
    ) -> None:
        side = side_folder(path)
        _check_usable(path, side, scan_id)
        self.path = path
        self.settings = settings
        self.devices: dict[str, DeviceWriter] = {}
        self._root: dict[str, Any] = {}
        self._sync = settings.durability != "none"
        self._sealed = 0.0  # when
        self.left_at = _last_written(side)
        self._closing = ExitStack()
        try:
            self._open(side, scan_id, scan_number)
        except BaseException:
            self.close(keep=True)
            raise

    def _open(self, side: Path, scan_id: str | None, scan_number: int | None) -> None:
        make_folder(side / "commits", sync=self._sync)
        self._epoch = Epoch(side, self.settings.durability, scan_id)
        self._closing.callback(self._epoch.close)
        lost = []
        if self._epoch.alone or _finished(self.path):
            clear_away(self.path, side)
        else:
            lost = TakeOver(self.path, side, DEVICES, self._epoch, self._sync).run()
        make_folder(self.path, sync=self._sync)
        self._tree = self._hold(self.path)
        self._side = self._hold(side)
        self._epoch.check()  # what we hold is ours, not a successor's
        self._journal = FramedLog(self._side / "journal", self._epoch.check)
        self._closing.callback(self._journal.close)
        self._quarantine = Quarantine(
            self._side / "quarantine", self.settings.quarantine_bytes, self._epoch.check
        )
        self._closing.callback(self._quarantine.close)
        self.record = ScanRecord.replay(read_frames(self._side / "journal"))
        known = own_attributes(self._tree)
        found: str | None = self.record.scan_id or known.get("scan_id") or scan_id
        self.scan_id = found or str(uuid4())
        numbers = self.record.scan_number, known.get("scan_number"), scan_number
        self.scan_number = next((number for number in numbers if number is not None), None)
        self._root = self._open_root(known)
        for folder in sorted((self._side / "commits").iterdir()):
            if not self.finished or self._ends_with(folder):
                self.device(folder.name)
        self._quarantine.expect_again(self.positions)
        for rest in lost:
            reason = "what follows in the journal was damaged when the power failed"
            self.quarantine(Rejected("", "journal", reason, Source(rest)))

    def _hold(self, folder: Path) -> Path:
        held = HeldFolder(folder)
        self._closing.callback(held.close)
        return held.path

    def _open_root(self, known: dict[str, Any]) -> dict[str, Any]:
        own = known or {
            "format": FORMAT,
            "scan_id": self.scan_id,
            "scan_number": self.scan_number,
            "status": self.record.status or ScanState.OPEN,
            "verdict": None,
            "finished": False,
            "start_time": self.record.start_time or time.time(),
            "end_time": self.record.end_time,
        }
        if not own["finished"]:
            for name, attributes in GROUPS.items():
                if not (self._tree / name / "zarr.json").exists():
                    make_folder(self._tree / name)
                    write_json(self._tree / name / "zarr.json", group_json(attributes))
            self._write_root(own)
            if self._sync:
                sync_tree(self._side)
                for name in ("", *GROUPS):
                    sync_file(self._tree / name / "zarr.json")
                    sync_folder(self._tree / name)
        return own

    def _ends_with(self, folder: Path) -> bool:
        """Whether the finished store has the device as the commits in `folder` say; if not, a
        writer died while it removed them, and they say nothing any more.
        """
        last = next(CommitLog(folder).readable(), None)
        document = read_json(self._tree / DEVICES / folder.name / "zarr.json")
        return bool(document["attributes"]["zwriter"] == last)

    def show(self, **changes: Any) -> None:
        """Write the root document, with `changes` of what zwriter says of the scan."""
        self._root |= changes
        self._write_root(self._root)

    def _write_root(self, own: dict[str, Any]) -> None:
        attributes = {"NX_class": "NXroot", "default": "entry", "zwriter": own}
        write_json(self._tree / "zarr.json", group_json(attributes))

    @property
    def finished(self) -> bool:
        return bool(self._root.get("finished"))

    @property
    def verdict(self) -> Verdict | None:
        return None if self._root["verdict"] is None else Verdict(self._root["verdict"])

    @property
    def positions(self) -> dict[str, str]:
        """Stream -> id of the last entry whose rows are taken: where to read on."""
        found: dict[str, str] = {}
        for device in self.devices.values():
            found |= device.positions
        return found

    def device(self, name: str) -> DeviceWriter:
        """The writer of a device, new if it has none yet. Raises Fenced."""
        if name not in self.devices:
            self._epoch.check()
            device = DeviceWriter(
                self._tree / DEVICES / name,
                self._side / "commits" / name,
                self.settings,
                self._epoch.check,
            )
            if not self.finished:
                device.claim()
            self.devices[name] = device
        return self.devices[name]

    def commit(self, device: DeviceWriter) -> None:
        """Commit what the device has published. Raises Fenced."""
        if device.to_be_synced:
            self.sync()
        device.commit()

    def check(self) -> None:
        """Raises Fenced if another writer has taken over."""
        self._epoch.check()

    def distrust(self) -> None:
        """Have a successor check all that we wrote."""
        self._epoch.distrust()

    def sync(self) -> None:
        """Return when journal and quarantine are on the disk."""
        self._journal.sync()
        self._quarantine.sync()

    def journal(self, kind: str, name: str, raw: bytes) -> None:
        """Take in a control message. Raises BadMessage, and keeps nothing, if it cannot be read;
        Fenced when another writer has taken over.
        """
        self._epoch.check()
        now = time.time()
        self.record.apply(kind, name, raw, now)
        failpoint("journal.appending")
        self._journal.append(journal_entry(kind, name, raw, now))
        failpoint("journal.appended")
        if kind == "status":
            self.show(
                scan_id=self.record.scan_id,
                scan_number=self.record.scan_number,
                status=self.record.status,
                start_time=self.record.start_time,
                end_time=self.record.end_time,
            )

    def quarantine(self, rejected: Rejected) -> None:
        """Keep, raw, what could not be written."""
        self._quarantine.keep(rejected)

    @property
    def quarantine_room(self) -> int:
        """How many bytes more can be kept of what cannot be written."""
        return self._quarantine.room

    @property
    def has_quarantined(self) -> bool:
        """Whether there is anything that could not be written, now or before a restart."""
        return bool(self._quarantine)

    def write_points(self, *, last: bool = False) -> None:
        """What was read at scan points, as arrays; last: with nothing that only served while there
        were more and more of them."""
        settings = SignalSettings(codec=self.settings.default.codec)
        self._epoch.check()
        write_points(self.record, self._tree / DEVICES, self.devices, settings, last=last)

    def seal(self) -> None:
        """Write what is left, and make every shard an HDF5 file. Only when all is committed."""
        self.write_points(last=True)
        for device in self.devices.values():
            device.seal()
        self._sealed = time.monotonic()

    @step
    def finish(self, verdict: Verdict) -> None:
        """Put what lies beside the store into it. Only after `seal`; can be repeated."""
        for name in LOGS:
            store_log(self._tree, self._side / name)
        failpoint("finish.frames")
        store_readings(self._tree, self.record)
        self.show(verdict=verdict, end_time=self._root["end_time"] or time.time())
        remove_leftovers(self._tree)
        document = consolidated(self._tree)
        document["attributes"]["zwriter"]["finished"] = True
        failpoint("finish.consolidated")
        if self._sync:
            self.sync()  # what lies beside a finished store is read until it is cleaned up
            sync_tree(self._tree)
        failpoint("finish.synced")
        write_json(self._tree / "zarr.json", document, sync=self._sync)
        failpoint("finish.finished")
        self._epoch.check()
        self._root["finished"] = True

    def close(self, *, keep: bool = False) -> None:
        """Let go of all files. A finished store loses what only served while it was open, unless
        all is to be kept.
        """
        try:
            if self.finished and not keep:
                self._clean_up()
        finally:
            for device in self.devices.values():
                device.close()
            self._closing.close()

    @step
    def _clean_up(self) -> None:
        time.sleep(max(0.0, self._sealed + _READING - time.monotonic()))
        for device in self.devices.values():
            device.trim()
        remove(Path(temporary_of(self._tree / "zarr.json")))
        failpoint("finish.trimmed")
        # the mark of a service first: what has none beside a finished store is being removed
        (self._side / FED_BY).unlink(missing_ok=True)
        self._journal.close()  # what is open stays on NFS, under another name
        self._quarantine.close()
        for entry in sorted(self._side.iterdir(), key=lambda entry: entry.name == EPOCHS):
            if entry.name == EPOCHS:
                self._epoch.close()
            remove(entry)
        with suppress(OSError):  # of a scan that has begun at this place since then
            side_folder(self.path).rmdir()
        failpoint("finish.cleaned")


def _check_usable(path: Path, side: Path, scan_id: str | None) -> None:
    check_store_name(path)
    if file := next((folder for folder in (path, *path.parents) if folder.is_file()), None):
        raise UsageError(f"{path}: {file} is a file; choose another path")
    if side.is_symlink():  # what is there is removed in the end
        raise UsageError(f"{side} is a link; remove it, or choose another path")
    found = own_attributes(path).get("scan_id")
    if scan_id and found not in (None, scan_id):  # it may be alive: nothing of it is touched
        raise PlaceTaken(f"{path} has another scan, {found}: choose another path")
    if side.exists():
        return
    if _finished(path):
        raise UsageError(f"{path} is finished: choose another path, or remove it")
    if own_attributes(path):
        raise StoreError(f"{path} is not finished, but {side}, which lay beside it, is not there")
    if path.exists() and any(path.iterdir()):
        raise StoreError(f"{path} is not empty and not a store: choose another path")


def _last_written(side: Path) -> float | None:
    """When a writer before us wrote last, in seconds since 1970; None if there was none."""
    with suppress(FileNotFoundError):  # it may be alive
        times = [entry.stat().st_mtime for entry in side.rglob("*") if entry.is_file()]
        return max(times, default=None)
    return time.time()


def _finished(path: Path) -> bool:
    return bool(own_attributes(path).get("finished"))
