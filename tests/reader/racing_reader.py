"""Looks at a scan again and again while another process writes it: `racing_reader.py KIND STORE`.

Prints a JSON line {looks, rows, wrong, errors} after enough looks and one when it is finished.
Every value tells where it belongs (see test_race.py), so a wrong row cannot go unnoticed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from zwriter.errors import StoreError
from zwriter.reader import open_scan
from zwriter.store.layout import side_folder

ENOUGH = 60
DEVICES = "entry/collection/devices"
Open = Callable[[str], Any]


def main(kind: str, store: Path) -> None:
    look = look_with_our_reader if kind == "zwriter" else look_at_arrays(OPEN[kind], store)
    looks, rows, wrong, errors = 0, 0, [], []
    while True:
        finished = not side_folder(store).exists()
        try:
            rows, found = look(store)
            if kind == "zarr" and not finished and not side_folder(store).exists():
                found = []  # it may have been too slow, as docs/format.md says
            wrong += found
        except (ValueError, RuntimeError, OSError, StoreError) as error:  # loud, not wrong
            errors.append(repr(error))
        looks += 1
        if finished or looks == ENOUGH:
            line = {"looks": looks, "rows": rows, "wrong": wrong, "errors": errors}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
        if finished:
            return


def look_with_our_reader(store: Path | str) -> tuple[int, list[str]]:
    wrong: list[str] = []
    det = open_scan(store).devices["det"]
    n = len(det["image"].rows)
    if not np.array_equal(det["image"].value[...], np.arange(n)[:, None, None] + np.zeros((4, 3))):
        wrong.append(f"image of {n}")
    if not np.array_equal(det["image"].timestamp, np.arange(n)):
        wrong.append(f"timestamps of {n}")
    if [list(row) for row in det["ragged"].rows] != [[i] * (i % 5) for i in range(n)]:
        wrong.append(f"ragged of {n}")
    for row, values in enumerate(det["slices"].rows):
        expected = np.repeat(np.arange(row, len(values) * 5 + row, 10), 2)
        if not np.array_equal(values, expected) or len(values) < 2 * (n // 10):
            wrong.append(f"row {row} of slices at {n}: {values}")
    if [list(row) for row in det["pieces"].rows] != [
        list(range(row, n, 10)) for row in range(min(n, 10))
    ]:
        wrong.append(f"pieces of {n}")
    value, timestamp = np.asarray(det["replaced"].value), det["replaced"].timestamp
    if value.size and not np.array_equal(value, np.full_like(value, timestamp[0])):
        wrong.append(f"replaced: {value} at {timestamp[0]}")
    return n, wrong


def look_at_arrays(open_array: Open, store: Path | str) -> Callable[[Any], tuple[int, list[str]]]:
    """Plain readers know of no commit: arrays may be ahead of it, but offsets come after values."""

    def look(_: Any) -> tuple[int, list[str]]:
        wrong: list[str] = []
        folder = f"{store}/{DEVICES}/det"
        image = open_array(f"{folder}/image/value")
        n = len(image)
        if not np.array_equal(image, np.arange(n)[:, None, None] + np.zeros((4, 3))):
            wrong.append(f"image of {n}")
        offsets = open_array(f"{folder}/ragged/offsets")
        values = open_array(f"{folder}/ragged/value")[: offsets[-1]]
        lengths = np.arange(len(offsets) - 1) % 5
        if not np.array_equal(offsets, np.cumsum([0, *lengths])):
            wrong.append(f"offsets of {len(offsets)}")
        if not np.array_equal(values, np.repeat(np.arange(len(lengths)), lengths)):
            wrong.append(f"ragged values of {len(lengths)}")
        return n, wrong

    return look


def open_with_zarr(path: str) -> Any:
    import zarr

    return zarr.open_array(path, mode="r")[...]


def open_with_tensorstore(path: str) -> Any:
    import tensorstore

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    return tensorstore.open(spec, read=True, open=True).result().read().result()


OPEN: dict[str, Open] = {"zarr": open_with_zarr, "tensorstore": open_with_tensorstore}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
