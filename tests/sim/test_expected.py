"""What `expected` says of a device is what a store written from its pushes holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from zwriter import ScanWriter, open_scan
from zwriter.model import Update
from zwriter.sim.devices import DEFAULT_SPECS, device
from zwriter.sim.expected import expected


@pytest.mark.parametrize("spec", DEFAULT_SPECS)
def test_a_store_written_from_a_devices_pushes_holds_what_is_expected(spec: str, tmp_path: Path):
    made = device(spec)
    count = min(made.pushes(2), 60)
    with ScanWriter(tmp_path / "S1.zarr", scan_id="s", scan_number=1) as writer:
        for n in range(count):
            push = made.push(n, 1e9)
            writer.apply(
                Update(made.name, signal, push.mode, reading["value"], reading["timestamp"])
                for signal, reading in push.readings.items()
            )
        writer.commit()
        signals = open_scan(tmp_path / "S1.zarr").devices[made.name]
        for name, wanted in expected(made, count, 1e9).items():
            wanted.check(signals[name])
