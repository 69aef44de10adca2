"""What is read once, as a finished store shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zwriter.store.finishing import store_readings
from zwriter.store.record import ScanRecord


def shown(tmp_path: Path, value: Any) -> Any:
    """A value as the attributes of the configuration have it."""
    record = ScanRecord(configuration={"det": {"mask": {"value": value}}})
    store_readings(tmp_path, record)
    document = json.loads((tmp_path / "entry/collection/configuration/zarr.json").read_bytes())
    return document["attributes"]["configuration"]["det"]["mask"]["value"]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.arange(4, dtype=np.uint8).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([0.5, 1.5]), [0.5, 1.5]),
        (np.array([0.5, np.nan, -np.inf]), [0.5, "nan", "-inf"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(7), 7),
        (np.float32(0.5), 0.5),
        (np.ones(1, np.longdouble), ["1.0"]),
    ],
)
def test_a_small_array_is_shown(tmp_path, value, plain):
    assert shown(tmp_path, value) == plain


def test_of_a_large_array_only_shape_and_dtype_are_shown(tmp_path):
    value = np.zeros((300, 300), np.uint8)
    assert shown(tmp_path, value) == {"shape": [300, 300], "dtype": "uint8"}
