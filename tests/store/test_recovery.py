"""Whatever is sent, committed and lost in a crash: a continued store equals an undisturbed one."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.faults import workload
from zwriter.model import AddSlice, Position, Source, Update
from zwriter.objects import AnyPath, ObjectPath
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings, SpoolSettings, StoreSettings

DEVICES = "entry/collection/devices"
# chunks of a few rows, so that whole chunks, partial ones and several shards all occur
SETTINGS = StoreSettings(
    flush_interval=60, default=SignalSettings(chunk_bytes=64), durability="none"
)
STREAM = "stream/{}"

MODES = {name: mode for name, mode in workload.MODES.items() if name not in ("words", "bad")}


def update(signal: str, number: int) -> Update:
    mode = MODES[signal]
    if isinstance(mode, AddSlice):
        mode = AddSlice(mode.max_shape, number * 7 % 11)
    source = Source(b"raw", Position(STREAM.format(signal), f"{number}-0"))
    return Update(
        "dev", signal, mode, workload.value_of(signal, number), float(number), number, source
    )


def contents(path: Path) -> dict[str, Any]:
    """Every array below the device, by zarr-python."""
    found = {}
    for signal in MODES:
        for folder in sorted((path / DEVICES / "dev" / signal).glob("*/zarr.json")):
            array = zarr.open_array(folder.parent, mode="r")
            found[f"{signal}/{folder.parent.name}"] = array[...]
    return found


class Recovery(RuleBasedStateMachine):
    """Sends numbered updates; a crash forgets all but the files; what was not committed is sent
    again.
    """

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "scan.zarr"
        self.writer = ScanWriter(self.path, scan_id="one", settings=SETTINGS)
        self.sent = dict.fromkeys(MODES, 0)

    @rule(signal=st.sampled_from(list(MODES)), count=st.integers(1, 60))
    def send(self, signal: str, count: int) -> None:
        first = self.sent[signal]
        self.writer.apply([update(signal, first + i) for i in range(count)])
        self.sent[signal] += count

    @rule()
    def commit(self) -> None:
        self.writer.commit()

    @rule(publish=st.booleans())
    def crash(self, publish: bool) -> None:
        if publish:  # arrays may be ahead of the commit
            for device in self.writer._store.devices.values():
                for signal in device.signals.values():
                    signal.publish()
        self.writer.close()
        self.writer = ScanWriter(self.path, scan_id="one", settings=SETTINGS)
        self.go_back()

    def go_back(self) -> None:
        """What is to be sent next is what follows in Redis."""
        for signal in MODES:
            read = self.writer.positions.get(STREAM.format(signal))
            self.sent[signal] = int(read.split("-")[0]) + 1 if read else 0

    def teardown(self) -> None:
        self.writer.finish()
        self.writer.close()
        calm = ScanWriter(self.folder / "calm.zarr", settings=SETTINGS)
        for signal, count in self.sent.items():
            calm.apply([update(signal, number) for number in range(count)])
        calm.finish()
        calm.close()
        got, expected = contents(self.path), contents(self.folder / "calm.zarr")
        assert got.keys() == expected.keys()
        for name, array in expected.items():
            assert got[name].dtype == array.dtype, name
            np.testing.assert_array_equal(got[name], array, err_msg=name)
        shutil.rmtree(self.folder)


TestRecovery = Recovery.TestCase
TestRecovery.settings = settings(
    max_examples=40,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.slow
@pytest.mark.s3
def test_recovery_in_a_bucket(
    bucket: str, s3_folder: Callable[[str], ObjectPath], tmp_path: Path
) -> None:
    """The same, gone on with from the spool, or on another machine from the bucket."""
    spool, numbers = SpoolSettings(folder=tmp_path / "spool"), itertools.count()

    class InBucket(Recovery):
        def opened(self) -> ScanWriter:
            return ScanWriter(self.path, scan_id="one", settings=SETTINGS, spool=spool, master=None)

        @initialize()
        def open(self) -> None:
            self.path = s3_folder(f"{bucket}/{next(numbers)}/scan.zarr")
            self.writer = self.opened()
            self.sent = dict.fromkeys(MODES, 0)

        @rule()
        def commit(self) -> None:
            self.writer.flush()

        @rule(publish=st.booleans())
        def crash(self, publish: bool) -> None:
            self.writer.close()
            if publish:  # what is here is lost
                shutil.rmtree(spool.folder)
            self.writer = self.opened()
            self.go_back()

        def teardown(self) -> None:
            self.writer.finish()
            self.writer.close()
            assert verify(self.path).problems == []
            with tempfile.TemporaryDirectory() as folder:
                calm = ScanWriter(Path(folder) / "calm.zarr", settings=SETTINGS)
                for signal, count in self.sent.items():
                    calm.apply([update(signal, number) for number in range(count)])
                calm.finish()
                calm.close()
                assert read_all(self.path) == read_all(Path(folder) / "calm.zarr")

    few = settings(
        max_examples=5,
        stateful_step_count=10,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(InBucket, settings=few)


def read_all(path: AnyPath) -> dict[str, tuple[str, str]]:
    """Every array below the device, by our reader."""
    signals = open_scan(path).devices.get("dev", {})
    return {
        f"{name}/{key}": (str(array.dtype), repr(np.asarray(array).tolist()))
        for name in sorted(signals)
        for key, array in sorted(signals[name].arrays.items())
    }
