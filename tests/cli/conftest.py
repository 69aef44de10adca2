from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from zwriter import ScanWriter
from zwriter.cli import app
from zwriter.objects import AnyPath


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run the command line in this process."""
    return lambda *args: CliRunner().invoke(app, [str(arg) for arg in args])


def complete(writer: ScanWriter) -> AnyPath:
    """A finished scan of one device, complete."""
    with writer:
        for n in range(10):
            writer.add("adc", "adc_value", [float(n)] * 3, timestamp=1e9 + n)
    return writer.path


@pytest.fixture
def scan(tmp_path: Path) -> AnyPath:
    return complete(ScanWriter(tmp_path / "S1.zarr", scan_id="one", scan_number=1))
