"""Large values that come in messages go to the file before they are taken, and nobody can tell."""

from __future__ import annotations

import gc
import tempfile
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scan.adding import SETTINGS, interrupt
from zwriter import open_scan, verify
from zwriter.failpoint import enospc
from zwriter.model import Add, Run, Update
from zwriter.objects import ObjectPath
from zwriter.protocol import Message, encode
from zwriter.protocol.alike import Alike
from zwriter.raw import Messages
from zwriter.reader import Scan
from zwriter.scan import ScanWriter
from zwriter.scan import writer as writer_module
from zwriter.settings import SignalSettings
from zwriter.testing.failpoints import failing, fault, watched
from zwriter.testing.scans import ScanFolder

SHAPE = (900, 800)
STREAM = "info/devices/async_signal/scan/dev/image"
NOT_COMPRESSED = [
    SignalSettings(codec="none"),
    SignalSettings(codec="none", shard_bytes=3 * 1_440_000),
    SignalSettings(codec="none", chunk_bytes=2 * 1_440_000),
]


def raw(number: int, value: int | None = None, dtype: str = "<u2") -> bytes:
    """The message of update `number`: a frame full of `value`."""
    frame = np.full(SHAPE, number if value is None else value, dtype)
    reading = {"value": frame, "timestamp": 1.7e9 + number}
    update = {"type": "add", "max_shape": [None, *SHAPE]}
    metadata = {"async_update": update, "async_indices": {"image": number}}
    return encode(Message("DeviceMessage", {"signals": {"image": reading}}, metadata))


class Stream:
    """Reads messages as they come from Redis."""

    def __init__(self) -> None:
        self._alike = Alike(STREAM, "dev")
        self._entry = 0

    def runs(self, *raws: bytes) -> list[Run]:
        """What messages of one length become that came in one reply."""
        memory = np.frombuffer(b"".join(raws), np.uint8).copy()
        self.memory = weakref.ref(memory)
        before = self._entry + 1
        self._entry += len(raws)
        starts = np.arange(len(raws)) * len(raws[0])
        messages = Messages(memory, starts, len(raws[0]), lambda i: f"{before + i}-0")
        runs = self._alike.runs(messages)
        assert runs is not None
        return runs


def store(signal: SignalSettings) -> Any:
    return SETTINGS.model_copy(update={"default": signal})


def frames(scan: Scan) -> list[tuple[int, int]]:
    image = scan.devices["dev"]["image"]
    rows = image.value if "value" in image.arrays else []
    return [(int(frame.min()), int(frame.max())) for frame in rows]


@pytest.mark.parametrize(
    ("signal", "kept"), [(NOT_COMPRESSED[0], {0, 1}), (NOT_COMPRESSED[1], {0, 1, 3, 6})], ids=str
)
def test_their_memory_is_free_before_they_are_committed(
    scans: ScanFolder, signal: SignalSettings, kept: set[int]
) -> None:
    """But for those that decide what a chunk is, or begin a shard."""
    stream = Stream()
    with scans.writer(settings=store(signal), master=None) as scan:
        in_memory = set()
        for number in range(8):
            scan.apply(stream.runs(raw(number)))
            gc.collect()
            if stream.memory() is not None:
                in_memory.add(number)
        assert in_memory == kept
    assert frames(scans.open()) == [(n, n) for n in range(8)]
    assert verify(scans / "S1.zarr").problems == []


@pytest.mark.parametrize(
    ("quarantine", "others", "commits"),
    [(40_000_000, 0, 2), (39_999_999, 0, 8), (40_000_000, 1, 8)],
)
def test_those_in_the_file_count_as_an_eighth(
    scans: ScanFolder, monkeypatch: pytest.MonkeyPatch, quarantine: int, others: int, commits: int
) -> None:
    """If quarantine has room for all of them, and nothing else was read with them, which would keep
    their memory. A spool is committed, and sent, as often as ever."""
    monkeypatch.setattr(writer_module, "UNCOMMITTED_BYTES", 5_000_000)
    rare = store(NOT_COMPRESSED[0]).model_copy(
        update={"flush_interval": 60.0, "quarantine_bytes": quarantine}
    )
    stream = Stream()
    with scans.writer(settings=rare, master=None) as scan, watched() as passed:
        in_spool = isinstance(scan.path, ObjectPath)
        for number in range(32):
            other = [Update("dev", "count", Add((None,)), number)] * others
            scan.apply([*stream.runs(raw(number)), *other])
            scan.commit_due()
        scan.commit()
        # the first says that there is a device
        assert passed["commit.linked"] == 1 + (8 if in_spool else commits)
    assert frames(scans.open()) == [(n, n) for n in range(32)]


