"""A scan, live or finished, as it is at one moment."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from zwriter.errors import StoreError, UsageError
from zwriter.model import ScanState, Verdict
from zwriter.objects import AnyPath, each
from zwriter.protocol.messages import BeamlineState, FileReference
from zwriter.reader.abandoned import abandoned, is_dead
from zwriter.reader.commits import DeviceCommit, read_commit
from zwriter.reader.devices import Device
from zwriter.reader.gaps import gaps
from zwriter.reader.journal import Journal
from zwriter.reader.location import Location
from zwriter.reader.pieces import Pieces
from zwriter.reader.quarantine import Quarantined, quarantined
from zwriter.reader.signals import Signal
from zwriter.store.layout import DEVICES, FORMAT
from zwriter.store.record import DeviceReadings, ScanRecord

_QUIET = 5.0  # seconds without news until it is asked whether a writer is alive


def open_scan(path: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None) -> Scan:
    """The scan in the store `path`, a `<base>.zarr` folder, which may still be written.

    path: on a disk, or `s3://bucket/prefix/<base>.zarr`; storage_options: for the latter, endpoint,
    keys and so on (docs/object-store.md); default: what the environment says.
    Raises UsageError if there is no such folder, or it is another one, StoreError if it is not a
    scan store, OSError if it may not be read; for an object store ServiceError, here and in all
    that reads, if it refuses or cannot be reached.
    """
    return Scan(Location(path, storage_options))


class Scan:
    """A scan as it was when it was opened or last refreshed.

    Every device is as of its last commit, so arrays that belong together have lengths that do; what
    is written later appears after `refresh()`. Devices and signals taken before stay as they were.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._journal, self._pieces = Journal(location), Pieces(location)
        self._look()

    def _look(self) -> None:
        self._root = root_attributes(self._location)
        self._journal_size = self._journal.size
        names = self._location.folders(DEVICES)
        commits = each(self.path, lambda name: read_commit(self._location, name), names)
        self._commits = {n: commit for n, commit in zip(names, commits, strict=True) if commit}
        self._devices: dict[str, Device] | None = None

    @property
    def path(self) -> AnyPath:
        return self._location.path

    @property
    def scan_id(self) -> str | None:
        scan_id: str | None = self._root.get("scan_id")
        return scan_id

    @property
    def scan_number(self) -> int | None:
        number: int | None = self._root.get("scan_number")
        return number

    @property
    def status(self) -> ScanState | None:
        """BEC's word for the state of the scan; None if no message has told it."""
        status = self._root.get("status")
        return ScanState(status) if status else None

    @property
    def verdict(self) -> Verdict | None:
        """What the scan is; None until it is finished."""
        verdict = self._root.get("verdict")
        return Verdict(verdict) if verdict else None

    @property
    def finished(self) -> bool:
        """Nothing more will come: every array is sealed."""
        return bool(self._root.get("finished"))

    @property
    def abandoned(self) -> str | None:
        """That nobody writes it any more, and what to do about it; None for a finished scan, and
        where that is not known: it is on a disk, on the machine of the writer."""
        return None if self.finished else abandoned(self._location)

    @property
    def start_time(self) -> float | None:
        """Seconds since 1970."""
        start: float | None = self._root.get("start_time")
        return start

    @property
    def end_time(self) -> float | None:
        """Seconds since 1970; None until the scan has ended."""
        end: float | None = self._root.get("end_time")
        return end

    @property
    def commits(self) -> Mapping[str, DeviceCommit]:
        """The commit of each device that has made one."""
        return self._commits

    @property
    def devices(self) -> Mapping[str, Device]:
        """All devices with data: those that push it, and those that are read at scan points."""
        if self._devices is None:
            self._devices = self._make_devices()
        return self._devices

    def _make_devices(self) -> dict[str, Device]:
        sync = self.record.sync_signals()
        return {
            name: Device(
                self._location,
                name,
                self._commits.get(name),
                sync.get(name, {}),
                self._pieces,
                live=not self.finished,
            )
            for name in sorted(self._commits.keys() | sync.keys())
        }

    @property
    def sync(self) -> dict[str, dict[str, Signal]]:
        """The signals that are read at scan points, by device."""
        of_points = {
            name: {key: signal for key, signal in device.items() if signal.layout == "points"}
            for name, device in self.devices.items()
        }
        return {name: signals for name, signals in of_points.items() if signals}

    @property
    def record(self) -> ScanRecord:
        """What the control messages say, up to now. Raises StoreError if the journal is damaged."""
        return self._journal.record()

    @property
    def baseline(self) -> DeviceReadings:
        """device -> signal -> {value, timestamp}, read once at the start."""
        return self.record.baseline

    @property
    def configuration(self) -> DeviceReadings:
        """device -> signal -> {value, timestamp} of the devices' configuration."""
        return self.record.configuration

    @property
    def metadata(self) -> dict[str, Any]:
        """What the scan server says of the scan (`metadata/bec` in the master file)."""
        return self.record.info

    @property
    def file_references(self) -> dict[str, FileReference]:
        """Files that devices wrote themselves."""
        return self.record.file_references

    @property
    def states(self) -> dict[str, list[BeamlineState]]:
        """The beamline states and how they changed."""
        return self.record.states

    @property
    def quarantine(self) -> Iterator[Quarantined]:
        """What could not be written, as it came, with the reasons. Raises StoreError if that is
        damaged."""
        return quarantined(self._location)

    def gaps(self) -> list[str]:
        """What is known to be missing, a line each; of a live scan, up to now."""
        return list(gaps(self.devices, self.record, self.quarantine))

    def summary(self) -> dict[str, Any]:
        """The scan in a form that JSON can hold, as `zwriter show --json` prints it: all that is
        known of it and, for each signal, what was expected, received and written; `lag` is each
        device's, see `DeviceCommit`.

        No array is opened: this is quick for any size of scan.
        """
        return {
            "path": str(self.path),
            "scan_id": self.scan_id,
            "scan_number": self.scan_number,
            "status": self.status,
            "verdict": self.verdict,
            "finished": self.finished,
            "abandoned": self.abandoned,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "lag": {name: commit.lag for name, commit in self.commits.items()},
            "devices": {
                name: {signal: device.facts(signal) for signal in device}
                for name, device in self.devices.items()
            },
        }

    def refresh(self) -> bool:
        """Look again. True if there was anything new: a commit, a message, another status."""
        before = (self._root, self._marks(), self._journal_size)
        self._look()
        return before != (self._root, self._marks(), self._journal_size)

    def follow(self, interval: float = 0.2, timeout: float | None = None) -> Iterator[Scan]:
        """Yield this scan as it is, and again each time something is new, until it is finished, or
        its writer is dead and nothing came for 5 s: a service may be back in a moment.

        interval: seconds between looks; timeout: give up after so many seconds without news.
        """
        yield self
        news = asked = time.monotonic()
        while not self.finished:
            if self.refresh():
                yield self
                news = asked = time.monotonic()
                continue
            now = time.monotonic()
            if timeout is not None and now - news > timeout:
                return
            if now - asked > _QUIET:
                if is_dead(self._location):
                    return
                asked = now
            time.sleep(interval)

    def _marks(self) -> dict[str, tuple[int, int]]:
        return {name: (commit.epoch, commit.seq) for name, commit in self._commits.items()}

    def __repr__(self) -> str:
        return (
            f"<Scan {self.scan_number} {self.status or 'unknown'}, "
            f"{self.verdict or 'live'}: {', '.join(self.devices) or 'no devices'} ({self.path})>"
        )


