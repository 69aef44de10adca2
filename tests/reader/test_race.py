"""Readers race a writer that commits as often as it can: never a wrong row, with any reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.testing.failpoints import failing

READER = Path(__file__).with_name("racing_reader.py")
KINDS = ("zwriter", "zarr", "tensorstore")
SETTINGS = StoreSettings(
    flush_interval=60, default=SignalSettings(chunk_bytes=1024), durability="none"
)


def add_row(writer: ScanWriter, i: int) -> None:
    """Each value says what its number is."""
    writer.add("det", "image", np.full((4, 3), i, np.int32), float(i))
    writer.add("det", "ragged", [i] * (i % 5), max_shape=(None, None))
    writer.add_slice("det", "slices", i % 10, [i, i], max_shape=(None, 4000))
    writer.add_slice("det", "pieces", i % 10, [i])
    writer.replace("det", "replaced", [i] * (i % 4), float(i))


@pytest.mark.slow
def test_no_reader_in_another_process_ever_sees_a_wrong_row(tmp_path: Path):
    store = tmp_path / "S1.zarr"
    writer = ScanWriter(store, settings=SETTINGS)
    add_row(writer, 0)
    writer.commit()
    readers = [
        subprocess.Popen([sys.executable, READER, kind, store], stdout=subprocess.PIPE, text=True)
        for kind in KINDS
    ]
    lines: list[list[str]] = [[] for _ in readers]
    threads = [
        Thread(target=lambda r=reader, found=found: found.extend(r.stdout), daemon=True)
        for reader, found in zip(readers, lines, strict=True)
    ]
    for thread in threads:
        thread.start()
    n = 1
    while n < 20_000 and not all(lines):
        for _ in range(n % 5 + 1):
            add_row(writer, n)
            n += 1
        writer.commit()
    writer.finish()
    writer.close()
    for thread, reader in zip(threads, readers, strict=True):
        thread.join(300)
        assert reader.stdout is not None
        reader.stdout.close()
        assert reader.wait(300) == 0
    for kind, found in zip(KINDS, lines, strict=True):
        racing, last = json.loads(found[0]), json.loads(found[-1])
        assert racing["errors"] == [], kind
        assert last["wrong"] == [], kind
        assert last["rows"] == n, kind
    assert verify(store).problems == []


def test_a_reader_in_another_thread_reads_what_it_opened_however_far_the_writer_is(tmp_path: Path):
    store = tmp_path / "S1.zarr"
    writer = ScanWriter(store, settings=SETTINGS)
    add_row(writer, 0)
    writer.commit()

    def write() -> None:
        for i in range(1, 1000):
            add_row(writer, i)
            if i % 3 == 0:
                writer.commit()
        writer.finish()
        writer.close()

    thread = Thread(target=write, daemon=True)
    thread.start()
    opened = []
    for scan in open_scan(store).follow(interval=0.001, timeout=300):
        det = scan.devices["det"]
        opened.append((det["image"], det["image"].value, det["ragged"].rows))
        if len(opened) == 5 or scan.finished:
            for image, value, rows in opened:
                n = len(value)
                np.testing.assert_array_equal(value[:, 0, 0], np.arange(n))
                np.testing.assert_array_equal(image.timestamp, np.arange(n))
                assert [row.tolist() for row in rows] == [[i] * (i % 5) for i in range(n)]
            opened.clear()
    thread.join()
    assert len(scan.devices["det"]["image"].rows) == 1000


@pytest.mark.parametrize(
    "step", ["whole.written", "file.renamed", "finish.frames", "finish.finished", "finish.trimmed"]
)
def test_control_messages_can_be_read_at_each_step_of_finishing(tmp_path: Path, step: str):
    store = tmp_path / "S1.zarr"
    seen: list[int] = []
    writer = ScanWriter(store, settings=SETTINGS)
    for i in range(3):
        writer.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
    add_row(writer, 0)
    with failing(step, lambda: seen.append(len(open_scan(store).record.points))):
        writer.finish()
        writer.close()
    assert set(seen) == {3}
    assert len(open_scan(store).record.points) == 3
