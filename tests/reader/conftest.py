"""A store made by hand from docs/format.md, with zarr-python: by another hand than zwriter's own
writer, so that the reader is tested against what is documented."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import pytest
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from zwriter.testing.mirror import mirror

Where = Callable[[Path], Any]
DEVICES = "entry/collection/devices"
KEYS = (("default", "/"), ("default", "."), ("v2", "."))
Rows = NDArray[Any]


@pytest.fixture(params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Where:
    """What a path below `tmp_path` is read by: itself, or a URL, whose bucket then holds what is
    below `tmp_path` at this moment."""
    if request.param == "disk":
        return lambda path: path
    server, bucket = (request.getfixturevalue(name) for name in ("s3", "bucket"))

    def mirrored(path: Path) -> str:
        return f"{mirror(tmp_path, server, bucket)}/{path.relative_to(tmp_path)}"

    return mirrored


@pytest.fixture
def handmade(tmp_path: Path) -> HandmadeStore:
    return HandmadeStore(tmp_path / "S00001.zarr")


class HandmadeStore:
    """Each method writes one thing; `per_shard` chunks go into a shard."""

    def __init__(self, path: Path, per_shard: int = 5) -> None:
        self.path = path
        self.beside = path.with_suffix(".zwriter")
        self.per_shard = per_shard
        self.root()

    def root(self, **own: Any) -> None:
        zwriter = {"format": 1, "scan_id": "abc", "scan_number": 7, "status": "open"}
        zwriter |= {"verdict": None, "start_time": 1.7e9, "end_time": None, "finished": False}
        self.group("", {"NX_class": "NXroot", "default": "entry", "zwriter": zwriter | own})
        for node in ("entry", "entry/collection", DEVICES):
            self.group(node, {})

    def group(self, node: str, attributes: dict[str, Any]) -> None:
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        (self.path / node).mkdir(parents=True, exist_ok=True)
        (self.path / node / "zarr.json").write_text(json.dumps(document))

    def growing(self, node: str, rows: Rows, chunk_rows: int, dimensions: list[str]) -> None:
        """An array of shards, as it may lie on disk while a scan is live."""
        codecs = [BytesCodec(endian="little" if rows.itemsize > 1 else None)]
        sharding = ShardingCodec(
            chunk_shape=(chunk_rows, *rows.shape[1:]),
            codecs=[*codecs, BloscCodec(cname="lz4", typesize=rows.itemsize), Crc32cCodec()],
            index_location="start",
        )
        array = zarr.create(
            store=zarr.storage.LocalStore(self.path),
            path=f"{DEVICES}/{node}",
            shape=rows.shape,
            dtype=rows.dtype,
            chunks=(chunk_rows * self.per_shard, *rows.shape[1:]),
            codecs=[sharding],
            dimension_names=dimensions,
            zarr_format=3,
            config={"write_empty_chunks": True},
        )
        array[...] = rows

    def whole(self, node: str, value: Rows, generation: int = 0) -> None:
        """An array that is written anew each time: one chunk, under the key of its generation."""
        folder = self.path / DEVICES / node
        folder.mkdir(parents=True, exist_ok=True)
        name, separator = KEYS[generation % 3]
        key = [*(["c"] if name == "default" else []), *["0"] * value.ndim]
        chunk = folder / (separator.join(key) or "0")
        chunk.parent.mkdir(exist_ok=True)
        chunk.write_bytes(value.tobytes() + _crc(value.tobytes()))
        grid = {"chunk_shape": [max(n, 1) for n in value.shape]}
        document = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(value.shape),
            "data_type": value.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": grid},
            "chunk_key_encoding": {"name": name, "configuration": {"separator": separator}},
            "fill_value": 0,
            "codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "attributes": {},
        }
        (folder / "zarr.json").write_text(json.dumps(document))

    def commit(self, device: str, seq: int, **signals: dict[str, Any]) -> None:
        """The numbered commit beside the store, then the device's copy of it."""
        for signal in signals.values():
            signal.setdefault("ledger", {"received": signal["rows"], "written": signal["rows"]})
        commit = {"format": 1, "epoch": 1, "seq": seq, "time": 1.7e9, "positions": {}}
        commit |= {"signals": signals}
        folder, node = self.beside / "commits" / device, f"{DEVICES}/{device}"
        folder.mkdir(parents=True, exist_ok=True)
        self.group(node, {"zwriter": commit})
        (folder / str(seq)).write_bytes((self.path / node / "zarr.json").read_bytes())

    def journal(self, *payloads: bytes) -> None:
        """Append records to the journal."""
        self.beside.mkdir(exist_ok=True)
        with (self.beside / "journal").open("ab") as file:
            for payload in payloads:
                file.write(struct.pack("<II", len(payload), zlib.crc32(payload)) + payload)


def _crc(data: bytes) -> bytes:
    return google_crc32c.value(data).to_bytes(4, "little")
