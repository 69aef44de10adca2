"""What is fuzzed. A target takes one input; whatever it raises is a fault of zwriter's.

What belongs to many inputs, a store that they go to, is looked at in `close`.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zwriter import ScanWriter, open_scan, verify
from zwriter.errors import BadMessage
from zwriter.master.layouts.metadata import experiment, metadata, motors, readout_priority, user
from zwriter.master.layouts.reference import reference_tree
from zwriter.master.tree import describe_group
from zwriter.model import Add, Position, Rejected, Source, Update
from zwriter.protocol import CONTROL, DATA, Message, ScanStatus, decode, encode, messages_in
from zwriter.protocol.alike import Alike
from zwriter.protocol.updates import updates_in
from zwriter.raw import Messages
from zwriter.service.paths import paths_for
from zwriter.settings import MasterSettings, Settings, SignalSettings, StoreSettings
from zwriter.store.record import ScanRecord, journal_entry

LONGEST_REASON = 1000
LARGEST_SCAN = 2**31  # bytes in files, of a thousand inputs: rows without data may be 1 GiB of it
KINDS = ("status", "segment", "baseline", "config", "file", "state", "deployment", "account", "?")
SMALL = StoreSettings(
    flush_interval=60,
    durability="none",
    max_signals=40,
    quarantine_bytes=1_000_000,
    default=SignalSettings(chunk_bytes=64),
)


@contextmanager
def one_line() -> Iterator[None]:
    """BadMessage is fine, if it says in one line what is wrong."""
    try:
        yield
    except BadMessage as error:
        text = str(error)
        if "\n" in text or len(text) > LONGEST_REASON:
            raise ValueError("a reason that is no line") from error


class Target:
    """Its name is the class's, in small letters."""

    inputs_each = 1000  # until it is closed, and another takes its place

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, raw: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """What can only be seen at the end."""


def updates_of(raw: bytes, entry: str) -> list[Update | Rejected]:
    """What a message of a stream becomes."""
    source = Source(raw, Position("stream", entry))
    try:
        messages = messages_in(raw, DATA)
    except BadMessage as error:
        return [Rejected("dev", "", str(error), source, 1.0)]
    return [update for message in messages for update in updates_in(message, "dev", source)]


class Decode(Target):
    """A message, or BadMessage in one line; and what was read can be written again."""

    def __call__(self, raw: bytes) -> None:
        for limits in (DATA, CONTROL):
            with one_line():
                message = decode(raw, limits)
                assert isinstance(message, Message)
                encode(message)


class Updates(Target):
    """Updates with good names, or reasons in one line."""

    def __call__(self, raw: bytes) -> None:
        for item in updates_of(raw, "1-0"):
            assert item.device == "dev"
            assert "/" not in item.signal
            if isinstance(item, Rejected):
                assert "\n" not in item.reason
                assert len(item.reason) < LONGEST_REASON


class Status(Target):
    """A scan that stays below the root, or BadMessage."""

    settings = Settings(root=Path("/fuzz"))

    def __call__(self, raw: bytes) -> None:
        with one_line():
            status = ScanStatus.of(decode(raw))
            paths = paths_for(status, self.settings)
            for path in (paths.store, paths.master):
                assert path.resolve().is_relative_to("/fuzz"), path
                assert ".." not in path.parts


class Replay(Target):
    """A journal of whatever was in it, and all that is made of it: arrays, JSON, the master."""

    inputs_each = 50

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.payloads: list[bytes] = []
        self.store = folder / "S1.zarr"

    def __call__(self, raw: bytes) -> None:
        kind = KINDS[len(self.payloads) % len(KINDS)]
        for chosen in (kind, "status"):
            self.payloads.append(journal_entry(chosen, "name", raw, 1.0))
        self.payloads.append(raw)  # no journal entry at all, or one by chance
        ScanRecord.replay(self.payloads[-3:])

    def close(self) -> None:
        record = ScanRecord.replay(self.payloads)
        assert record.entries == len(self.payloads)
        assert all("\n" not in line for line in record.unreadable)
        record.sync_signals()
        describe_group(metadata(record))
        describe_group(record.configuration)
        user(experiment(record))
        motors(record)
        readout_priority(record)


