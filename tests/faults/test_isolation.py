"""An error that nobody has foreseen, in the path of one signal, harms neither its neighbours nor
the scan; what the signal sent is kept, raw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.faults import workload
from tests.faults.workload import MODES, SCAN_ID, device_of, read_up_to, stream_of, update
from zwriter import ScanWriter, verify
from zwriter.model import Verdict
from zwriter.reader import Scan
from zwriter.settings import MasterSettings
from zwriter.store.signal import SignalWriter
from zwriter.store.zarr_json import chunk_files
from zwriter.testing.scans import ScanFolder

SIGNALS = [signal for signal in MODES if signal != "bad"]
STEPS = ["apply", "publish", "state", "seal"]
FAULTS = [
    *(("disk", signal, step) for signal in SIGNALS for step in STEPS),
    # a fault after all was sent
    pytest.param("bucket", "ragged", "seal", marks=[pytest.mark.s3, pytest.mark.slow]),
]


class Broken:
    """Makes one step of one signal fail, from some moment on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, signal: str, step: str) -> None:
        self.now = False
        original: Callable[..., object] = getattr(SignalWriter, step)

        def broken(writer: SignalWriter, *args: object) -> object:
            result = original(writer, *args)  # half of the work is done when it fails
            if self.now and writer.name == signal:
                raise RuntimeError(f"{step} of {signal}")
            return result

        monkeypatch.setattr(SignalWriter, step, broken)


def open_writer(scans: ScanFolder, name: str = "S1.zarr") -> ScanWriter:
    return scans.writer(name, scan_id=SCAN_ID, settings=workload.settings(), master=None)


def send_all(writer: ScanWriter, count: int) -> None:
    for signal in SIGNALS:
        first = read_up_to(writer, stream_of(signal))
        writer.apply([update(signal, number) for number in range(first, count)])


def raw_in_quarantine(scans: ScanFolder, signal: str) -> list[bytes]:
    return [kept.raw for kept in scans.open().quarantine if kept.signal == signal]


def rows(scan: Scan, signal: str) -> list[object]:
    found = scan.devices[device_of(signal)][signal]
    return [np.asarray(row).tolist() for row in found.rows]


@pytest.mark.parametrize(("scans", "broken", "step"), FAULTS, indirect=["scans"])
def test_a_signal_that_fails_fails_alone(
    scans: ScanFolder, monkeypatch: pytest.MonkeyPatch, broken: str, step: str
) -> None:
    fault = Broken(monkeypatch, broken, step)
    writer = open_writer(scans)
    send_all(writer, 10)
    writer.commit()
    send_all(writer, 15)
    fault.now = True
    send_all(writer, 20)
    writer.commit()
    fault.now = step == "seal"
    send_all(writer, 30)
    writer.flush()
    sent = [f"raw {broken} {number}".encode() for number in range(30)]
    if step != "seal":
        assert raw_in_quarantine(scans, broken) == sent[10:]
    verdict = writer.finish()
    writer.close()
    calm = open_writer(scans, "calm.zarr")
    send_all(calm, 30)
    calm.finish()
    calm.close()
    scan, undisturbed = scans.open(), scans.open("calm.zarr")
    for signal in SIGNALS:
        if signal != broken:
            assert rows(scan, signal) == rows(undisturbed, signal)
            assert scan.devices[device_of(signal)][signal].ledger.whole
    ledger = scan.devices[device_of(broken)][broken].ledger
    assert verdict is Verdict.COMPLETE_WITH_GAPS
    assert f"RuntimeError: {step} of {broken}" in (ledger.failed or "")
    written = 30 if step == "seal" else 10
    assert (ledger.received, ledger.written, ledger.quarantined) == (30, written, 30 - written)