def root_attributes(location: Location) -> dict[str, Any]:
    """What the root group says of the scan.

    Raises UsageError if there is nothing at all, or another folder, StoreError if this is not a
    scan store.
    """
    document = location.metadata("")
    if document is not None:
        return scan_attributes(document, location)
    if not location.path.is_dir():
        raise UsageError(f"{location}: no such scan store; give the path of a <base>.zarr folder")
    if location.path.suffix == ".zarr":
        raise StoreError(f"{location}: not a scan store of zwriter (it has no zarr.json)")
    raise UsageError(
        f"{location} is no scan store; give the path of a <base>.zarr folder: `zwriter ls"
        f" {location}` lists those in it"
    )


def is_of_others(document: dict[str, Any]) -> bool:
    """Whether a root document is that of a Zarr group, or array, which another program wrote."""
    attributes = document.get("attributes", {})
    whole = document.get("zarr_format") == 3 and isinstance(attributes, dict)
    return whole and "node_type" in document and "zwriter" not in attributes


def scan_attributes(document: dict[str, Any], location: Location) -> dict[str, Any]:
    """What a root document says of the scan. Raises StoreError if it says nothing of one."""
    attributes = document.get("attributes", {})
    root = attributes.get("zwriter") if isinstance(attributes, dict) else None
    if not isinstance(root, dict):
        raise StoreError(f"{location}: not a scan store of zwriter (its zarr.json does not say so)")
    if "format" in root and "scan_id" not in root:
        raise StoreError(f"{location}: a part of a scan store; give the path of its <base>.zarr")
    if root.get("format") != FORMAT:
        raise StoreError(
            f"{location}: format {root.get('format')}; this zwriter reads {FORMAT}: update zwriter"
        )
    return root
