"""Texts that take more room in their chunk than was thought when the shard was begun."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from zwriter import ScanWriter, open_scan, verify
from zwriter.model import Verdict
from zwriter.settings import SignalSettings, StoreSettings

SETTINGS = StoreSettings(
    flush_interval=60, durability="none", default=SignalSettings(codec="none", chunk_bytes=64)
)
TEXTS = ["".join(random.Random(n).choices("abcdefgh", k=3000)) for n in range(30)]


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zwriter.store.array_state.STRING_CHUNK_BOUND", 7000)  # of 4 of 3000


def texts_of(path: Path) -> list[str]:
    return [str(text) for text in open_scan(path).devices["d"]["s"].value[:]]


def add(scan: ScanWriter, first: int, end: int) -> None:
    for text in TEXTS[first:end]:
        scan.add("d", "s", text)


@pytest.mark.parametrize("committed", [3, 4, 5, 29])
def test_what_was_committed_is_not_written_over(tmp_path: Path, committed: int) -> None:
    path = tmp_path / "S1.zarr"
    scan = ScanWriter(path, scan_id="one", settings=SETTINGS, master=None)
    add(scan, 0, committed)
    scan.commit()
    add(scan, committed, 30)
    assert len(scan.ledgers) == 1  # all are taken, and whole chunks written
    assert texts_of(path) == TEXTS[:committed]
    scan.close(keep=True)
    with ScanWriter(path, scan_id="one", settings=SETTINGS) as scan:
        add(scan, committed, 30)
    assert texts_of(path) == TEXTS
    assert open_scan(path).verdict is Verdict.COMPLETE
    assert verify(tmp_path).problems == []


def test_a_file_that_was_sealed_is_taken_over_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "S1.zarr"
    scan = ScanWriter(path, scan_id="one", settings=SETTINGS, master=None)
    add(scan, 0, 30)
    scan.commit()
    shutil.copytree(tmp_path, tmp_path / "copy", ignore=lambda *_: ["copy"])
    scan.close(keep=True)
    for store in (path, tmp_path / "copy" / "S1.zarr"):
        with ScanWriter(store, scan_id="one", settings=SETTINGS) as scan:
            pass
        assert texts_of(store) == TEXTS
        assert verify(store).problems == []
