"""Scans that services are killed over: what is pushed, what is compared, and the service."""

from __future__ import annotations

import numpy as np

SERVICE = """
import sys, threading
from zwriter.service import run
from zwriter.settings import Settings
settings = Settings.model_validate_json(sys.argv[1])
run(settings, threading.Event(), lambda: print("ready", flush=True))
"""


def push(scan, numbers) -> None:
    """Some of everything: the same for the same numbers, whatever the scan."""
    for n in numbers:
        rng = np.random.default_rng(n)
        frame = rng.integers(0, 1000, (64, 64), np.uint16)
        scan.add("eiger", "image", frame, timestamp=float(n), max_shape=(None, 64, 64))
        scan.add("mcs", "counts", n, timestamp=float(n), max_shape=(None,))
        scan.add("mcs", "mixed", n if n < 40 else n + 0.5, timestamp=1.0, max_shape=(None,))
        ragged = rng.normal(size=n % 7).tolist()
        scan.add("mcs", "ragged", ragged, timestamp=1.0, max_shape=(None, None))
        piece = rng.normal(size=3)
        scan.add_slice("det", "rows", n % 5, piece, timestamp=1.0, max_shape=(None, 200))
        scan.add_slice("det", "pieces", n % 3, piece, timestamp=1.0, max_shape=(None, None))
        scan.replace("det", "last", n, timestamp=float(n))
        reading = {"value": n / 2, "timestamp": float(n)}
        scan.point(n, {"samx": {"samx": reading, "samx_setpoint": reading}})


def arrays(scan) -> dict[str, list]:
    """Everything that is in the scan's store, but for times and ids."""
    return {
        f"{device}/{name}": [
            signal.layout,
            [np.asarray(row).tolist() for row in signal.rows],
            None if signal.timestamp is None else np.asarray(signal.timestamp[:]).tolist(),
            {**signal.ledger.to_json()},
        ]
        for device, signals in scan.devices.items()
        for name, signal in signals.items()
    }
