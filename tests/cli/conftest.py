from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
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


@pytest.fixture
def forbid() -> Iterator[Callable[[Path], None]]:
    """From now on, and in this thread, a path may not be read, not even by root."""
    libc, forbidden = ctypes.CDLL(None), dict[Path, int]()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # capabilities of this thread, of 64 bits
    ours, less = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, ours) == libc.capget(header, less) == 0
    less[0] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH

    def forbid(path: Path) -> None:
        forbidden[path] = path.stat().st_mode
        path.chmod(0)
        assert libc.capset(header, less) == 0

    yield forbid
    assert libc.capset(header, ours) == 0
    for path, mode in forbidden.items():
        path.chmod(mode)
