"""Scans share the threads that write large chunks, but not the disks."""

from __future__ import annotations

import os
import threading

import numpy as np

from tests.scan.adding import SETTINGS
from zwriter.settings import SignalSettings
from zwriter.store import side_by_side
from zwriter.store.shard import Place
from zwriter.testing.scans import ScanFolder


def test_a_scan_goes_on_while_all_threads_wait_for_the_disk_of_another_one(
    scans: ScanFolder,
) -> None:
    disk_is_back = threading.Event()

    def hang() -> Place:
        disk_is_back.wait()
        return Place(0, 0)

    signal = SETTINGS.model_copy(update={"default": SignalSettings(codec="lz4")})
    waiting = [side_by_side._begin(hang) for _ in range(os.cpu_count() or 1)]
    try:
        with scans.writer(settings=signal, master=None) as scan:
            for number in range(12):
                scan.add("dev", "image", np.full((800, 900), number, "<u2"))
        assert [int(frame.max()) for frame in scans.open().devices["dev"]["image"].value] == [
            *range(12)
        ]
        assert not any(future.done() for future in waiting)
    finally:
        disk_is_back.set()
