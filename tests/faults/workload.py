"""A scan with some of everything: the same for the same numbers, whoever writes it, however often.

Updates come from streams whose entries are numbered, as Redis' are: what was not committed is read
again. Others are added by the program itself, which goes on behind what the store has.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import msgpack
import numpy as np
import zarr

from zwriter.model import Add, AddSlice, Mode, Position, Rejected, Replace, Source, Update
from zwriter.protocol import Message, encode
from zwriter.reader import open_scan
from zwriter.reader.verify import verify
from zwriter.scan import ScanWriter
from zwriter.settings import MasterSettings, SignalRule, SignalSettings, StoreSettings

SCAN_ID = "5a3b8f4e-0000-4000-8000-000000000001"
# chunks of a few rows, so that whole chunks, partial ones and several shards all occur
SMALL_CHUNKS = SignalSettings(chunk_bytes=64)

MODES: dict[str, Mode] = {
    "scalars": Add((None,)),
    "vectors": Add((None, 3)),
    "ragged": Add((None, None)),
    "slices": AddSlice((None, 12), 0),
    "pieces": AddSlice((None, None), 0),
    "replaced": Replace(),
    "words": Add((None,)),
    "bad": Add((None, 2)),
}
DEVICES = {"one": ["scalars", "vectors", "bad"], "two": ["ragged", "slices", "pieces"]}
DEVICES["three"] = ["replaced", "words"]
IMAGE = (1024, 520)  # large enough to be gathered in the file
PLAIN = SignalRule(match="program/images", codec="none", chunk_bytes=64)
BASELINE = {"samy": {"samy": {"value": 2.5, "timestamp": 1.0}}}


def settings(durability: Any = "none") -> StoreSettings:
    """Nothing is committed but when it is asked for."""
    return StoreSettings(
        flush_interval=60, default=SMALL_CHUNKS, signals=(PLAIN,), durability=durability
    )


def value_of(signal: str, number: int) -> Any:
    match signal:
        case "scalars":
            return number if number < 40 else number + 0.5  # promoted on the way
        case "vectors":
            return np.arange(3 - (number % 5 == 0), dtype="<u2") + number  # some are short
        case "replaced":
            shapes = ((), (2,), (3, 1), (0,))
            return np.full(shapes[number % 4], number)
        case "words":
            return f"µ{number}" * (number % 3)
        case "bad":
            return [number, number] if number % 3 else ["no", number]
        case _:
            return np.arange(number % 4, dtype="<i4") + number


def stream_of(signal: str) -> str:
    return f"info/devices/async_signal/{SCAN_ID}/{device_of(signal)}/{signal}"


def device_of(signal: str) -> str:
    return next(device for device, signals in DEVICES.items() if signal in signals)


def update(signal: str, number: int) -> Update:
    mode = MODES[signal]
    if isinstance(mode, AddSlice):
        apart = 60 if signal == "slices" else 1  # shards and chunks with nothing in them
        mode = AddSlice(mode.max_shape, number * 7 % 11 * apart)
    raw = f"raw {signal} {number}".encode()
    source = Source(raw, Position(stream_of(signal), f"{number + 1}-0"))
    value, stamp = value_of(signal, number), float(number)
    return Update(device_of(signal), signal, mode, value, stamp, number, source)


def undecodable(number: int) -> Rejected:
    source = Source(b"\xc1", Position(stream_of("vectors") + "_broken", f"{number + 1}-0"))
    return Rejected("one", "broken", "cannot be decoded", source, 1.0)


def read_up_to(writer: ScanWriter, stream: str) -> int:
    """How many updates of a stream are taken."""
    return int(writer.positions.get(stream, "0-0").split("-")[0])


def send(writer: ScanWriter, signal: str, count: int) -> None:
    """Send what a stream has up to `count`."""
    first = read_up_to(writer, stream_of(signal))
    writer.apply([update(signal, number) for number in range(first, count)])


def add(writer: ScanWriter, count: int) -> None:
    """Add numbers up to `count`, and an image for each tenth of them."""
    ledgers = writer.ledgers.get("program", {})
    kept = {name: ledgers[name].written if name in ledgers else 0 for name in ("numbers", "images")}
    for number in range(kept["numbers"], count):
        writer.add("program", "numbers", number, float(number))
    for number in range(kept["images"], count // 10):
        writer.add("program", "images", np.full(IMAGE, number, "<u2"), float(number))


def control_messages(writer: ScanWriter, points: int, state: str = "open") -> None:
    """Send what is not known yet, as a service that looks at what Redis keeps."""
    record = writer.record
    if record.status is None:
        status(writer, "open")
    if not record.baseline:
        writer.baseline(BASELINE)
    for number in range(points):
        if number not in record.points:
            reading = {"value": number / 2, "timestamp": float(number)}
            writer.point(number, {"samx": {"samx": reading}, "one": {"scalars": reading}})
    if state != "open" and str(record.status) != state:
        status(writer, state)


def status(writer: ScanWriter, state: str) -> None:
    fields = {
        "scan_id": SCAN_ID,
        "status": state,
        "scan_number": 1,
        "num_points": 4,
        "info": {"scan_id": SCAN_ID, "scan_number": 1},
        "timestamp": 100.0 if state == "open" else 200.0,
    }
    writer.journal("status", "", encode(Message("ScanStatusMessage", fields, {})))


def steps(counts: list[int]) -> Iterator[tuple[dict[str, int], int]]:
    """How far each stream is sent, and how many points there are, at each commit."""
    for step, count in enumerate(counts):
        each = dict.fromkeys(MODES, count)
        each["scalars"] = count * 60  # more than a shard
        yield each, step + 1


def write(
    path: Path,
    store: StoreSettings,
    counts: list[int],
    note: Callable[[str, dict[str, str]], None] = lambda *_: None,
) -> None:
    """Write the scan, from wherever it is, to its end; its master file too.

    note: is told of the positions when the store is "opened" and each time they are "committed".
    """
    if path.exists() and not path.with_suffix(".zwriter").exists():
        assert open_scan(path).finished
        return
    writer = ScanWriter(path, scan_id=SCAN_ID, scan_number=1, settings=store, master=None)
    note("opened", writer.positions)
    if not writer.finished:
        for each, points in steps(counts):
            control_messages(writer, points)
            for signal, count in each.items():
                send(writer, signal, count)
            if read_up_to(writer, undecodable(0).source.position.stream) == 0:
                writer.apply([undecodable(0)])
            add(writer, each["words"])
            if points % 2:
                writer._store.write_points()
            writer.commit()
            note("committed", writer.positions)
        control_messages(writer, len(counts), "closed")
    writer.finish()
    writer.write_master(path.with_name(f"{path.stem}_master.h5"), MasterSettings())
    writer.close()


def contents(path: Path) -> dict[str, Any]:
    """All that is in a finished store and its master file, but for what differs by nature: times at
    which something was written, and where."""
    found: dict[str, Any] = {}
    for document in sorted(path.rglob("zarr.json")):
        name = str(document.parent.relative_to(path))
        node = zarr.open(document.parent, mode="r", zarr_format=3)
        if isinstance(node, zarr.Array) and "entry/zwriter" not in name:
            found[name] = (str(node.dtype), node.shape, _said(np.asarray(node[...])))
            found[f"{name} attributes"] = dict(node.attrs)
    scan = open_scan(path)
    found["verdict"], found["status"] = scan.verdict, scan.status
    for device, signals in scan.devices.items():
        for signal in signals.values():
            found[f"ledger {device}/{signal.name}"] = signal.ledger.to_json()
    found["journal"] = sorted(frame[1:] for frame in _frames(path, "journal"))
    found["quarantine"] = sorted(frame[1:] for frame in _frames(path, "quarantine"))
    report = verify(path)
    assert not report.problems, report.problems
    master = path.with_name(f"{path.stem}_master.h5")
    if master.exists():
        found["master"] = _in_hdf5(master)
    return found


def _frames(path: Path, name: str) -> list[list[Any]]:
    value = zarr.open_array(path / "entry/zwriter" / name / "value", mode="r")[...].tobytes()
    offsets = zarr.open_array(path / "entry/zwriter" / name / "offsets", mode="r")[...]
    return [msgpack.unpackb(value[a:b]) for a, b in itertools.pairwise(offsets)]


def _said(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.nbytes > 1024 * 1024:
        return hashlib.sha256(value.tobytes()).hexdigest()
    return repr(value.tolist() if hasattr(value, "tolist") else value)


def _in_hdf5(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def visit(group: h5py.Group) -> None:
        for name in group:
            node = group[name]
            if isinstance(node, h5py.Group):
                visit(node)
            else:
                found[node.name if node.file == file else f"{group.name}/{name}"] = (
                    str(node.dtype),
                    node.shape,
                    _said(node[()]),
                )

    with h5py.File(path) as file:
        visit(file)
    return found
