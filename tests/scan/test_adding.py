"""Updates that a program adds are what the same updates are one by one, however it adds them."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run_settings
from hypothesis import strategies as st

from zwriter import ScanWriter, open_scan, verify
from zwriter.failpoint import enospc
from zwriter.model import Add, Position, Source, Update, Verdict
from zwriter.protocol import decode
from zwriter.reader import Scan
from zwriter.scan import writer as writer_module
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.scans import ScanFolder

SETTINGS = StoreSettings(flush_interval=60, durability="none")
FRAME = (400, 500)  # of uint16: large enough to be encoded and written by other threads

values = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(max_size=3),
    st.integers(0, 3).map(lambda n: np.arange(n)),
    st.integers(0, 9).map(lambda n: np.full(2, n, "<u2")),
    st.integers(0, 9).map(lambda n: np.full((2, 2), n / 2)),
    st.integers(0, 9).map(lambda n: np.float32(n)),
)
shapes = st.sampled_from([None, (None,), [None], (None, 2), [None, None], (5,), (None, 2, 2)])
stamps = st.one_of(st.none(), st.floats(0, 2e9), st.just([1.0, 2.0]), st.just(7))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["a", "b"]), values, stamps, shapes),
        st.just("commit"),
    ),
    max_size=25,
)


def contents(scan: Scan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, signal in scan.devices.get("dev", {}).items():
        arrays = {key: np.asarray(signal.arrays[key]) for key in sorted(signal.arrays)}
        found[name] = {key: (str(a.dtype), a.shape, a.tolist()) for key, a in arrays.items()}
        found[f"{name} ledger"] = signal.ledger.to_json()
    return found


def kept_of(scan: Scan, signal: str) -> list[dict[str, Any]]:
    """The readings in quarantine, all of one signal."""
    return [decode(entry.raw).data["signals"][signal] for entry in scan.quarantine]


@run_settings(max_examples=60)
@given(steps)
def test_added_updates_become_what_they_are_one_by_one(taken: list[Any]) -> None:
    with TemporaryDirectory() as folder:
        added = ScanWriter(Path(folder, "added.zarr"), settings=SETTINGS, master=None)
        singly = ScanWriter(Path(folder, "singly.zarr"), settings=SETTINGS, master=None)
        for step in taken:
            if step == "commit":
                added.commit()
                singly.commit()
                continue
            signal, value, stamp, shape = step
            added.add("dev", signal, value, stamp, max_shape=shape)
            mode = Add((None, *np.shape(value)) if shape is None else tuple(shape))
            singly.apply([Update("dev", signal, mode, value, stamp)])
        for writer in (added, singly):
            writer.finish()
            writer.close()
        one, other = open_scan(added.path), open_scan(singly.path)
        np.testing.assert_equal(contents(one), contents(other))
        assert one.verdict is other.verdict


def test_a_program_may_use_its_buffer_again(scans: ScanFolder) -> None:
    buffer = np.empty(FRAME, "<u2")
    with scans.writer(settings=SETTINGS, master=None) as scan:
        for n in range(100):
            buffer[:] = n
            scan.add("dev", "image", buffer)
            if n % 30 == 0:
                scan.commit()
    image = scans.open().devices["dev"]["image"].value
    assert [int(frame.min()) for frame in image] == list(range(100))
    assert [int(frame.max()) for frame in image] == list(range(100))


def test_what_was_added_counts_at_once(scans: ScanFolder) -> None:
    scan = scans.writer(settings=SETTINGS, master=None)
    for n in range(5):
        scan.add("dev", "cnt", n, 1.5)
    assert scan.ledgers["dev"]["cnt"].written == 5
    scan.close()


def test_modes_that_follow_each_other_keep_their_order(scans: ScanFolder) -> None:
    with scans.writer(settings=SETTINGS, master=None) as scan:
        for n in range(5):
            scan.add("dev", "cnt", n)
        scan.replace("dev", "cnt", 99)  # refused: the signal has rows
        scan.add("dev", "cnt", 5)
    signal = scans.open().devices["dev"]["cnt"]
    assert signal.value[...].tolist() == [0, 1, 2, 3, 4, 5]
    assert signal.ledger.quarantined == 1


def test_added_values_that_cannot_be_written_are_kept(scans: ScanFolder) -> None:
    scan = scans.writer(settings=SETTINGS, master=None)
    scan.add("dev", "cnt", 2**53 + 1)
    for n in range(3):
        scan.add("dev", "cnt", n + 0.5, 1.0)
    scan.add("de/v", "cnt", 1.0)
    scan.flush()
    kept = kept_of(scans.open(), "cnt")
    assert kept == [
        *({"value": n + 0.5, "timestamp": 1.0} for n in range(3)),
        {"value": 1.0, "timestamp": None},
    ]
    scan.close()


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_a_disk_that_refuses_large_chunks_is_waited_for(scans: ScanFolder, codec: str) -> None:
    left = [3]

    def refuse() -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settings = SETTINGS.model_copy(update={"default": SignalSettings(codec=codec)})
    with (
        failing("chunk.written", refuse),
        scans.writer(settings=settings, master=None) as scan,
    ):
        for n in range(10):
            scan.add("dev", "image", np.full(FRAME, n, "<u2"))
    image = scans.open().devices["dev"]["image"].value
    assert left == [0]
    assert [int(frame.max()) for frame in image] == list(range(10))


def test_a_fault_in_another_thread_fails_its_signal_alone(scans: ScanFolder) -> None:
    settings = SETTINGS.model_copy(update={"default": SignalSettings(chunk_bytes=400_000)})
    scan = scans.writer(settings=settings, master=None)
    scan.add("dev", "image", np.zeros(FRAME, "<u2"))
    scan.commit()
    with failing("chunk.written", fault):
        for n in range(8):
            scan.add("dev", "image", np.full(FRAME, n, "<u2"))
        scan.commit()
    for n in range(8):
        scan.add("dev", "cnt", n)
    scan.finish()
    scan.close()
    devices = scans.open().devices["dev"]
    assert devices["cnt"].value[...].tolist() == list(range(8))
    assert devices["image"].value.shape == (1, *FRAME)
    assert devices["image"].ledger.quarantined == 8
    assert "a fault" in str(devices["image"].ledger.failed)


def interrupt() -> None:
    if threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


class Impatient:
    """Tells at once what the disk refuses."""

    def refused(self, error: OSError) -> None:
        raise error

    def accepted(self) -> None:
        """Nothing was waited for."""


def test_what_a_refusal_interrupts_is_not_called_complete(scans: ScanFolder) -> None:
    left = [6]

    def refuse() -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settings = SETTINGS.model_copy(update={"default": SignalSettings(chunk_bytes=400_000)})
    scan = scans.writer(settings=settings, master=None, patience=Impatient())
    scan.add("dev", "image", np.zeros(FRAME, "<u2"))
    scan.commit()
    with failing("chunk.written", refuse):
        for n in range(1, 40):
            with suppress(OSError):
                scan.add("dev", "image", np.full(FRAME, n, "<u2"))
    scan.finish()
    scan.close()
    read = scans.open()
    signal = read.devices["dev"]["image"]
    stored = [int(frame.max()) for frame in signal.value]
    assert stored == [int(frame.min()) for frame in signal.value] == list(range(len(stored)))
    assert signal.ledger.received == signal.ledger.written + signal.ledger.quarantined
    assert (read.verdict is Verdict.COMPLETE) == (len(stored) == 40)
    assert verify(scans / "S1.zarr").problems == []


def test_a_thread_that_outlives_the_main_thread_still_writes(tmp_path: Path) -> None:
    program = f"""
