"""Updates that a program adds are what the same updates are one by one, however it adds them."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from array import array
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as run_settings
from hypothesis import strategies as st

from tests.scan.adding import FRAME, SETTINGS, kept_of
from zwriter import ScanWriter, open_scan, verify
from zwriter.model import Add, Update, Verdict
from zwriter.reader import Scan
from zwriter.scan import writer as writer_module
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.scans import ScanFolder

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
