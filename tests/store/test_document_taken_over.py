"""Documents are written in place: those of a store that is taken over are files of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from zwriter.errors import Fenced
from zwriter.scan import ScanWriter
from zwriter.store.layout import DEVICES
from zwriter.testing.failpoints import failing


def test_a_writer_that_is_fenced_at_a_document_shows_no_row_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "S1.zarr"
    value = f"{DEVICES}/dev/sig/value"
    successors: list[ScanWriter] = []

    def take_over() -> None:
        if not successors:
            successors.append(ScanWriter(path, scan_id="one", master=None))

    old = ScanWriter(path, scan_id="one", master=None)
    for count in (5, 5):
        for n in range(count):
            old.add("dev", "sig", np.full(3, float(n)))
        old.commit()
    for n in range(5):
        old.add("dev", "sig", np.full(3, float(n)))
    with failing("document.writing", take_over), pytest.raises(Fenced):
        old.commit()
    (new,) = successors
    assert json.loads((path / value / "zarr.json").read_bytes())["shape"] == [10, 3]
    assert zarr.open_array(path / value, mode="r").shape == (10, 3)
    for n in range(7):
        new.add("dev", "sig", np.full(3, float(n)))
    new.commit()
    assert zarr.open_array(path / value, mode="r").shape == (17, 3)
    new.finish()
    new.close()
    with pytest.raises(Fenced):
        old.close()
