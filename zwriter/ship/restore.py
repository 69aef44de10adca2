"""A scan that another machine began, brought from its bucket into a spool here, as far as it is
needed to go on: of shards that are sealed, only the head.
"""

from __future__ import annotations

import json
import logging
from base64 import b64decode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar
from zlib import decompress

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import StoreError
from zwriter.protocol import safe_name
from zwriter.ship.bucket import Bucket
from zwriter.ship.commits import newest_commit
from zwriter.ship.documents import NAME
from zwriter.ship.shards import read_again
from zwriter.store.appended import AppendArray
from zwriter.store.array_state import (
    chunk_bound,
    chunks_in_shard,
    dtype_from_json,
    free_before,
    shard_chunks,
    shard_key,
)
from zwriter.store.codecs import intact
from zwriter.store.commits import commit_document
from zwriter.store.disk import sync_tree
from zwriter.store.layout import FED_BY, GROUPS, LOGS
from zwriter.store.log_parts import chosen
from zwriter.store.pieces import PIECES, Filled, Sections, joined, sections_in
from zwriter.store.placed import PlacedArray
from zwriter.store.shard_index import (
    FIRST_CHUNK,
    MISSING,
    end_of,
    index_bytes,
    index_nbytes,
    parse_index,
)

log = logging.getLogger(__name__)

T = TypeVar("T")
_AT_ONCE = 8


def restore(bucket: Bucket, store: str, side: str, devices: str, into: Path) -> None:
    """Write to `into`/store and `into`/side what those folders of the bucket have.

    Raises StoreError if what a commit says is not there.
    """
    for folder in ("store", "side/commits"):
        (into / folder).mkdir(parents=True)
    with ThreadPoolExecutor(_AT_ONCE, "restore") as pool:
        _Restored(bucket, store, into / "store", devices, pool).documents()
        for name in LOGS:
            _copy_log(bucket, f"{side}/{name}", into / "side" / name)
        if mark := bucket.read(f"{side}/{FED_BY}"):
            (into / "side" / FED_BY).write_bytes(mark)
        for device in filter(safe_name, bucket.names(f"{side}/commits")):
            here = _Restored(bucket, store, into / "store", f"{devices}/{device}", pool)
            seq, commit = here.newest(f"{side}/commits/{device}", f"{side}/{PIECES}/{device}")
            if commit is None:
                continue
            path = into / "side" / "commits" / device / f"{seq:010d}"
            path.parent.mkdir(parents=True)
            path.write_bytes(commit_document(here.device(commit)))
    sync_tree(into)


