"""A scan's journal: a file beside the store while it is live, two arrays in it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from zwriter.reader.arrays import open_array
from zwriter.reader.lazy import InStore, LazyArray
from zwriter.reader.location import Location
from zwriter.reader.rows import RaggedRows
from zwriter.store.framed import read_frames
from zwriter.store.layout import KEPT
from zwriter.store.log_parts import log_size
from zwriter.store.record import ScanRecord

JOURNAL = f"{KEPT}/journal"


class Journal:
    """What the control messages say, up to now."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._record = ScanRecord()

    @property
    def size(self) -> int:
        """Bytes of a live scan's journal, -1 when it is finished: a change means news."""
        size = log_size(self._location.beside / "journal")
        return -1 if size is None else size

    def record(self) -> ScanRecord:
        """The scan's record with all that has come; one object, which grows.

        Raises StoreError if the journal is damaged.
        """
        self._record.extend(islice(payloads(self._location, JOURNAL), self._record.entries, None))
        return self._record


def payloads(location: Location, node: str) -> Iterator[bytes]:
    """The records of a framed log, wherever they are. Raises StoreError if they are damaged.

    node: where its copy is, in a finished store; beside a live one its file has the same name.

    The file counts as long as it is there: it goes once its copy in the store is whole.
    """
    try:
        yield from read_frames(location.beside / node.rpartition("/")[2])
    except FileNotFoundError:
        yield from stored_payloads(location, node)


def stored_payloads(location: Location, node: str) -> Iterator[bytes]:
    """The records of a framed log that was moved into the store, none if it is not there."""
    if location.metadata(node) is None:
        return
    for row in RaggedRows(_lazy(location, f"{node}/value"), _lazy(location, f"{node}/offsets")):
        yield row.tobytes()


def _lazy(location: Location, node: str) -> LazyArray:
    return LazyArray(InStore(node, lambda: open_array(location, node)))