import threading, time
import numpy as np
from zwriter import ScanWriter

def acquire():
    threading.main_thread().join()
    with ScanWriter({str(tmp_path / "S1.zarr")!r}) as scan:
        for n in range(8):
            scan.add("dev", "image", np.full({FRAME}, n, "<u2"))

threading.Thread(target=acquire).start()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    read = open_scan(tmp_path / "S1.zarr")
    assert read.verdict is Verdict.COMPLETE
    assert len(read.devices["dev"]["image"].value) == 8


def test_what_is_gathered_of_many_signals_is_bounded(scans: ScanFolder, monkeypatch) -> None:
    monkeypatch.setattr(writer_module, "UNCOMMITTED_BYTES", 1_000_000)
    scan = scans.writer(settings=SETTINGS, master=None)
    most = 0
    for n in range(30):
        for signal in range(20):
            scan.add("dev", f"sig{signal}", np.full(1000, n, "f8"))
            most = max(most, scan._gathering.nbytes + scan._uncommitted)
    assert most <= 1_000_000
    scan.finish()
    scan.close()
    devices = scans.open().devices["dev"]
    assert {len(devices[name].value) for name in devices} == {30}


def test_extended_numbers_are_stored_as_doubles(scans: ScanFolder) -> None:
    with scans.writer(settings=SETTINGS, master=None) as scan:
        for n in range(3):
            scan.add("dev", "long", np.full(2, n, np.longdouble))
            scan.add("dev", "complex", np.full(2, n, np.clongdouble))
    devices = scans.open().devices["dev"]
    assert (devices["long"].value.dtype, devices["complex"].value.dtype) == ("f8", "c16")
    assert devices["long"].value[:, 0].tolist() == [0, 1, 2]


