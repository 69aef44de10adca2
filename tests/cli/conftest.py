from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from zwriter import ScanWriter
from zwriter.cli import app


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run the command line in this process."""
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A finished scan of one device, complete."""
    path = tmp_path / "S1.zarr"
    with ScanWriter(path, scan_id="one", scan_number=1) as writer:
        for n in range(10):
            writer.add("adc", "adc_value", [float(n)] * 3, timestamp=1e9 + n)
    return path