def test_a_signal_stays_failed_after_a_restart_and_loses_nothing(
    scans: ScanFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Broken(monkeypatch, "vectors", "apply")
    writer = open_writer(scans)
    send_all(writer, 10)
    writer.commit()
    fault.now = True
    send_all(writer, 20)
    writer.commit()
    writer.close()
    fault.now = False
    writer = open_writer(scans)
    send_all(writer, 30)
    writer.flush()
    sent = [f"raw vectors {number}".encode() for number in range(30)]
    assert raw_in_quarantine(scans, "vectors") == sent[10:]
    writer.finish()
    writer.close()
    ledger = scans.open().devices["one"]["vectors"].ledger
    assert (ledger.received, ledger.written, ledger.quarantined) == (30, 10, 20)
    assert ledger.failed


def test_a_signal_that_cannot_be_continued_fails_alone(
    scans: ScanFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(scans)
    send_all(writer, 10)
    writer.commit()
    writer.close()
    fault = Broken(monkeypatch, "ragged", "_restore")
    fault.now = True
    writer = open_writer(scans)
    send_all(writer, 20)
    assert writer.finish() is Verdict.COMPLETE_WITH_GAPS
    writer.close()
    scan = scans.open()
    assert len(rows(scan, "pieces")) == 11
    ledger = scan.devices["two"]["ragged"].ledger
    assert (ledger.received, ledger.written, ledger.quarantined) == (20, 10, 10)
    assert "_restore of ragged" in (ledger.failed or "")
    assert len(rows(scan, "ragged")) == 10
    writer.write_master(tmp_path / "master.h5", MasterSettings())
    with h5py.File(tmp_path / "master.h5") as master:
        value = workload.value_of("ragged", 9)
        node = master["entry/collection/devices/two/ragged"]
        assert node["value"][-len(value) :].tolist() == value.tolist()
    assert [problem for problem in verify(writer.path).problems if "ragged" not in problem] == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_large_signal_that_cannot_be_continued_costs_no_other_its_master_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    path = tmp_path / "S1.zarr"
    frames = np.arange(40 * 250 * 250, dtype="<u4").reshape(40, 250, 250)
    writer = ScanWriter(path, scan_id="one", master=None)
    for number, frame in enumerate(frames):
        writer.add("cam", "image", frame)
        writer.add("mcs", "counts", number)
    writer.commit()
    writer.close()
    if damaged:
        (shard,) = chunk_files(path / "entry/collection/devices/cam/image/value")
        data = bytearray(shard.read_bytes())
        data[100_000] ^= 1
        shard.write_bytes(data)
    fault = Broken(monkeypatch, "image", "_restore")
    fault.now = True
    writer = ScanWriter(path, scan_id="one", master=None)
    assert writer.finish() is Verdict.COMPLETE_WITH_GAPS
    writer.write_master(tmp_path / "master.h5", MasterSettings(mode="reference"))
    writer.close()
    with h5py.File(tmp_path / "master.h5") as master:
        devices = master["entry/collection/devices"]
        assert devices["mcs/counts/value"][:].tolist() == list(range(40))
        if not damaged:
            np.testing.assert_array_equal(devices["cam/image/value"][...], frames)
        else:
            assert "cam" not in devices


def test_what_a_program_added_is_kept_raw_when_its_signal_fails(
    scans: ScanFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Broken(monkeypatch, "image", "publish")
    writer = scans.writer(settings=workload.settings(), master=None)
    frame = np.zeros((300, 300), "<u2")  # a camera's buffer, used again and again
    for number in range(3):
        frame[:] = number
        writer.add("eiger", "image", frame)
    fault.now = True
    writer.flush()
    kept = raw_in_quarantine(scans, "image")
    assert [np.full((300, 300), n, "<u2").tobytes() in raw for n, raw in enumerate(kept)] == 3 * [
        True
    ]
    writer.close()


def test_a_buffer_that_is_used_again_is_written_as_it_was(scans: ScanFolder) -> None:
    writer = scans.writer(master=None)
    frame = np.zeros((512, 512), "<u2")
    for number in range(3):
        frame[:] = number
        writer.add("eiger", "image", frame)
    writer.finish()
    writer.close()
    values = scans.open().devices["eiger"]["image"].value
    assert [int(values[n].max()) for n in range(3)] == [0, 1, 2]


def test_points_that_cannot_be_shown_harm_nothing_else(
    scans: ScanFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from zwriter.store import points

    original = points._write_signal

    def broken(group: Path, *args: object) -> None:
        if group.name == "samx":
            raise RuntimeError("points")
        original(group, *args)

    monkeypatch.setattr(points, "_write_signal", broken)
    with scans.writer(master=None) as scan:
        for number in range(3):
            reading = {"value": number, "timestamp": 1.0}
            scan.point(number, {"samx": {"samx": reading}, "samy": {"samy": reading}})
    assert "its points are not shown" in caplog.text
    found = scans.open()
    assert found.devices["samy"]["samy"].value[:].tolist() == [0, 1, 2]
    assert sorted(found.record.points) == [0, 1, 2]