LARGE = (900, 800)  # of uint16: not copied if it is not compressed
LARGE_SETTINGS = [
    SignalSettings(codec="none"),
    SignalSettings(codec="none", chunk_bytes=2 * 1_440_000),
    SignalSettings(codec="none", chunk_bytes=700_000),
    SignalSettings(codec="lz4"),
]


@pytest.mark.parametrize("settings", LARGE_SETTINGS, ids=str)
def test_a_program_may_use_a_large_buffer_again(
    scans: ScanFolder, settings: SignalSettings
) -> None:
    store = SETTINGS.model_copy(update={"default": settings})
    buffer = np.empty(LARGE, "<u2")
    with scans.writer(settings=store, master=None) as scan:
        for n in range(7):
            buffer[:] = n
            scan.add("dev", "image", buffer, float(n))
            buffer[:] = 999
            if n == 3:
                scan.commit()
        buffer = np.empty(LARGE, "<u4")
        for n in range(7, 12):
            buffer[:] = n
            scan.add("dev", "image", buffer, float(n))
            buffer[:] = 999
    signal = scans.open().devices["dev"]["image"]
    assert signal.value.dtype == "u4"
    assert [(int(f.min()), int(f.max())) for f in signal.value] == [(n, n) for n in range(12)]
    assert signal.timestamp[...].tolist() == list(range(12))
    assert verify(scans / "S1.zarr").problems == []


def test_large_values_that_come_by_both_ways_keep_their_order(scans: ScanFolder) -> None:
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    frames = [np.full(LARGE, n, "<u2") for n in range(9)]
    with scans.writer(settings=store, master=None) as scan:
        for n, frame in enumerate(frames):
            if n in (3, 6, 7):
                scan.apply([Update("dev", "image", Add((None, *LARGE)), frame, None)])
            else:
                scan.add("dev", "image", frame)
    value = scans.open().devices["dev"]["image"].value
    assert [(int(f.min()), int(f.max())) for f in value] == [(n, n) for n in range(9)]
    assert verify(scans / "S1.zarr").problems == []


def test_an_interrupt_at_the_first_large_value_after_a_commit_harms_no_other(
    scans: ScanFolder,
) -> None:
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    frames = [np.full(LARGE, n, "<u2") for n in range(6)]
    scan = scans.writer(settings=store, master=None)
    for frame in frames[:3]:
        scan.add("dev", "image", frame)
    scan.commit()
    with failing("chunk.written", interrupt), pytest.raises(KeyboardInterrupt):
        scan.add("dev", "image", np.full(LARGE, 99, "<u2"))
    scan.apply([Update("dev", "image", Add((None, *LARGE)), frames[3], None)])
    scan.flush()
    scan.add("dev", "image", frames[4])
    value = scans.open().devices["dev"]["image"].value
    assert [int(frame.max()) for frame in value] == [0, 1, 2, 3]
    scan.add("dev", "image", frames[5])
    scan.finish()
    scan.close()
    value = scans.open().devices["dev"]["image"].value
    assert [(int(f.min()), int(f.max())) for f in value] == [(n, n) for n in range(6)]


def test_what_is_added_while_updates_are_made_comes_before_them(scans: ScanFolder) -> None:
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    frames = [np.full(LARGE, n, "<u2") for n in range(6)]
    with scans.writer(settings=store, master=None) as scan:
        for frame in frames[:4]:
            scan.add("dev", "image", frame)

        def updates() -> Iterator[Update]:
            scan.add("dev", "image", frames[4])
            yield Update("dev", "image", Add((None, *LARGE)), frames[5], None)

        scan.apply(updates())
    value = scans.open().devices["dev"]["image"].value
    assert [(int(f.min()), int(f.max())) for f in value] == [(n, n) for n in range(6)]


