"""Arrays that are written whole each time, as one chunk: what `replace` and sync data need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.settings import SignalSettings
from zwriter.store.arrays import chunk_files, dtype_from_json, dtype_json
from zwriter.store.codecs import codec_for
from zwriter.store.zarr_json import (
    array_json,
    chunk_key,
    generation_of,
    read_json,
    stored_shape,
    write_json,
)


class WholeArray:
    """Each value goes under the next chunk key and becomes visible, with its shape and dtype, by
    one rename.
    """

    def __init__(self, path: Path, settings: SignalSettings, state: dict[str, Any] | None) -> None:
        self.path = path
        self._settings = settings
        self._state = state or {"shape": None, "dtype": None, "generation": 2, "open": []}
        if (path / "zarr.json").exists():  # may be ahead of the commit
            self._state["generation"] = generation_of(read_json(path / "zarr.json"))

    def write(
        self, value: NDArray[Any], dimension_names: list[str], attributes: dict[str, Any]
    ) -> None:
        """Make `value` the array's content."""
        generation = (self._state["generation"] + 1) % 3
        if generation == 1 and value.ndim == 0:
            generation = 2  # a scalar's key is the same in generations 0 and 1
        codec = codec_for(value.dtype, self._settings)
        path = self.path / chunk_key(generation, len(stored_shape(value.shape, value.dtype)), 0)
        _make_room(path)
        if value.size:
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_bytes(b"".join(codec.encode(np.ascontiguousarray(value))))
            temporary.replace(path)
        else:
            path.unlink(missing_ok=True)
        document = array_json(
            value.shape,
            value.dtype,
            chunk_grid=tuple(max(size, 1) for size in value.shape),
            codecs=codec.zarr_json(),
            generation=generation,
            dimension_names=dimension_names,
            attributes=attributes,
        )
        write_json(self.path / "zarr.json", document)
        self._state = {
            "shape": list(value.shape),
            "dtype": dtype_json(value.dtype),
            "generation": generation,
            "open": [],
        }

    def state(self) -> dict[str, Any]:
        """What a commit says of this array."""
        return self._state

    def trim(self) -> None:
        """Remove the files of older values, make the last one read-only."""
        shape, dtype = tuple(self._state["shape"]), dtype_from_json(self._state["dtype"])
        ndim = len(stored_shape(shape, dtype))
        keep = self.path / chunk_key(self._state["generation"], ndim, 0)
        for path in set(chunk_files(self.path)) - {keep}:
            path.unlink()
        if keep.exists():
            keep.chmod(0o444)


def _make_room(path: Path) -> None:
    """Keys like `c/0` need a folder where an older value of fewer dimensions has its file."""
    if path.is_dir():
        shutil.rmtree(path)
    for folder in path.parents:
        if folder.is_file():
            folder.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
