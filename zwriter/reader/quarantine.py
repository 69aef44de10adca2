"""What could not be written of a scan, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgpack

from zwriter.reader.journal import payloads
from zwriter.reader.location import Location
from zwriter.store.layout import KEPT

QUARANTINE = f"{KEPT}/quarantine"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A message that could not be written as it came. Names that are not known are "".

    time: seconds since 1970; stream, entry: where in Redis it was, "" if it was not in a stream;
    raw: the message; empty if one before is the same entry, and when quarantine was full.
    """

    time: float
    device: str
    signal: str
    stream: str
    entry: str
    reason: str
    raw: bytes


def quarantined(location: Location) -> Iterator[Quarantined]:
    """The entries in the order they came. Raises StoreError if they are damaged."""
    for payload in payloads(location, QUARANTINE):
        yield Quarantined(*msgpack.unpackb(payload))