@pytest.mark.parametrize("first", ["from the beginning", "later"])
def test_large_values_are_written_where_files_cannot_be_mapped(
    scans: ScanFolder, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    scan = scans.writer(settings=store, master=None)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENODEV, "cannot be mapped")

    if first == "from the beginning":
        monkeypatch.setattr("mmap.mmap", refuse)
    for n in range(5):
        scan.add("dev", "image", np.full(LARGE, n, "<u2"))
    monkeypatch.setattr("mmap.mmap", refuse)
    with failing("signal.publishing", fault):
        scan.commit()
    scan.add("dev", "image", np.full(LARGE, 5, "<u2"))
    monkeypatch.undo()
    scan.finish()
    scan.close()
    assert [(low, high) for low, high, _ in kept_frames(scans.open())] == [(n, n) for n in range(6)]


def kept_frames(read: Scan) -> list[tuple[int, int, float]]:
    kept = kept_of(read, "image")
    return [(int(k["value"].min()), int(k["value"].max()), k["timestamp"]) for k in kept]


@pytest.mark.parametrize("settings", LARGE_SETTINGS, ids=str)
@pytest.mark.parametrize("before", [0, 1])  # what was committed
@pytest.mark.parametrize("place", ["signal.applied", "signal.publishing", "chunk.written"])
def test_large_values_of_a_signal_that_fails_are_kept_as_they_were_added(
    scans: ScanFolder, settings: SignalSettings, place: str, before: int
) -> None:
    store = SETTINGS.model_copy(update={"default": settings})
    buffer = np.empty(LARGE, "<u2")
    scan = scans.writer(settings=store, master=None)

    def add(n: int) -> None:
        buffer[:] = n
        scan.add("dev", "image", buffer, float(n))
        buffer[:] = 999

    for n in range(before):
        add(n)
        scan.commit()
    for n in range(before, 6):
        add(n)
    with failing(place, fault):
        add(6)
        scan.commit()
    add(7)
    scan.finish()
    scan.close()
    read = scans.open()
    assert [entry.device for entry in read.quarantine] == ["dev"] * (8 - before)
    assert kept_frames(read) == [(n, n, float(n)) for n in range(before, 8)]
    if before:
        assert [int(frame.max()) for frame in read.devices["dev"]["image"].value] == [0]


@pytest.mark.parametrize("place", ["signal.applied", "signal.publishing"])
def test_large_values_that_were_promoted_are_kept_if_their_signal_fails(
    scans: ScanFolder, place: str
) -> None:
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    scan = scans.writer(settings=store, master=None)
    for n in range(4):
        scan.add("dev", "image", np.full(LARGE, n, "<u2"), float(n))
    scan.add("dev", "image", np.full(LARGE, 4, "<u4"), 4.0)
    with failing(place, fault):
        scan.add("dev", "image", np.full(LARGE, 5, "<u4"), 5.0)
        scan.commit()
    scan.finish()
    scan.close()
    assert kept_frames(scans.open()) == [(n, n, float(n)) for n in range(6)]


@pytest.mark.parametrize("place", ["chunk.written", "signal.applying", "signal.applied"])
@pytest.mark.parametrize("settings", LARGE_SETTINGS[:3], ids=str)
def test_a_large_value_that_an_interrupt_cuts_off_harms_no_other(
    scans: ScanFolder, settings: SignalSettings, place: str
) -> None:
    store = SETTINGS.model_copy(update={"default": settings})
    buffer = np.zeros(LARGE, "<u2")
    scan = scans.writer(settings=store, master=None, patience=Impatient())
    for n in range(4):
        buffer[:] = n
        scan.add("dev", "image", buffer, float(n))
    buffer[:] = 4
    with failing(place, interrupt), suppress(KeyboardInterrupt):
        scan.add("dev", "image", buffer, 4.0)
        scan.commit()
    for n in range(5, 8):
        buffer[:] = n
        scan.add("dev", "image", buffer, float(n))
    buffer[:] = 999
    scan.finish()
    scan.close()
    read = scans.open()
    image = read.devices["dev"]["image"]
    frames = image.value if "value" in image.arrays else []
    stored = [(int(frame.min()), int(frame.max())) for frame in frames]
    found = sorted(stored + [(low, high) for low, high, _ in kept_frames(read)])
    complete = [(n, n) for n in range(8)]
    assert found == complete or found == [n for n in complete if n != (4, 4)]
    assert verify(scans / "S1.zarr").problems == []


