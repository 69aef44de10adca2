"""What is added is kept, once, whatever cuts it off: a refusal, a fault, an interrupt."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest

from tests.scan.adding import FRAME, SETTINGS, Impatient, interrupt, kept_of
from zwriter import verify
from zwriter.failpoint import enospc
from zwriter.model import Add, Position, Source, Update, Verdict
from zwriter.settings import SignalSettings
from zwriter.testing.failpoints import failing, fault
from zwriter.testing.scans import ScanFolder


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


@pytest.mark.parametrize("shape", [(), (900, 800)], ids=["numbers", "frames in the file"])
@pytest.mark.parametrize("place", ["run.taking", "run.taken"])
def test_what_was_added_before_an_interrupt_is_written_once(
    scans: ScanFolder, place: str, shape: tuple[int, ...]
) -> None:
    store = SETTINGS.model_copy(update={"default": SignalSettings(codec="none")})
    scan = scans.writer(settings=store, master=None)
    for n in range(6):
        scan.add("dev", "cnt", np.full(shape, n, "<u2") if shape else n)
    with failing(place, interrupt), pytest.raises(KeyboardInterrupt):
        scan.commit()
    for n in range(6, 9):
        scan.add("dev", "cnt", np.full(shape, n, "<u2") if shape else n)
    assert scan.finish() is Verdict.COMPLETE
    scan.close()
    value = scans.open().devices["dev"]["cnt"].value[...]
    assert value.reshape(9, -1).min(axis=1).tolist() == list(range(9))
    assert value.reshape(9, -1).max(axis=1).tolist() == list(range(9))


@pytest.mark.parametrize("cut_off", [interrupt, enospc])
@pytest.mark.parametrize(
    ("mode", "step"),
    [
        ("add", "index.writing"),
        ("add", "index.written"),
        ("replace", "file.renaming"),
        ("replace", "whole.written"),
        ("replace", "file.renamed"),
    ],
)
def test_what_a_commit_could_not_write_is_written_by_the_next_one(
    scans: ScanFolder, mode: str, step: str, cut_off: Callable[[], None]
) -> None:
    scan = scans.writer(settings=SETTINGS, master=None, patience=Impatient())
    if mode == "replace":
        scan.replace("dev", "image", np.zeros(FRAME, "<u2"), 1.0)
        scan.commit()
        scan.replace("dev", "image", np.full(FRAME, 7, "<u2"), 2.0)
    else:
        scan.add("dev", "image", np.full(FRAME, 7, "<u2"), 2.0)
    with failing(step, cut_off), pytest.raises((KeyboardInterrupt, OSError)):
        scan.commit()
    assert scan.finish() is Verdict.COMPLETE
    scan.close()
    image = scans.open().devices["dev"]["image"]
    assert image.timestamp is not None
    assert image.value[...].size == np.prod(FRAME)
    assert (image.value[...] == 7).all()
    assert image.timestamp[...].ravel().tolist() == [2.0]
    assert not verify(scans.path).problems


def test_who_is_interrupted_right_after_a_commit_is_not_fenced_by_it(scans: ScanFolder) -> None:
    scan = scans.writer(settings=SETTINGS, master=None)
    for n, step in enumerate(["linked", "linked", "linking", "linking", "linked", "linking"]):
        scan.add("dev", "cnt", n)
        with failing(f"commit.{step}", interrupt), pytest.raises(KeyboardInterrupt):
            scan.commit()
    scan.add("dev", "cnt", 6)
    assert scan.finish() is Verdict.COMPLETE
    scan.close()
    assert scans.open().devices["dev"]["cnt"].value[...].tolist() == list(range(7))


def test_the_value_of_the_last_commit_stays_however_many_are_refused(scans: ScanFolder) -> None:
    scan = scans.writer(settings=SETTINGS, master=None, patience=Impatient())
    scan.replace("dev", "state", np.zeros(4))
    scan.flush()
    for n in range(1, 6):
        scan.replace("dev", "state", np.full(4, n))
        with failing("commit.linking", enospc), pytest.raises(OSError, match="space"):
            scan.commit()
    assert scans.open().devices["dev"]["state"].value[...].tolist() == [0, 0, 0, 0]
    scan.close()
