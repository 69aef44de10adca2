"""One device of a scan in a spool, brought into a bucket commit by commit: shards, then documents,
or only a piece; then the commit, which is created only if there is none of its number.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zlib import compress

from zwriter.errors import Damaged
from zwriter.failpoint import failpoint
from zwriter.ship.carrier import Carrier
from zwriter.ship.commits import BucketCommits
from zwriter.ship.documents import NAME, with_shape
from zwriter.ship.pace import Pace
from zwriter.ship.shards import ShardAt, ShardObject, read_again, shards_of
from zwriter.ship.tail import Tail, Way, growing
from zwriter.ship.values import ValueShipment
from zwriter.store.array_state import Places, shard_key
from zwriter.store.commits import NOTHING, commit_of
from zwriter.store.pieces import PIECES
from zwriter.store.shard_index import FIRST_CHUNK
from zwriter.store.signal_arrays import publish_order
from zwriter.store.zarr_json import generation_of

_ATTEMPTS = 20


@dataclass
class _Shard:
    """What the bucket has of a shard: `mark` and size, its object, places in it, and chunks that
    must not be ahead of the commit."""

    object: ShardObject
    mark: Any = None
    nbytes: int = 0
    open: list[list[int]] = field(default_factory=list)
    chunks: list[list[Any]] = field(default_factory=list)


@dataclass
class _Work:
    """A shard that is to be sent, and where it belongs."""

    array: str  # its name in the signal
    state: dict[str, Any]
    shard: ShardAt
    known: _Shard
    key: str
    cursors: bool  # whether it says how far rows are filled that are written piece by piece


class DeviceShipment:
    """Sends the device of the spool's `folder`; node: where it is in a store; side: what lies
    beside that in the bucket."""

    def __init__(self, folder: Path, node: str, side: str, carrier: Carrier) -> None:
        self.folder, self.node = folder, node
        self._bucket, self._documents = carrier.bucket, carrier.documents
        self._epoch, self._ahead = carrier.epoch, carrier.ahead
        self._side_by_side = carrier.side_by_side
        self._shards: dict[tuple[str, int], dict[int, _Shard]] = {}  # of an array's generation
        self._values: dict[str, ValueShipment] = {}
        self._pieces, self._tail = f"{side}/{PIECES}/{folder.name}", Tail(folder)
        self._here: dict[str, Any] | None = None  # the commit of the spool that is in the bucket
        self._whole: dict[str, Any] | None = None  # the last one that needed no pieces
        self._updates = -1  # of signals that grow, in the last commit of the spool that was met
        self._pace = Pace(carrier.interval)
        commits = f"{side}/commits/{folder.name}"
        self._commits = BucketCommits(carrier.bucket, commits, carrier.epoch, carrier.spool)
        if self._commits.last:
            self._recall(self._commits.last, carrier.distrusted)

    def _recall(self, commit: dict[str, Any], distrusted: Set[str]) -> None:
        """Know what is in the bucket already, as its newest commit says."""
        self._tail.pieces = list(commit.get("pieces", ()))
        for signal, of_signal in commit["signals"].items():
            for name, state in of_signal["arrays"].items():
                array = f"{signal}/{name}"
                if of_signal["layout"] == "replace":
                    self._value(array).recall(state)
                    continue
                shards = self._shards[array, state["generation"]] = {
                    number: _Shard(ShardObject(), checksum)
                    for number, checksum in state["sealed"]
                    if self._key(array, state, number) not in distrusted
                }
                for number, chunk, offset, _ in state["open"]:
                    shard = shards.setdefault(number, _Shard(ShardObject()))
                    shard.object.owners[offset] = chunk

    def _key(self, array: str, state: dict[str, Any], number: int) -> str:
        return self._documents.key_of(f"{self.node}/{array}", shard_key(state, number))

    @property
    def shipped(self) -> dict[str, Any] | None:
        """The commit of the spool that is in the bucket."""
        return self._here

    @property
    def commits(self) -> int:
        """How many were made in the bucket."""
        return self._commits.made

    def ship(self, *, all_of_it: bool) -> None:
        """Send what was committed since the last time, if it is due, or anyway."""
        problem: Exception | None = None
        intervals = self._pace.looks()
        for _ in range(_ATTEMPTS):
            commit = self._committed()
            if commit is None or _same(commit, self._whole):
                return
            try:
                works = list(self._works(commit))
                way = Way.SHARDS_NOW if all_of_it else self._tail.look(commit, intervals)
                if self._due(works, way):
                    self._send(commit, works)
                elif way is Way.PIECES and not _same(commit, self._here):
                    self._ship_piece(commit, works)
            except Damaged as error:  # the spool has gone on
                problem = error
            else:
                return
            time.sleep(0.01)
        self._tail.close()  # shards are not decoded
        raise Damaged(f"{self.folder.name}: none of its commits can be read: {problem}")

    def ship_sealed(self) -> None:
        """Begin to send shards that will not change any more, if they may be seen before their
        commit.

        Raises Damaged if the spool has gone on since that.
        """
        commit = self._committed() if self._ahead.has_room else None
        if commit is None or _same(commit, self._here):
            return
        for work in self._works(commit):
            if work.shard.sealed is not None and not _follows(work.array):
                self._ahead.begin(work.key, partial(self._send_shard, work))
            if not self._ahead.has_room:
                return

    def _committed(self) -> dict[str, Any] | None:
        try:
            commit = commit_of((self.folder / NAME).read_bytes())
        except OSError:
            return None
        if commit is None:
            return None
        growing_ones = (s for s in commit["signals"].values() if s["layout"] != "replace")
        updates = sum(signal["ledger"]["written"] for signal in growing_ones)
        if updates != self._updates:
            self._updates = updates
            self._pace.saw_updates()
        return commit

    def _works(self, commit: dict[str, Any]) -> Iterator[_Work]:
        for (signal, name), state in growing(commit):
            array = f"{signal}/{name}"
            sent = self._shards.setdefault((array, state["generation"]), {})
            marks = {number: known.mark for number, known in sent.items()}
            cursors = commit["signals"][signal]["layout"] == "slices" and name == "length"
            for shard in shards_of(self.folder / array, state, marks):
                known = sent.setdefault(shard.number, _Shard(ShardObject()))
                key = self._key(array, state, shard.number)
                yield _Work(name, state, shard, known, key, cursors)

    def _due(self, works: list[_Work], way: Way) -> bool:
        """Whether shards are to be sent."""
        new = sum(work.shard.nbytes - work.known.nbytes for work in works)
        sent_before = [work.known.nbytes for work in works if work.known.nbytes]
        if way is Way.PIECES:
            return self._pace.is_due_whole(new, sum(sent_before))
        again = sum(nbytes + FIRST_CHUNK for nbytes in sent_before)
        return way is Way.SHARDS_NOW or self._pace.is_due(new, again, len(works))

    def _send(self, commit: dict[str, Any], works: list[_Work]) -> None:
        """Shards that have all that the commit says."""
        values = self._read_values(commit)
        self._epoch.check()
        self._send_shards_in_order(works)
        failpoint("ship.shards_sent")
        self._commit(commit, values, with_shards=True)
        keys = [f"{self._pieces}/{name}" for name in self._tail.old]
        self._side_by_side(lambda key: self._bucket.delete([key]), keys)
        self._tail.old.clear()

    def _ship_piece(self, commit: dict[str, Any], works: list[_Work]) -> None:
        """If it is due, a piece with the rows that are not there, and shards that are sealed."""
        if not self._tail.is_piece_due(commit):
            return
        if not self._is_described(commit):
            self._send(commit, works)
            return
        values = self._read_values(commit)
        self._epoch.check()
        self._send_shards_in_order(work for work in works if work.shard.sealed is not None)
        if piece := self._tail.piece(commit):
            name = f"{self._epoch.number}-{commit['seq']:010d}"
            self._side_by_side(partial(self._bucket.put, f"{self._pieces}/{name}"), [piece])
            failpoint("ship.piece_sent")
            self._tail.sent(name, commit)
        self._commit(commit, values, with_shards=False)

    def _is_described(self, commit: dict[str, Any]) -> bool:
        """Whether documents in the bucket differ from those of arrays here in nothing but rows: not
        if, say, timestamps are not one a row any more."""
        for (signal, name), state in growing(commit):
            here = _document(self.folder / signal / name, state)
            there = self._documents.sent(f"{self.node}/{signal}/{name}")
            if here != with_shape(there, state["shape"][0]):
                return False
        return True

    def _send_shards_in_order(self, works: Iterable[_Work]) -> None:
        works = list(works)
        self._send_shards(work for work in works if not _follows(work.array))
        self._send_shards(work for work in works if _follows(work.array))

    def _commit(
        self, commit: dict[str, Any], values: list[ValueShipment], *, with_shards: bool
    ) -> None:
        """All else, and the commit. values: to be sent; with_shards: the shards are as it says;
        else there are pieces, and documents of arrays that grow stay as they are."""
        signals = {}
        self._side_by_side(ValueShipment.send, values)
        documents: list[tuple[str, str, bytes]] = []
        for name, state in commit["signals"].items():
            folder = self.folder / name
            arrays = {}
            for array, of_array in state["arrays"].items():
                node = f"{self.node}/{name}/{array}"
                if state["layout"] == "replace":
                    generation = self._value(f"{name}/{array}").generation
                    arrays[array] = {**of_array, "generation": generation}
                    continue
                if with_shards:
                    documents.append((array, node, _document(folder / array, of_array)))
                else:
                    of_array = self._tail.state(name, array, of_array)
                arrays[array] = {**of_array, **self._places(f"{name}/{array}", of_array)}
            signals[name] = {**state, "arrays": arrays}
        self._send_documents(documents)
        for value in values:
            value.show()
        for name in signals:
            self._documents.mirror(f"{self.node}/{name}", self.folder / name)
        failpoint("ship.documents_sent")
        pieces = {} if with_shards else {"pieces": self._tail.pieces}
        document = self._commits.make({**commit, **pieces}, signals)
        for value in values:
            value.committed()
        self._here = commit
        if with_shards:
            self._whole = commit
            self._tail.begin(commit)
            self._pace.was_sent()
        failpoint("ship.committed")
        self._documents.put(self.node, document)

    def _read_values(self, commit: dict[str, Any]) -> list[ValueShipment]:
        """All replaced values, before anything is sent: that may take longer than the spool has
        them. Raises Damaged if the spool has gone on already."""
        values = []
        for name, state in commit["signals"].items():
            for array, of_array in state["arrays"].items() if state["layout"] == "replace" else ():
                values.append(value := self._value(f"{name}/{array}"))
                value.read(of_array["crc"])
        return values

    def _send_documents(self, documents: list[tuple[str, str, bytes]]) -> None:
        """In the order in which they are written to a disk: who sees rows finds what they say."""
        for rank in sorted({publish_order(array) for array, *_ in documents}):
            same = [(node, text) for array, node, text in documents if publish_order(array) == rank]
            self._side_by_side(lambda item: self._documents.put(*item), same)

    def _send_shards(self, works: Iterable[_Work]) -> None:
        self._side_by_side(self._send_shard_once, works)

    def _send_shard_once(self, work: _Work) -> None:
        self._ahead.end(work.key)
        if work.known.mark != work.shard.mark:
            self._send_shard(work)

    def _send_shard(self, work: _Work) -> None:
        shard, known = work.shard, work.known
        with known.object.version(shard, work.state, self._bucket.memory) as (data, places):
            self._bucket.put(work.key, data)
            known.chunks = list(_chunks(shard.number, data, places)) if work.cursors else []
        known.open = [[shard.number, chunk, *place] for chunk, place in sorted(places.items())]
        known.mark, known.nbytes = shard.mark, shard.nbytes

    def _places(self, array: str, state: dict[str, Any]) -> dict[str, list[Any]]:
        """Where chunks are that are not whole; those themselves that must be as of the commit."""
        sent = self._shards[array, state["generation"]]
        shards = [sent[number] for number, *_ in state["ends"]]
        chunks = [chunk for shard in shards for chunk in shard.chunks]
        return {
            "open": [place for shard in shards for place in shard.open],
            **({"chunks": chunks} if chunks else {}),
        }

    def _value(self, array: str) -> ValueShipment:
        if array not in self._values:
            node = f"{self.node}/{array}"
            self._values[array] = ValueShipment(
                self.folder / array, node, self._bucket, self._documents
            )
        return self._values[array]

    def keys(self) -> set[str]:
        """The objects that belong to what is shown, but for the device's own document."""
        assert self._here is not None
        keys = set()
        for name, state in self._here["signals"].items():
            if f"{self.node}/{name}" in self._documents:  # not if nothing was written of it
                keys.add(self._documents.key_of(f"{self.node}/{name}", NAME))
            for array, of_array in state["arrays"].items():
                node = f"{self.node}/{name}/{array}"
                if state["layout"] == "replace":
                    keys.update(self._values[f"{name}/{array}"].keys)
                    continue
                numbers = [number for number, *_ in (*of_array["ends"], *of_array["sealed"])]
                keys.add(self._documents.key_of(node, NAME))
                keys.update(self._key(f"{name}/{array}", of_array, number) for number in numbers)
        return keys

    def sealed(self, *, all_of_them: bool = False) -> dict[Path, str]:
        """The shard files that were sent for good, and, unless `all_of_them` are asked for, are not
        read here any more; their keys."""
        return {
            self.folder / signal / name / shard_key(state, number): self._key(
                f"{signal}/{name}", state, number
            )
            for (signal, name), state in growing(self._here or NOTHING)
            for number, _ in state["sealed"]
            if all_of_them or not read_again(name, state, number)
        }


def _same(commit: dict[str, Any], other: dict[str, Any] | None) -> bool:
    """Whether they are the same of the spool's."""
    return other is not None and (commit["epoch"], commit["seq"]) == (other["epoch"], other["seq"])


def _follows(array: str) -> bool:
    """Whether an array says of others how far they are filled."""
    return publish_order(array) > publish_order("timestamp")


def _chunks(number: int, data: memoryview, places: Places) -> Iterator[list[Any]]:
    for chunk, (offset, nbytes) in sorted(places.items()):
        stored = compress(data[offset : offset + nbytes], 1)
        yield [number, chunk, b64encode(stored).decode()]


def _document(folder: Path, state: dict[str, Any]) -> bytes:
    """An array's document as of a commit. Raises Damaged if the spool has gone on."""
    try:
        document = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(f"{folder}: {error}") from None
    if generation_of(document) != state["generation"] % 3:
        raise Damaged(f"{folder}: its dtype has changed")
    return with_shape(document, state["shape"][0])