@pytest.mark.parametrize("place", ["chunk.written", "index.writing", "commit.linking"])
def test_a_commit_that_is_cut_off_does_not_change_what_is_added_after_it(
    scans: ScanFolder, place: str
) -> None:
    """A chunk of two rows is whole when the version with one of them was still to be taken."""
    settings = SignalSettings(codec="none", chunk_bytes=2 * 1_440_000)
    store = SETTINGS.model_copy(update={"default": settings})
    scan = scans.writer(settings=store, master=None, patience=Impatient())
    scan.add("dev", "image", np.full(LARGE, 1, "<u2"), 1.0)
    with failing(place, enospc), suppress(OSError):
        scan.commit()
    scan.add("dev", "image", np.full(LARGE, 2, "<u2"), 2.0)
    scan.finish()
    scan.close()
    value = scans.open().devices["dev"]["image"].value
    assert [(int(f.min()), int(f.max())) for f in value] == [(1, 1), (2, 2)]
    assert verify(scans / "S1.zarr").problems == []


@pytest.mark.parametrize("device", ["known", "new"])
def test_what_a_refused_commit_would_have_said_is_kept_once_if_its_signal_fails(
    scans: ScanFolder, device: str
) -> None:
    scan = scans.writer(settings=SETTINGS, master=None, patience=Impatient())
    if device == "known":
        scan.add("dev", "other", 1.0)
        scan.commit()
    for n in range(3):
        scan.add("dev", "cnt", float(n))
    with failing("commit.linking", enospc), suppress(OSError):
        scan.commit()
    with failing("signal.applied", fault):
        scan.add("dev", "cnt", 3.0)
        scan.commit()
    scan.finish()
    scan.close()
    read = scans.open()
    kept = [reading["value"] for reading in kept_of(read, "cnt")]
    assert kept == [0.0, 1.0, 2.0, 3.0]
    assert "value" not in read.devices["dev"]["cnt"].arrays


def test_a_value_that_is_refused_after_others_is_kept_as_it_was(scans: ScanFolder) -> None:
    """Its timestamp is none, its signal fails later."""
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    scan = scans.writer(settings=store, master=None)
    stamps = [0.0, 1.0, "bad", 3.0, 4.0]
    for n, stamp in enumerate(stamps):
        scan.add("dev", "image", np.full(LARGE, n, "<u2"), stamp)
    with failing("signal.applied", fault):
        scan.add("dev", "image", np.full(LARGE, 5, "<u2"), 5.0)
        scan.commit()
    scan.finish()
    scan.close()
    kept = kept_frames(scans.open())
    assert {(low, stamp) for low, _, stamp in kept} == set(enumerate([*stamps, 5.0]))
    assert all(low == high for low, high, _ in kept)


@pytest.mark.parametrize("kind", ["array", "bytearray", "memoryview", "memmap", "ctypes"])
def test_memory_of_any_kind_may_be_used_again(scans: ScanFolder, tmp_path: Path, kind: str) -> None:
    memory: Any = {
        "array": lambda: array("B", bytes(8)),
        "bytearray": lambda: bytearray(8),
        "memoryview": lambda: memoryview(bytearray(8)),
        "ctypes": lambda: (ctypes.c_uint8 * 8)(),
        "memmap": lambda: np.memmap(tmp_path / "memory", np.uint8, "w+", shape=8),
    }[kind]()
    with scans.writer(settings=SETTINGS, master=None) as scan:
        for n in range(5):
            memory[0] = n
            scan.add("dev", "bytes", memory)
        memory[0] = 99
    value = scans.open().devices["dev"]["bytes"].value[...]
    assert (value.dtype, value[:, 0].tolist()) == ("u1", list(range(5)))
    assert verify(scans / "S1.zarr").problems == []


