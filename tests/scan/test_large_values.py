"""Large values that are not compressed go to the file without a copy, and nobody can tell."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tests.scan.adding import SETTINGS, Impatient, interrupt, kept_of
from zwriter import verify
from zwriter.failpoint import enospc
from zwriter.model import Add, Update
from zwriter.reader import Scan
from zwriter.settings import SignalSettings
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.scans import ScanFolder

LARGE = (900, 800)  # of uint16: not copied if it is not compressed
LARGE_SETTINGS = [
    SignalSettings(codec="none"),
    SignalSettings(codec="none", shard_bytes=3 * 1_440_000),
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
        monkeypatch.setattr("zwriter.store.shard.mapped", refuse)
    for n in range(5):
        scan.add("dev", "image", np.full(LARGE, n, "<u2"))
    monkeypatch.setattr("zwriter.store.shard.mapped", refuse)
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
@pytest.mark.parametrize("settings", LARGE_SETTINGS[:4], ids=str)
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