@pytest.mark.parametrize("signal", NOT_COMPRESSED, ids=str)
@pytest.mark.parametrize("committed", [0, 1])
@pytest.mark.parametrize("place", ["signal.applying", "signal.applied", "signal.publishing"])
def test_messages_of_a_signal_that_fails_are_kept_byte_for_byte(
    scans: ScanFolder, signal: SignalSettings, committed: int, place: str
) -> None:
    stream, sent = Stream(), [raw(number) for number in range(8)]
    scan = scans.writer(settings=store(signal), master=None)
    for message in sent[:committed]:
        scan.apply(stream.runs(message))
        scan.commit()
    for message in sent[committed:6]:
        scan.apply(stream.runs(message))
    with failing(place, fault):
        scan.apply(stream.runs(sent[6]))
        scan.commit()
    scan.apply(stream.runs(sent[7]))
    scan.finish()
    scan.close()
    read = scans.open()
    assert [entry.raw for entry in read.quarantine] == sent[committed:]
    assert frames(read) == [(n, n) for n in range(committed)]


@pytest.mark.parametrize("signal", NOT_COMPRESSED, ids=str)
def test_those_that_came_in_one_reply_go_to_the_file_together(
    scans: ScanFolder, signal: SignalSettings
) -> None:
    """Over the ends of shards, too; if their signal fails then, each is kept byte for byte."""
    stream, sent = Stream(), [raw(number) for number in range(11)]
    scan = scans.writer(settings=store(signal), master=None)
    scan.apply(stream.runs(*sent[:4]))
    scan.commit()
    scan.apply(stream.runs(*sent[4:10]))
    gc.collect()
    assert (stream.memory() is None) == (signal == NOT_COMPRESSED[0])
    with failing("signal.applied", fault):
        scan.apply(stream.runs(sent[10]))
    scan.finish()
    scan.close()
    read = scans.open()
    assert [entry.raw for entry in read.quarantine] == sent[4:]
    places = [(entry.stream, entry.entry) for entry in read.quarantine]
    assert places == [(STREAM, f"{n}-0") for n in range(5, 12)]
    assert frames(read) == [(n, n) for n in range(4)]


@pytest.mark.parametrize("signal", NOT_COMPRESSED, ids=str)
def test_what_the_disk_refuses_once_is_written_the_usual_way(
    scans: ScanFolder, signal: SignalSettings
) -> None:
    stream = Stream()
    with scans.writer(settings=store(signal), master=None) as scan:
        for number in range(3):
            scan.apply(stream.runs(raw(number)))
        with failing("chunk.written", enospc):
            scan.apply(stream.runs(raw(3)))
        for number in range(4, 6):
            scan.apply(stream.runs(raw(number)))
    assert frames(scans.open()) == [(n, n) for n in range(6)]
    assert verify(scans / "S1.zarr").problems == []


@pytest.mark.parametrize("place", ["chunk.written", "signal.applying", "signal.applied"])
def test_who_is_interrupted_and_reads_again_behind_what_was_taken_loses_and_doubles_none(
    scans: ScanFolder, place: str
) -> None:
    """What was interrupted half way makes its signal fail: then its messages are in quarantine."""
    sent = [raw(number) for number in range(6)]
    stream = Stream()
    scan = scans.writer(settings=store(NOT_COMPRESSED[0]), master=None)
    for message in sent[:3]:
        scan.apply(stream.runs(message))
    with failing(place, interrupt), suppress(KeyboardInterrupt):
        scan.apply(stream.runs(sent[3]))
    first = int(scan.positions.get(STREAM, "0-0").partition("-")[0])
    for message in sent[first:]:
        scan.apply(stream.runs(message))
    scan.finish()
    scan.close()
    read = scans.open()
    kept = [entry.raw for entry in read.quarantine]
    assert frames(read) == [(n, n) for n in range(6 - len(set(kept)))]
    assert set(kept) == set(sent[6 - len(set(kept)) :])
    assert verify(scans / "S1.zarr").problems == []