class Apply(Target):
    """A scan that takes every input, as data and as control message: nothing is raised, another
    device's data is whole, the store is undamaged, and the master file can be written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.writer = ScanWriter(folder / "S1.zarr", scan_id="s1", settings=SMALL, master=None)
        self.writer.status("open")
        self.count = 0

    def __call__(self, raw: bytes) -> None:
        self.count += 1
        entry = f"{self.count}-0"
        source = Source(b"", Position("good", entry))
        good = Update("good", "sig", Add((None,)), float(self.count), 1.0, source=source)
        self.writer.apply([*updates_of(raw, entry), good])
        self.writer.journal(KINDS[self.count % len(KINDS)], "name", raw)
        if self.count % 50 == 0:
            self.writer.commit()

    def close(self) -> None:
        store = self.writer.path
        try:
            self.writer.finish("closed")
            self.writer.write_master(self.folder / "S1_master.h5", MasterSettings())
        finally:
            self.writer.close()
        nbytes = sum(path.stat().st_size for path in self.folder.rglob("*"))
        assert nbytes < LARGEST_SCAN, nbytes
        report = verify(self.folder)
        assert not report.problems, report.problems
        scan = open_scan(store)
        json.dumps(scan.summary(), allow_nan=False)
        reference_tree(scan, self.folder / "again.h5", self.folder, MasterSettings())
        failed = [led.failed for of in self.writer.ledgers.values() for led in of.values()]
        assert not any(failed), failed
        value = scan.devices["good"]["sig"].value[:]
        np.testing.assert_array_equal(value, np.arange(1.0, self.count + 1))


class Together(Target):
    """Messages that are read at once give what they give one by one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.alike = Alike("stream", "dev")
        self.rng = np.random.default_rng(0)

    def __call__(self, raw: bytes) -> None:
        entries = [(f"{n}-0", self._other(raw) if n else raw) for n in range(5)]
        runs = self.alike.runs(Messages.of(entries))
        if runs is None:
            self.alike = Alike("stream", "dev")  # it gives up when nothing is alike
            return
        together = [update for run in runs for update in run.updates()]
        singly = [update for entry, one in entries for update in updates_of(one, entry)]
        assert _by_signal(together) == _by_signal(singly)

    def _other(self, raw: bytes) -> bytes:
        """The same message with another byte somewhere, as often as not in a value."""
        data = bytearray(raw)
        if data:
            data[self.rng.integers(len(data))] = self.rng.integers(256)
        return bytes(data)


def _by_signal(items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        assert isinstance(item, Update), item
        value = np.asarray(item.value)
        stamp = np.asarray(item.timestamp, float).tobytes()
        key = (value.tobytes(), value.shape, value.dtype.str, stamp, item.number, item.mode)
        found.setdefault(item.signal, []).append((*key, item.source and item.source.position))
    return found


TARGETS: dict[str, type[Target]] = {
    kind.__name__.lower(): kind for kind in (Decode, Updates, Status, Replay, Apply, Together)
}


class Fuzzed:
    """Gives inputs to a target, and takes a new one now and then. `crashes`: (input, error)."""

    def __init__(self, kind: type[Target]) -> None:
        self.kind = kind
        self.crashes: list[tuple[bytes, str]] = []
        self.inputs = 0
        self.slowest = 0.0
        self._target: Target | None = None
        self._given: list[bytes] = []
        self._folder = Path()

    def give(self, raw: bytes) -> None:
        if self._target is None:
            self._folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
            self._target = self.kind(self._folder)
        target, began = self._target, time.perf_counter()
        self.inputs += 1
        self._given.append(raw)
        self._watched(raw, lambda: target(raw))
        self.slowest = max(self.slowest, time.perf_counter() - began)
        if len(self._given) >= self.kind.inputs_each:
            self.close()

    def close(self) -> None:
        """Look at what the inputs so far have left."""
        target, self._target = self._target, None
        if target is not None:
            self._watched(b"".join(self._given[-3:]), target.close)
            shutil.rmtree(self._folder)
        self._given = []

    def _watched(self, raw: bytes, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            text = f"{type(error).__name__}: {str(error)[:300]}"
            if text not in (known for _, known in self.crashes):
                logging.getLogger(__name__).exception("%s", self.kind.__name__)
                self.crashes.append((raw, text))
