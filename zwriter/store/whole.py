"""Arrays that are written whole each time, as one chunk: what `replace` and sync data need."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.failpoint import failpoint
from zwriter.settings import SignalSettings
from zwriter.store.array_state import codec_of, dtype_from_json, dtype_json, shard_key
from zwriter.store.codecs import codec_for
from zwriter.store.disk import replace_file, step, sync_file, sync_names
from zwriter.store.zarr_json import (
    array_json,
    chunk_files,
    generation_of,
    next_generation,
    read_json,
    stored_shape,
    write_json,
)


class WholeArray:
    """Each value goes under another chunk key and becomes visible, with its shape and dtype, in one
    step. The value of the last commit stays until the next one.

    state: what the last commit says of this array, if there is one.
    """

    def __init__(self, path: Path, settings: SignalSettings, state: dict[str, Any] | None) -> None:
        self.path = path
        self._settings = settings
        self._committed = state
        self._state = state
        self._shown = _generation_shown(path)  # may be ahead of the commit
        self._synced = True

    def write(
        self, value: NDArray[Any], dimension_names: list[str], attributes: dict[str, Any]
    ) -> None:
        """Make `value` the array's content."""
        codec = codec_for(value.dtype, self._settings)
        generation = self._next_generation(stored_shape(value.shape, value.dtype))
        state = {
            "shape": list(value.shape),
            "dtype": dtype_json(value.dtype),
            "generation": generation,
            "codec": [codec.name, codec.level],
            "crc": None,
            "open": [],
        }
        path = self.path / shard_key(state, 0)
        _make_room(path)
        if value.size:
            data, crc = codec.encode(np.ascontiguousarray(value))
            state["crc"] = int.from_bytes(crc, "little")
            replace_file(path, b"".join((data, crc)))
        else:
            _remove(path)
        failpoint("whole.written")
        self._state, self._shown = state, None
        self.show(dimension_names, attributes)

    def show(self, dimension_names: list[str], attributes: dict[str, Any]) -> None:
        """Point readers to the array's value, if they are pointed to another one."""
        if self._state is None or self._shown == self._state["generation"]:
            return
        shape, dtype = tuple(self._state["shape"]), dtype_from_json(self._state["dtype"])
        known = "codec" in self._state  # not if an earlier version wrote it
        codec = codec_of(self._state) if known else codec_for(dtype, self._settings)
        document = array_json(
            shape,
            dtype,
            chunk_grid=tuple(max(size, 1) for size in shape),
            codecs=codec.zarr_json(),
            generation=self._state["generation"],
            dimension_names=dimension_names,
            attributes=attributes,
        )
        write_json(self.path / "zarr.json", document)
        self._shown = self._state["generation"]
        self._synced = False

    def _next_generation(self, shape: tuple[int, ...]) -> int:
        """One whose file is neither that of the last commit nor, if possible, what is shown."""
        committed = None if self._committed is None else Path(shard_key(self._committed, 0))

        def taken(key: str) -> bool:
            return committed is not None and _in_the_way(Path(key), committed)

        return next_generation(self._shown, len(shape), taken)

    def state(self) -> dict[str, Any]:
        """What a commit that is made now says of this array."""
        assert self._state is not None
        return self._state

    def committed(self) -> None:
        """There is a commit that says what `state` does."""
        self._committed = self._state

    @property
    def shape(self) -> tuple[int, ...]:
        assert self._state is not None
        return tuple(self._state["shape"])

    def sync(self, top: Path) -> None:
        """Return when the value is on the disk, with the names in all folders up to `top`."""
        if self._synced or self._state is None:
            return
        for path in (self.path / shard_key(self._state, 0), self.path / "zarr.json"):
            if path.exists():
                sync_file(path)
                sync_names(path, top)
        self._synced = True

    def trim(self) -> None:
        """Remove the files of older values, make the last one read-only."""
        assert self._state is not None
        keep = self.path / shard_key(self._state, 0)
        for path in set(chunk_files(self.path)) - {keep}:
            path.unlink(missing_ok=True)
        if keep.exists():
            keep.chmod(0o444)


def _generation_shown(path: Path) -> int | None:
    try:
        return generation_of(read_json(path / "zarr.json"))
    except (FileNotFoundError, ValueError):  # none, or what a power cut has left of it
        return None


def _in_the_way(one: Path, other: Path) -> bool:
    """Whether both cannot be there: the same file, or one a folder in the other's path."""
    return one == other or one in other.parents or other in one.parents


@step
def _make_room(path: Path) -> None:
    """Keys like `c/0` need a folder where an older value of fewer dimensions has its file."""
    if path.is_dir():
        shutil.rmtree(path)
    for folder in path.parents:
        if folder.is_file():
            folder.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)


@step
def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