def test_a_message_with_two_large_values_shares_its_memory(scans: ScanFolder) -> None:
    """What is around each value is the other one: it would be in memory twice."""
    frames = {name: np.full(SHAPE, number, "<u2") for number, name in enumerate(("one", "two"))}
    update = {"type": "add", "max_shape": [None, *SHAPE]}
    readings = {name: {"value": frame} for name, frame in frames.items()}
    message = encode(Message("DeviceMessage", {"signals": readings}, {"async_update": update}))
    stream = Stream()
    with scans.writer(settings=store(NOT_COMPRESSED[0]), master=None) as scan:
        for _ in range(4):
            runs = stream.runs(message)
            scan.apply(runs)
            kept = scan._store.devices["dev"].signals["one"]._pending[-1]
            assert isinstance(kept, Run)
            assert kept.messages is runs[0].messages
    devices = scans.open().devices["dev"]
    assert [int(frame.max()) for frame in devices["two"].value] == [1] * 4


@settings(max_examples=20, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    wide=st.integers(0, 8),
    singly=st.sets(st.integers(0, 7)),
    alone=st.sets(st.integers(0, 7)),
    batches=st.sets(st.integers(0, 7)),
    commits=st.sets(st.integers(0, 7)),
    signal=st.sampled_from(NOT_COMPRESSED),
)
def test_they_are_written_as_if_they_had_gone_the_usual_way(
    numbers: list[int],
    wide: int,
    singly: set[int],
    alone: set[int],
    batches: set[int],
    commits: set[int],
    signal: SignalSettings,
) -> None:
    """Numbers that are missing, late, or come again; from `wide` on another dtype; some are updates
    by themselves, some come in a reply of their own."""
    written = []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        for how in ("ahead", "usual"):
            stream, path = Stream(), Path(folder) / f"{how}.zarr"
            reply: list[bytes] = []
            batch: list[Run | Update] = []
            with ScanWriter(path, settings=store(signal), master=None) as scan:
                for i, number in enumerate(numbers):
                    reply.append(raw(number, i, "<u2" if i < wide else "<u4"))
                    if i in singly | alone | batches | commits or i in (wide - 1, len(numbers) - 1):
                        for run in stream.runs(*reply):
                            batch += run.updates() if i in singly else [run]
                        reply = []
                    if i in batches | commits:
                        scan.apply(batch)
                        batch = []
                    if i in commits:
                        scan.commit()
                scan.apply(batch)
            read = open_scan(path)
            assert verify(path).problems == []
            image = read.devices["dev"]["image"]
            stamps = repr(image.timestamp[...].tolist())
            kept = [entry.raw for entry in read.quarantine]
            written.append((frames(read), stamps, image.ledger.to_json(), kept, read.verdict))
            patch.setattr("zwriter.store.committed.large_ones_apart", lambda items: [items])
    assert written[0] == written[1]


def test_what_comes_behind_one_is_still_put_in_the_order_of_its_numbers(scans: ScanFolder) -> None:
    stream = Stream()
    runs = [run for number in (0, 2, 1) for run in stream.runs(raw(number))]
    with scans.writer(settings=store(NOT_COMPRESSED[0]), master=None) as scan:
        scan.apply([runs[0], *runs[1].updates(), *runs[2].updates()])
    assert frames(scans.open()) == [(0, 0), (1, 1), (2, 2)]


def test_those_of_one_reply_are_put_in_the_order_of_their_numbers(scans: ScanFolder) -> None:
    stream = Stream()
    with scans.writer(settings=store(NOT_COMPRESSED[0]), master=None) as scan:
        scan.apply(stream.runs(raw(0)))
        (run,) = stream.runs(raw(2), raw(1), raw(3))
        scan.apply([run])
    assert frames(scans.open()) == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert scans.open().verdict == "COMPLETE"
