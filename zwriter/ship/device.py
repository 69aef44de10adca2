"""One device of a scan in a spool, brought into a bucket commit by commit: shards, then documents,
then the commit, which is created only if there is none of its number.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zwriter.errors import StoreError
from zwriter.failpoint import failpoint
from zwriter.ship.bucket import Bucket
from zwriter.ship.documents import NAME, Documents, with_shape
from zwriter.ship.shards import ShardAt, ShardObject, read_again, shards_of
from zwriter.ship.values import ValueShipment
from zwriter.store.arrays import shard_key
from zwriter.store.commits import KEEP, NOTHING
from zwriter.store.shard import Damaged
from zwriter.store.zarr_json import generation_of

SMALL = 64 * 1024  # bytes of an array that are sent again after LATE intervals, however few are new
LATE = 5
_ATTEMPTS = 20


@dataclass
class _Shard:
    """What the bucket has of a shard: `mark` and size, its object, and places in it."""

    object: ShardObject
    mark: Any = None
    nbytes: int = 0
    open: list[list[int]] = field(default_factory=list)


@dataclass
class _Work:
    """A shard that is to be sent, and where it belongs."""

    state: dict[str, Any]
    shard: ShardAt
    known: _Shard
    key: str


class DeviceShipment:
    """Sends the device of the spool's `folder`.

    commits: the folder of its commits in the bucket; epoch: ours there; spool: the id of the spool;
    check: raises Fenced if another writer has the scan in the bucket; pool: for what may be sent
    side by side; interval: seconds between two calls of `ship`.
    """

    def __init__(
        self,
        folder: Path,
        node: str,
        bucket: Bucket,
        documents: Documents,
        commits: str,
        epoch: int,
        spool: str,
        check: Callable[[], None],
        pool: ThreadPoolExecutor,
        interval: float,
    ) -> None:
        self.folder, self.node = folder, node
        self._bucket, self._documents = bucket, documents
        self._commits, self._epoch, self._spool, self._check = commits, epoch, spool, check
        self._pool, self._interval = pool, interval
        self._shards: dict[tuple[str, int], dict[int, _Shard]] = {}  # of an array's generation
        self._values: dict[str, ValueShipment] = {}
        self._here: dict[str, Any] | None = None  # the commit of the spool that is in the bucket
        self._last_time = 0.0
        self.commits = 0  # that we made
        self._seq, last = newest_commit(bucket, commits)
        if last:
            self._recall(last)

    def _recall(self, commit: dict[str, Any]) -> None:
        """Know what is in the bucket already, as its newest commit says."""
        for signal, of_signal in commit["signals"].items():
            for name, state in of_signal["arrays"].items():
                array = f"{signal}/{name}"
                if of_signal["layout"] == "replace":
                    self._value(array).recall(state)
                    continue
                self._shards[array, state["generation"]] = {
                    number: _Shard(ShardObject(), checksum) for number, checksum in state["sealed"]
                }

    @property
    def shipped(self) -> dict[str, Any] | None:
        """The commit of the spool that is in the bucket."""
        return self._here

    def ship(self, *, all_of_it: bool) -> None:
        """Send what was committed since the last time, if it is due, or anyway."""
        problem: Exception | None = None
        for _ in range(_ATTEMPTS):
            commit = self._committed()
            if commit is None or self._is_here(commit):
                return
            try:
                works = list(self._works(commit))
                if all_of_it or self._due(works):
                    self._send(commit, works)
            except Damaged as error:  # the spool has gone on
                problem = error
            else:
                return
            time.sleep(0.01)
        raise Damaged(f"{self.folder.name}: none of its commits can be read: {problem}")

    def _committed(self) -> dict[str, Any] | None:
        try:
            attributes = json.loads((self.folder / NAME).read_bytes())["attributes"]
        except (OSError, ValueError, LookupError):
            return None
        commit: dict[str, Any] | None = attributes.get("zwriter")
        return commit if commit and "seq" in commit else None

    def _is_here(self, commit: dict[str, Any]) -> bool:
        here = self._here
        return here is not None and (here["epoch"], here["seq"]) == (commit["epoch"], commit["seq"])

    def _works(self, commit: dict[str, Any]) -> Iterable[_Work]:
        for signal, of_signal in commit["signals"].items():
            if of_signal["layout"] == "replace":
                continue
            for name, state in of_signal["arrays"].items():
                array = f"{signal}/{name}"
                sent = self._shards.setdefault((array, state["generation"]), {})
                marks = {number: known.mark for number, known in sent.items()}
                for shard in shards_of(self.folder / array, state, marks):
                    known = sent.setdefault(shard.number, _Shard(ShardObject()))
                    key = shard_key(state, shard.number)
                    key = self._documents.key_of(f"{self.node}/{array}", key)
                    yield _Work(state, shard, known, key)

    def _due(self, works: list[_Work]) -> bool:
        """Whether what is new is at least half of what would be sent again with it: so about twice
        the data are sent again. What is small is only waited for a while, which costs more.
        """
        new = sum(work.shard.nbytes - work.known.nbytes for work in works)
        again = sum(work.known.nbytes for work in works)
        late = time.monotonic() - self._last_time >= LATE * self._interval
        return 2 * new >= again or (late and again <= SMALL * len(works))

    def _send(self, commit: dict[str, Any], works: list[_Work]) -> None:
        self._check()
        marks = list(self._pool.map(self._send_shard, works))
        failpoint("ship.shards_sent")
        signals = {}
        values: list[ValueShipment] = []
        documents: list[tuple[str, bytes]] = []
        for name, state in commit["signals"].items():
            folder = self.folder / name
            arrays = {}
            for array, of_array in state["arrays"].items():
                node = f"{self.node}/{name}/{array}"
                if state["layout"] == "replace":
                    values.append(value := self._value(f"{name}/{array}"))
                    value.send(of_array["crc"])
                    arrays[array] = {**of_array, "generation": value.generation}
                else:
                    documents.append((node, _document(folder / array, of_array)))
                    arrays[array] = {**of_array, "open": self._open(f"{name}/{array}", of_array)}
            signals[name] = {**state, "arrays": arrays}
        list(self._pool.map(lambda item: self._documents.put(*item), documents))
        for value in values:
            value.show()
        for name in signals:
            self._documents.mirror(f"{self.node}/{name}", self.folder / name)
        failpoint("ship.documents_sent")
        text = self._commit(commit, signals)
        self._here, self._last_time = commit, time.monotonic()
        for work, (mark, nbytes) in zip(works, marks, strict=True):
            work.known.mark, work.known.nbytes = mark, nbytes
        failpoint("ship.committed")
        attributes = b'{"NX_class":"NXcollection","zwriter":%b}' % text
        document = b'{"zarr_format":3,"node_type":"group","attributes":%b}' % attributes
        self._documents.put(self.node, document)

    def _send_shard(self, work: _Work) -> tuple[Any, int]:
        data, places = work.known.object.version(work.shard, work.state)
        self._bucket.put(work.key, data)
        work.known.open = [
            [work.shard.number, chunk, *place] for chunk, place in sorted(places.items())
        ]
        return work.shard.mark, work.shard.nbytes

    def _open(self, array: str, state: dict[str, Any]) -> list[list[int]]:
        sent = self._shards[array, state["generation"]]
        return [place for number, *_ in state["ends"] for place in sent[number].open]

    def _value(self, array: str) -> ValueShipment:
        if array not in self._values:
            node = f"{self.node}/{array}"
            self._values[array] = ValueShipment(
                self.folder / array, node, self._bucket, self._documents
            )
        return self._values[array]

    def _commit(self, commit: dict[str, Any], signals: dict[str, Any]) -> bytes:
        """Create the next commit. Raises Fenced when another writer has taken over."""
        now = time.time()
        lag = commit.get("lag")
        while True:
            document = {
                **commit,
                "epoch": self._epoch,
                "seq": self._seq + 1,
                "time": now,
                "lag": None if lag is None else round(lag + now - commit["time"], 3),
                "spool": [self._spool, commit["epoch"], commit["seq"]],
                "signals": signals,
            }
            text = json.dumps(document).encode()
            created = self._bucket.create(f"{self._commits}/{self._seq + 1:010d}", text)
            self._seq += 1
            if created:
                break
            self._check()  # if it is still ours, it was a last one of the writer before us
        self.commits += 1
        if self.commits > KEEP:
            self._bucket.delete([f"{self._commits}/{self._seq - KEEP:010d}"])
        return text

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
                names = [NAME, *(shard_key(of_array, number) for number in numbers)]
                keys.update(self._documents.key_of(node, name) for name in names)
        return keys

    def sealed(self) -> list[Path]:
        """The shard files that are in the bucket for good, and not read here any more."""
        signals = self._here["signals"] if self._here else {}
        return [
            self.folder / signal / name / shard_key(state, number)
            for signal, of_signal in signals.items()
            if of_signal["layout"] != "replace"
            for name, state in of_signal["arrays"].items()
            for number, _ in state["sealed"]
            if not read_again(name, state, number)
        ]


def newest_commit(bucket: Bucket, folder: str) -> tuple[int, dict[str, Any] | None]:
    """The number of the newest commit in a folder, and what it says; 0 and None if there is none.

    Raises StoreError if it is no commit.
    """
    while True:
        newest = max((int(name) for name in bucket.names(folder) if name.isdigit()), default=0)
        if not newest:
            return 0, None
        text = bucket.read(f"{folder}/{newest:010d}")
        if text is None:
            continue  # its writer is alive, and pruned it
        try:
            commit = json.loads(text)
        except ValueError:
            commit = None
        if not isinstance(commit, dict) or not NOTHING.keys() <= commit.keys():
            raise StoreError(f"{bucket.folder / folder}: commit {newest} is damaged; remove it")
        return newest, commit


def _document(folder: Path, state: dict[str, Any]) -> bytes:
    """An array's document as of a commit. Raises Damaged if the spool has gone on."""
    try:
        document = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError) as error:
        raise Damaged(f"{folder}: {error}") from None
    if generation_of(document) != state["generation"] % 3:
        raise Damaged(f"{folder}: its dtype has changed")
    return with_shape(document, state["shape"][0])
