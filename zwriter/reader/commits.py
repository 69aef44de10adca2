"""A device's commit, as its group carries it: what a reader may see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zwriter.errors import StoreError
from zwriter.model import Ledger
from zwriter.reader.location import Location
from zwriter.store.array_state import free_before, shard_chunks
from zwriter.store.layout import DEVICES


@dataclass(frozen=True, slots=True)
class ArrayCommit:
    """How much of an array is official.

    open: shard, chunk, offset, nbytes of chunks that grow; sealed: shard -> its checksum; crc: that
    of the value of a replaced array; free: bytes that may be before a chunk; in_shards: how
    many rows its shards have at least, those that are sealed may have more: the others are in
    pieces; shard_chunks: how many chunks a shard has.
    """

    shape: tuple[int, ...]
    dtype: Any
    generation: int
    open: tuple[tuple[int, ...], ...]
    sealed: dict[int, int]
    crc: int | None
    free: int
    in_shards: int | None
    shard_chunks: int


@dataclass(frozen=True, slots=True)
class SignalCommit:
    layout: str | None
    rows: int
    ledger: Ledger
    arrays: dict[str, ArrayCommit]


@dataclass(frozen=True, slots=True)
class DeviceCommit:
    """One commit. `time`: seconds since 1970; positions: stream key -> id of the last entry; lag:
    how old, in seconds, the newest message in it was; None if no message came since the one before;
    pieces: names of objects with rows that are not in shards yet.
    """

    epoch: int
    seq: int
    time: float
    positions: dict[str, str]
    signals: dict[str, SignalCommit]
    lag: float | None
    pieces: tuple[str, ...]


def read_commit(location: Location, device: str) -> DeviceCommit | None:
    """The last commit of a device; None before the first. Raises StoreError if it is damaged."""
    attributes = location.attributes(f"{DEVICES}/{device}")
    return commit_in(attributes, f"{location}/{DEVICES}/{device}/zarr.json")


def commit_in(attributes: dict[str, Any], where: str) -> DeviceCommit | None:
    """The commit that a device's attributes carry; None before the first."""
    data = attributes.get("zwriter")
    return parse_commit(data, where) if data is not None and "seq" in data else None


def parse_commit(data: dict[str, Any], where: str) -> DeviceCommit:
    """The commit that a JSON object of docs/format.md describes."""
    try:
        return DeviceCommit(
            data["epoch"],
            data["seq"],
            data["time"],
            dict(data["positions"]),
            {name: _signal(signal) for name, signal in data["signals"].items()},
            data.get("lag"),
            tuple(data.get("pieces", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{where}: the commit is damaged ({error!r})") from None


def _signal(data: dict[str, Any]) -> SignalCommit:
    arrays = {
        name: ArrayCommit(
            tuple(array["shape"]),
            array["dtype"],
            array["generation"],
            tuple(tuple(entry) for entry in array.get("open", ())),
            dict(array.get("sealed", ())),
            array.get("crc"),
            free_before(array),
            array.get("in_shards"),
            shard_chunks(array),
        )
        for name, array in data["arrays"].items()
    }
    ledger = Ledger.from_json(data.get("ledger", {}))
    return SignalCommit(data["layout"], data["rows"], ledger, arrays)
