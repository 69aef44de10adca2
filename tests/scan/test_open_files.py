"""Each array that grows is an open file: there may be more than a login shell allows."""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from zwriter import open_scan, verify

WRITE = """
import errno, sys
from zwriter import ScanWriter

class Impatient:
    def refused(self, error):
        raise error
    def accepted(self):
        pass

scan = ScanWriter(sys.argv[1], master=None, patience=Impatient())
try:
    for row in range(3):
        for number in range(150):
            scan.add("dev", f"signal_{number}", float(row), 1.7e9 + row)
        scan.commit()
except OSError as error:
    assert error.errno == errno.EMFILE, error
    sys.exit(7)
scan.finish()
scan.close()
"""


@pytest.mark.parametrize(("hard", "code"), [(1000, 0), (200, 7)])
def test_as_many_are_open_as_may_be_and_if_these_are_too_few_that_is_told(
    tmp_path: Path, hard: int, code: int
) -> None:
    path = tmp_path / "S1.zarr"
    limits = partial(resource.setrlimit, resource.RLIMIT_NOFILE, (200, hard))
    command = [sys.executable, "-c", WRITE, str(path)]
    assert subprocess.run(command, preexec_fn=limits, timeout=120).returncode == code
    if code == 0:
        assert verify(path).problems == []
        signals = open_scan(path).devices["dev"]
        assert {tuple(signal.value[...].tolist()) for signal in signals.values()} == {(0, 1, 2)}