@pytest.mark.parametrize("refused", ["index.writing", "signal.publishing"])
def test_what_waits_behind_a_signal_that_cannot_be_failed_yet_is_not_lost(
    scans: ScanFolder, refused: str
) -> None:
    scan = scans.writer(settings=SETTINGS, master=None, patience=Impatient())
    for n in range(3):
        scan.add("dev", "one", float(n))
    scan.commit()
    scan.add("dev", "one", 3.0)
    with failing("signal.applied", interrupt), suppress(KeyboardInterrupt):
        scan.commit()
    for n in range(4):
        scan.add("dev", "two", float(n))
    with failing(refused, enospc), suppress(OSError):
        scan.commit()
    scan.finish()
    scan.close()
    read = scans.open()
    assert read.devices["dev"]["two"].value[...].tolist() == [0, 1, 2, 3]
    kept = [reading["value"] for reading in kept_of(read, "one")]
    assert read.devices["dev"]["one"].value[...].tolist() + kept == [0, 1, 2, 3]


def test_what_fails_beside_what_is_refused_is_kept(scans: ScanFolder) -> None:
    """One signal fails at a commit, the disk refuses another one there."""
    passed = [0]

    def fault_then_enospc() -> None:
        passed[0] += 1
        fault() if passed[0] == 1 else enospc()

    scan = scans.writer(settings=SETTINGS, master=None, patience=Impatient())
    for signal in ("one", "two"):
        scan.add("dev", signal, 1.0)
    with failing("signal.publishing", fault_then_enospc), suppress(OSError):
        scan.commit()
    scan.finish()
    scan.close()
    read = scans.open()
    kept = [reading["value"] for reading in kept_of(read, "one")]
    assert kept == [1.0]
    assert read.devices["dev"]["two"].value[...].tolist() == [1.0]


def test_lists_that_are_used_again_are_kept_as_they_were_added(scans: ScanFolder) -> None:
    scan = scans.writer(settings=SETTINGS, master=None)
    row = [[0.0, 0.0]]
    for n in range(3):
        row[0][1] = float(n)
        scan.add("dev", "pairs", row)
    with failing("signal.publishing", fault):
        scan.commit()
    scan.finish()
    scan.close()
    kept = [reading["value"] for reading in kept_of(scans.open(), "pairs")]
    assert kept == [[[0.0, 0.0]], [[0.0, 1.0]], [[0.0, 2.0]]]


def test_a_signal_that_cannot_be_failed_at_a_commit_is_failed_at_the_next(
    scans: ScanFolder,
) -> None:
    settings = SignalSettings(chunk_bytes=16)
    store = SETTINGS.model_copy(update={"default": settings})
    scan = scans.writer(settings=store, master=None, patience=Impatient())
    for n in range(3):
        scan.add("dev", "cnt", float(n))
    scan.commit()
    for n in range(3, 8):
        scan.add("dev", "cnt", float(n))
    with (
        failing("signal.publishing", fault),
        failing("index.writing", enospc),  # going back to the commit writes it
        suppress(OSError),
    ):
        scan.commit()
    for n in range(8, 10):
        scan.add("dev", "cnt", float(n))
    scan.finish()
    scan.close()
    read = scans.open()
    kept = [reading["value"] for reading in kept_of(read, "cnt")]
    assert read.devices["dev"]["cnt"].value[...].tolist() == [0, 1, 2]
    assert kept == list(range(3, 10))
    assert verify(scans / "S1.zarr").problems == []


class Strange:
    """Something that cannot even be told."""

    def __repr__(self) -> str:
        return "\udc80"


def test_what_cannot_even_be_kept_is_told_and_stops_nothing(scans: ScanFolder) -> None:
    with scans.writer(settings=SETTINGS, master=None) as scan:
        scan.add("dev", "strange", Strange())
        scan.add("dev", "cnt", 1.0)
    read = scans.open()
    assert read.devices["dev"]["cnt"].value[...].tolist() == [1.0]
    assert read.verdict is Verdict.COMPLETE_WITH_GAPS
    assert ["cannot be" in entry.reason for entry in read.quarantine] == [True]


def test_a_message_that_is_kept_at_the_second_try_is_kept_whole(scans: ScanFolder) -> None:
    scan = scans.writer(settings=SETTINGS, master=None, patience=Impatient())
    source = Source(b"raw", Position("stream", "1-0"))
    update = Update("dev", "cnt", Add((None,)), {"no": "number"}, 1.0, None, source)
    with failing("quarantine.appending", enospc), suppress(OSError):
        scan.apply([update])
    scan.finish()
    scan.close()
    assert [entry.raw for entry in scans.open().quarantine] == [b"raw"]
