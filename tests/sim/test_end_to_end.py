"""Simulated devices, a real Redis, the real service, the real reader."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import pytest

from zwriter import open_scan
from zwriter.protocol import Publisher
from zwriter.reader import listing
from zwriter.service import run
from zwriter.settings import load_settings
from zwriter.sim.demo import run_demo
from zwriter.sim.devices import DEFAULT_SPECS, device
from zwriter.sim.expected import expected
from zwriter.sim.simulation import Simulation


@contextmanager
def service(url: str, root: Path) -> Iterator[None]:
    ready, stop = threading.Event(), threading.Event()
    settings = load_settings(root=root, redis={"url": url})
    thread = threading.Thread(target=run, args=(settings, stop, ready.set), daemon=True)
    thread.start()
    try:
        assert ready.wait(120)
        yield
    finally:
        stop.set()
        thread.join(120)


def test_a_simulated_scan_of_all_devices_is_written_as_it_was_pushed(
    redis_url: str, tmp_path: Path
):
    simulation = Simulation([device(spec) for spec in DEFAULT_SPECS], seconds=2, speed=math.inf)
    with service(redis_url, tmp_path), Publisher(redis_url) as publisher:
        simulation.run(publisher)
        path = tmp_path / "S00000-00999" / "S00001" / "S00001.zarr"
        while not path.exists():
            threading.Event().wait(0.05)
        (*_, scan) = open_scan(path).follow(timeout=300)
    assert scan.verdict == "COMPLETE"
    for made in simulation.devices.values():
        wanted = expected(made, simulation.pushed[made.name], simulation.start)
        assert scan.devices[made.name].keys() == wanted.keys()
        for name, signal in wanted.items():
            signal.check(scan.devices[made.name][name])
    samx = [simulation.point(n)["samx"]["samx"]["value"] for n in range(simulation.points)]
    assert scan.devices["samx"]["samx"].value[...].tolist() == samx
    assert scan.baseline["samz"]["samz"]["value"] == 0.25
    assert set(scan.configuration) == set(simulation.devices)


@pytest.mark.slow
def test_the_demo_shows_a_partial_scan_and_a_complete_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run_demo(tmp_path, seconds=3)
    run_demo(tmp_path, seconds=1)
    shown = capsys.readouterr().out
    assert "status open, not finished" in shown
    assert "eiger_image: timestamp 150 float64, value 150x512x512 uint16" in shown
    assert shown.count("Verdict COMPLETE") == 2
    lines = listing(tmp_path / "scans")
    assert [(line["scan_number"], line["verdict"]) for line in lines] == [
        (1, "COMPLETE"),
        (2, "COMPLETE"),
    ]
    for line in lines:
        store = Path(line["path"])
        assert str(store) in shown
        assert h5py.is_hdf5(store.with_name(f"{store.stem}_master.h5"))