def _copy_log(bucket: Bucket, key: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    while not _is_copied(bucket, key, path):
        bucket.outage.pause(0.1)


def _is_copied(bucket: Bucket, key: str, path: Path) -> bool:
    """Copy a log; False if some of its parts were joined with others meanwhile."""
    with path.open("wb") as file:
        for part in chosen(bucket.names(key)):
            data = bucket.read(f"{key}/{part.name}", little=False)
            if data is None:
                return False
            file.write(data)
    return True


class _Restored:
    """What lies below the node `node` of the store `key`, below the folder `path`."""

    def __init__(
        self, bucket: Bucket, key: str, path: Path, node: str, pool: ThreadPoolExecutor
    ) -> None:
        self._bucket, self._key, self._path, self._node = bucket, key, path, node
        self._pool = pool
        self._pieces: list[Sections] = []

    def documents(self) -> None:
        """Those of groups that all scans have."""
        self._side_by_side(self._document, ("", *GROUPS))

    def newest(self, commits: str, pieces: str) -> tuple[int, dict[str, Any] | None]:
        """A device's newest commit, and its number; the pieces that it names are read."""
        last = 0
        while True:
            seq, commit = newest_commit(self._bucket, commits)
            names = commit.get("pieces", ()) if commit else ()
            found = self._side_by_side(lambda name: self._piece(f"{pieces}/{name}"), names)
            if None not in found:
                self._pieces = [sections for sections in found if sections is not None]
                return seq, commit
            if seq == last:  # else who wrote before us removed them, after a later commit
                raise StoreError(f"{self._bucket.folder}/{pieces}: commit {seq} lacks a piece")
            last = seq

    def _piece(self, key: str) -> Sections | None:
        piece = self._bucket.read(key, little=False)
        return None if piece is None else sections_in(piece)

    def device(self, commit: dict[str, Any]) -> dict[str, Any]:
        """A device as a commit in the bucket has it; the commit as the spool has it."""
        names = [name for signal in commit["signals"].values() for name in signal["arrays"]]
        if not all(map(safe_name, (*names, *commit["signals"]))):
            raise StoreError(
                f"{self._bucket.folder}/{self._node}: its commit has names of no signals"
            )
        nodes = [self._node]
        jobs: list[tuple[str, dict[str, Any], str]] = []
        for signal, of_signal in commit["signals"].items():
            nodes.append(f"{self._node}/{signal}")
            for name, state in of_signal["arrays"].items():
                nodes.append(node := f"{self._node}/{signal}/{name}")
                jobs.append((node, state, of_signal["layout"]))
        self._side_by_side(self._document, nodes)
        states = iter(self._side_by_side(self._array, jobs))
        signals = {}
        for signal, of_signal in commit["signals"].items():
            arrays = {name: next(states) for name in of_signal["arrays"]}
            value = of_signal["arrays"].get("value", {})
            if of_signal["layout"] == "slices" and "in_shards" in value:
                arrays |= self._with_fills(signal, arrays)
            signals[signal] = _signal(of_signal, arrays)
        known = {key: value for key, value in commit.items() if key not in ("spool", "pieces")}
        return known | {"signals": signals}

    def _side_by_side(self, function: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
        return list(self._pool.map(function, items))

    def _document(self, node: str) -> None:
        text = self._bucket.read("/".join(part for part in (self._key, node, NAME) if part))
        if text is not None:
            folder = self._path / node
            folder.mkdir(parents=True, exist_ok=True)
            (folder / NAME).write_bytes(text)

    def _array(self, job: tuple[str, dict[str, Any], str]) -> dict[str, Any] | None:
        """An array's state as the spool has it; None for a value that is not there any more."""
        node, state, layout = job
        if layout == "replace":
            there = state["crc"] is None or self._value(node, state)
            return state if there else None
        if "in_shards" not in state:
            return self._growing(node, state, layout)
        stored = {key: value for key, value in state.items() if key != "in_shards"}
        if layout == "slices" and not node.endswith("/timestamp"):
            return self._growing(node, stored, layout)
        rows, *row_shape = state["shape"]
        sealed: int = len(state["sealed"]) * shard_chunks(state) * state["chunk_rows"]
        stored["shape"] = [min(max(state["in_shards"], sealed), rows), *row_shape]
        return self._with_pieces(node, self._growing(node, stored, layout), rows)

    def _growing(self, node: str, state: dict[str, Any], layout: str) -> dict[str, Any]:
        """An array of shards, and its state as the spool has it."""
        places: list[list[int]] = []
        for number, end, whole in state["ends"]:
            places += self._open_shard(node, state, number, end, whole, layout)
        for number, _ in state["sealed"]:
            all_of_it = read_again(node.rpartition("/")[2], state, number)
            data = self._read(node, shard_key(state, number), None if all_of_it else FIRST_CHUNK)
            self._write(node, shard_key(state, number), [(0, data)])
        known = {key: value for key, value in state.items() if key != "chunks"}
        return {**known, "open": places}

    def _with_pieces(self, node: str, state: dict[str, Any], rows: int) -> dict[str, Any]:
        """The array with all its `rows`, as who writes it would have it; its state."""
        here, (signal, name) = state["shape"][0], node.split("/")[-2:]
        with closing(AppendArray.restored(self._path / node, state, None)) as array:
            if here < rows:
                sections = [s[signal, name] for s in self._pieces if (signal, name) in s]
                array.append(joined(sections, here, rows))
            return self._shown(array)

    def _with_fills(self, signal: str, arrays: dict[str, Any]) -> dict[str, Any]:
        """The same of a signal whose rows are filled in place, what is in shards that are sealed
        excepted."""
        folder, states = self._path / self._node / signal, (arrays["value"], arrays["length"])
        sealed = {shard for shard, _ in states[0]["sealed"]}
        with (
            closing(PlacedArray.restored(folder / "value", states[0])) as value,
            closing(PlacedArray.restored(folder / "length", states[1])) as length,
        ):
            for filled in filter(None, (Filled.within(piece, signal) for piece in self._pieces)):
                for row, start, values in filled.parts(np.arange(len(filled.rows))):
                    length.write(row, 0, np.array(start + len(values)))
                    if row // (value.chunk_rows * value.shard_chunks) not in sealed:
                        value.write(row, start, values)
            length.flush()
            value.are_full(length.values() == value.row_shape[0])
            return {"value": self._shown(value), "length": self._shown(length)}

    def _shown(self, array: AppendArray | PlacedArray) -> dict[str, Any]:
        """The array's state, once all of it is in its files."""
        array.flush()
        document = json.loads((array.path / NAME).read_bytes())
        names = document["dimension_names"][: len(array.shape)]  # not that of a record's bytes
        array.publish(names, document["attributes"])
        return array.state()

    def _value(self, node: str, state: dict[str, Any]) -> bool:
        stored = self._bucket.read(f"{self._key}/{node}/{shard_key(state, 0)}", little=False) or b""
        if not intact(stored, state["crc"]):
            log.warning("%s/%s: its value is lost", self._bucket.folder, node)
            return False
        self._write(node, shard_key(state, 0), [(0, stored)])
        return True

    def _open_shard(
        self, node: str, state: dict[str, Any], number: int, end: int, whole: int, layout: str
    ) -> list[list[int]]:
        """A shard that grows: whole chunks stay where they are, the others go beyond its reach.

        Rows may be ahead of the commit, since they come again; not how far they are filled, which
        the commit has itself.
        """
        data = self._read(node, shard_key(state, number))
        capacity, chunk = shard_chunks(state), (state["chunk_rows"], *state["shape"][1:])
        try:
            index = parse_index(data[: index_nbytes(capacity)], capacity)
        except ValueError as error:
            raise StoreError(f"{self._bucket.folder}/{node}: {error}") from None
        if not _has_whole(data, index, end, whole):
            raise StoreError(
                f"{self._bucket.folder}/{node}: shard {number} lacks what was committed"
            )
        at = FIRST_CHUNK + capacity * chunk_bound(
            dtype_from_json(state["dtype"]), chunk, free_before(state)
        )
        index[chunks_in_shard(number, state) :] = MISSING  # it may be ahead of its commit
        parts: list[tuple[int, bytes]] = [(FIRST_CHUNK, data[FIRST_CHUNK:end])]
        places = []
        cursors = layout == "slices" and node.endswith("/length")
        kept = _chunks_in(state, number)
        for chunk_number in range(capacity):
            offset, nbytes = (int(value) for value in index[chunk_number])
            if offset == int(MISSING) or offset < end:
                continue
            stored = data[offset : offset + nbytes] if not cursors else kept.get(chunk_number)
            if stored is None:
                index[chunk_number] = MISSING
                continue
            parts.append((at, stored))
            index[chunk_number] = at, len(stored)
            places.append([number, chunk_number, at, len(stored)])
            at += len(stored)
        self._write(node, shard_key(state, number), [(0, index_bytes(index)), *parts])
        return places

    def _read(self, node: str, name: str, nbytes: int | None = None) -> bytes:
        key = f"{self._key}/{node}/{name}"
        data = self._bucket.read(key, nbytes, little=False)
        if data is None:
            raise StoreError(f"{self._bucket.folder}/{key}: is missing")
        return data

    def _write(self, node: str, name: str, parts: list[tuple[int, bytes]]) -> None:
        path = self._path / node / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for offset, data in parts:
                file.seek(offset)
                file.write(data)


def _signal(committed: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """A signal as the spool has it; a replaced one whose value is lost is not whole any more, but
    may get another."""
    if None in arrays.values():
        ledger = {**committed["ledger"], "written": committed["ledger"]["written"] - 1}
        return {**committed, "layout": None, "arrays": {}, "ledger": ledger}
    return {**committed, "arrays": arrays}


def _has_whole(data: bytes, index: NDArray[np.uint64], end: int, whole: int) -> bool:
    """Whether the `whole` chunks that end at `end` are there, as they were written."""
    chunks = index[index[:, 0] < end]
    return (
        len(chunks) == whole
        and end_of(chunks) == end
        and all(intact(data[offset : offset + nbytes]) for offset, nbytes in chunks.tolist())
    )


def _chunks_in(state: dict[str, Any], shard: int) -> dict[int, bytes]:
    """The chunks of a shard that a commit has itself."""
    return {
        chunk: decompress(b64decode(stored))
        for of_shard, chunk, stored in state.get("chunks", ())
        if of_shard == shard
    }
