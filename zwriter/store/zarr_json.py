"""`zarr.json` documents, replaced in one step. zarr-python describes the dtypes; the rest is too
slow there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from zarr.dtype import parse_dtype

from zwriter.assemble import fill_value
from zwriter.store.disk import replace_file, walk

_WORD = 8  # bytes, which a processor copies in one go
GENERATIONS = (("default", "/"), ("default", "."), ("v2", "."))


def stored_shape(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """A shape as Zarr has it: records are their bytes there, along one more axis.

    zarr 3.1 cannot read records from shards, tensorstore not at all; bytes everybody can.
    """
    return (*shape, dtype.itemsize) if dtype.kind == "V" else shape


def chunk_key(generation: int, ndim: int, number: int) -> str:
    """Where the chunk (or shard) `number` along axis 0 lies, relative to its array of `ndim` stored
    axes.
    """
    name, separator = GENERATIONS[generation % 3]
    parts = [str(number), *["0"] * (ndim - 1)] if ndim else []
    if name == "default":
        parts.insert(0, "c")
    return separator.join(parts) or "0"


def next_generation(shown: int | None, ndim: int, taken: Callable[[str], bool]) -> int:
    """One whose chunk, of an array that is one, is neither `taken` nor, if possible, that of the
    generation that is shown. The key of a scalar is the same in two generations.
    """
    shown = 2 if shown is None else shown
    keys = {g: chunk_key(g, ndim, 0) for g in ((shown + 1) % 3, (shown + 2) % 3, shown)}
    free = [generation for generation, key in keys.items() if not taken(key)]
    other = [generation for generation in free if keys[generation] != keys[shown]]
    return (other or free)[0]


def chunk_key_encoding(generation: int) -> dict[str, Any]:
    """What an array's `zarr.json` says of the keys of a generation."""
    name, separator = GENERATIONS[generation % 3]
    return {"name": name, "configuration": {"separator": separator}}


def generation_of(document: dict[str, Any]) -> int:
    """The generation (0, 1 or 2) of the chunks that an array's `zarr.json` points to."""
    encoding = document["chunk_key_encoding"]
    separator = encoding.get("configuration", {}).get("separator", "/")
    return GENERATIONS.index((encoding["name"], separator))


def group_json(attributes: dict[str, Any]) -> dict[str, Any]:
    """A group's document."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def array_json(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    chunk_grid: tuple[int, ...],
    codecs: list[dict[str, Any]],
    generation: int,
    dimension_names: list[str],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    """An array's document; `chunk_grid` is the shape of a shard, or of the chunk where there are
    none.
    """
    if dtype.kind == "V":
        shape, chunk_grid = stored_shape(shape, dtype), stored_shape(chunk_grid, dtype)
        first = dimension_names[0] if dimension_names else "record"
        dimension_names = [*dimension_names, f"{first}_byte"]
        attributes = {**attributes, "zwriter": {"record": [list(field) for field in dtype.descr]}}
        dtype = np.dtype(np.uint8)
    data_type, fill = _dtype_json(dtype)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk_grid)}},
        "chunk_key_encoding": chunk_key_encoding(generation),
        "fill_value": fill,
        "codecs": codecs,
        "dimension_names": dimension_names,
        "attributes": attributes,
    }


class GrowingArray:
    """An array's document as text, in which only the number of rows changes."""

    def __init__(self, document: dict[str, Any]) -> None:
        shape = ["rows", *document["shape"][1:]]
        text = to_text({**document, "shape": shape})
        self._before, _, self._behind = text.partition(b'"rows"')  # no name stands before it
        end = (len(self._before) // _WORD + 2) * _WORD
        self.word = slice(end - _WORD, end)  # of a text, where the last digits are
        self._width = end - len(self._before)

    def text(self, rows: int) -> bytes:
        """The document of the array while it has so many rows."""
        return b"%b%*d%b" % (self._before, self._width, rows, self._behind)


@lru_cache(1000)
def _dtype_json(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    zdtype = parse_dtype(dtype, zarr_format=3)
    return zdtype.to_json(zarr_format=3), zdtype.to_json_scalar(fill_value(dtype), zarr_format=3)


def sharding(chunk: tuple[int, ...], codecs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The codec list of an array of shards with `chunk` and its inner `codecs`."""
    configuration = {
        "chunk_shape": list(chunk),
        "codecs": codecs,
        "index_codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "crc32c"},
        ],
        "index_location": "start",
    }
    return [{"name": "sharding_indexed", "configuration": configuration}]


def consolidated(path: Path) -> dict[str, Any]:
    """The root document of a store with all other documents in it, which are many fewer reads.

    What zarr-python's `consolidate_metadata` makes; it warns that this is an extension of Zarr v3,
    and warnings cannot be silenced in one thread alone.
    """
    inside: dict[str, dict[str, Any]] = {}
    for folder, names, _ in walk(path):
        names.sort()
        document = read_json(folder / "zarr.json")
        if document["node_type"] == "array":
            names.clear()  # chunks
        else:
            document["consolidated_metadata"] = _inline({})
        inside[str(folder.relative_to(path))] = document
    return inside.pop(".") | {"consolidated_metadata": _inline(inside)}


def _inline(metadata: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": metadata}


def write_json(path: Path, document: dict[str, Any], *, sync: bool = False) -> None:
    """Replace `path` in one step."""
    replace_file(path, to_text(document), sync=sync)


def to_text(document: dict[str, Any]) -> bytes:
    """A document as it is stored."""
    return json.dumps(document, separators=(",", ":")).encode()


def read_json(path: Path) -> dict[str, Any]:
    """A document. Raises FileNotFoundError, and ValueError if it is not JSON."""
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def chunk_files(path: Path) -> Iterator[Path]:
    """Every file of an array's chunks, of whatever generation."""
    for found in path.rglob("*"):
        if found.is_file() and found.name != "zarr.json":
            yield found
