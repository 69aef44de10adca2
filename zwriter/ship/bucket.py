"""What a writer does in a bucket: whole objects, each by one call that happens or does not."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import cached_property, partial
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError

from zwriter.errors import ServiceError, UsageError
from zwriter.failpoint import failpoint
from zwriter.objects import ObjectPath
from zwriter.objects.clients import names_in
from zwriter.objects.errors import is_not_implemented, requests_told
from zwriter.ship.memory import memory_of
from zwriter.ship.outage import Outage

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import S3Store

_WHOLE = 128 * 1024 * 1024  # bytes of an object that is sent by one request
_PART = 8 * 1024 * 1024
_LITTLE = 1024 * 1024
_MEANWHILE = 5.0  # seconds

Data = bytes | bytearray | memoryview
T = TypeVar("T")


class Bucket:
    """Keys are relative to `folder`. What the object store refuses, or does not answer, is asked
    again until it is done: it may come back, and settings can be mended. Raises Stopped.

    requests: how many were answered, by method; sent_bytes: what was in those that wrote;
    before_writing: called before each attempt to write or delete something.
    """

    def __init__(self, folder: ObjectPath, outage: Outage) -> None:
        self.folder, self.outage = folder, outage
        self.requests: Counter[str] = Counter()
        self.sent_bytes = 0
        self._tags: dict[str, str | None] = {}  # of what was put
        self._uncertain: set[str] = set()  # keys of requests to put that got no answer
        self._own = threading.BoundedSemaphore()  # for one large object
        self.before_writing: Callable[[], None] | None = None

    @cached_property
    def _client(self) -> S3Store:
        """Made by the first request: credentials may be renewed just now, or put in their place."""
        return self.folder.storage.writer(self.folder.bucket, self.folder.key)

    @cached_property
    def _quick(self) -> S3Store:
        """For what usually takes no second."""
        return self.folder.storage.writer(self.folder.bucket, self.folder.key, little=True)

    def memory(self, nbytes: int) -> AbstractContextManager[memoryview]:
        """Memory for an object that is to be put, once others are there that have it now."""
        room = memory_of(self.folder.storage.endpoint, self.folder.bucket)
        return room.lend(nbytes, self._own, self.outage.pause)

    def put(self, key: str, data: Data) -> None:
        """Make `data` the object, in place of what is there."""

        def put(client: S3Store) -> str | None:
            attempts.append(key)
            again = len(attempts) > 1  # in parts, each of which has its time: the way may be slow
            in_parts = len(data) > (_PART if again else _WHOLE)
            answer = obstore.put(
                client,
                key,
                data,
                use_multipart=in_parts,
                chunk_size=_PART,
                max_concurrency=1 if again else 4,
            )
            return answer["e_tag"]

        attempts: list[str] = []
        self._tags[key] = self._until_done("PUT", put, little=len(data) <= _LITTLE)
        self._uncertain.update(attempts[1:])
        self.sent_bytes += len(data)

    def knows(self, key: str) -> bool:
        """Whether it is known what was put there: not what a process before this one did."""
        return key in self._tags

    def compared(self, key: str, tag: str, *, same: bool) -> None:
        """Note whether what is there now, with this tag, is what was put there."""
        self._tags[key] = tag if same else f"not {tag}"

    def is_as_sent(self, key: str, tag: str | None) -> bool:
        """Whether an object that has this tag now, None if there is none, is what was put there,
        as far as that is known."""
        return tag is not None and (self._tags.get(key) or tag).strip('"') == tag.strip('"')

    def is_uncertain(self, key: str) -> bool:
        """Whether a request to put it was made again: the first may still be done, late."""
        return key in self._uncertain

    def tag(self, key: str) -> str | None:
        """What tells an object from what was there before; None if there is none."""
        found = self._head(key)
        return (found["e_tag"] or "") if found else None

    def written_at(self, key: str) -> float | None:
        """When an object was written, by the server's clock; None if there is none."""
        found = self._head(key)
        return found["last_modified"].timestamp() if found else None

    def now(self) -> float:
        """The server's time, in seconds."""
        return self._until_done("HEAD", lambda _: self.folder.storage.now(self.folder.bucket))

    def _head(self, key: str) -> ObjectMeta | None:
        def head(client: S3Store) -> ObjectMeta | None:
            try:
                return obstore.head(client, key)
            except FileNotFoundError as error:
                return _missing(error, None)

        return self._until_done("HEAD", head)

    def create(self, key: str, data: bytes, *, probe: bool = False) -> bool:
        """Make `data` the object if there is none; False if there is one that is not `data`: if it
        is, it was ours, and only the answer was lost.

        probe: whether the server knows how to is not known. Raises NotImplementedError then.
        """

        def create(client: S3Store) -> bool:
            try:
                obstore.put(client, key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            except GenericError as error:
                if probe and is_not_implemented(error):
                    raise NotImplementedError from None
                raise
            return True

        failpoint("ship.creating")
        while not self._until_done("PUT", create):
            there = self.read(key)
            if there is not None:
                return there == data
            self.outage.pause(0.1)  # the server only said that two came at once (409)
        self.sent_bytes += len(data)
        return True

    def read(self, key: str, nbytes: int | None = None, *, little: bool = True) -> bytes | None:
        """An object, or its first `nbytes` bytes; None if there is none. little: it is no shard."""

        def read(client: S3Store) -> bytes | None:
            try:
                if nbytes is not None:
                    return bytes(obstore.get_range(client, key, start=0, length=nbytes))
                return bytes(obstore.get(client, key).bytes())
            except FileNotFoundError as error:
                return _missing(error, None)

        return self._until_done("GET", read, little=little)

    def names(self, key: str) -> list[str]:
        """The names in a folder."""
        return self._until_done("LIST", lambda client: list(names_in(client, key)))

    def tags(self, key: str) -> dict[str, str]:
        """All objects below a folder, and what tells each from what was there before."""

        def tags(client: S3Store) -> dict[str, str]:
            listing = obstore.list(client, f"{key}/")
            return {found["path"]: found["e_tag"] or "" for part in listing for found in part}

        return self._until_done("LIST", tags)

    def delete(self, keys: Iterable[str]) -> None:
        """Make sure that the objects are gone."""
        for key in keys:
            self._until_done("DELETE", partial(_delete, key))

    def _until_done(
        self, method: str, request: Callable[[S3Store], T], *, little: bool = True
    ) -> T:
        """Its answer. The first time not much time is given to what has `little` to say: a server
        that takes requests and answers none is told soon."""
        attempt, begun = 0, time.monotonic()
        while True:
            attempt += 1
            if self.before_writing and method in ("PUT", "DELETE"):
                self.before_writing()
            try:
                with requests_told(self.folder.bucket, lambda: self.folder.storage.endpoint):
                    answer = request(self._quick if little and attempt == 1 else self._client)
            except (ServiceError, UsageError) as error:
                self.outage.failed(error, attempt, begun)
            except Exception:  # an answer as well
                self.outage.passed(attempt)
                raise
            else:
                self.outage.passed(attempt)
                self.requests[method] += 1
                return answer


def side_by_side(
    pool: ThreadPoolExecutor,
    function: Callable[[T], object],
    items: Iterable[T],
    meanwhile: Callable[[], None],
) -> None:
    """Call it for all items, and `meanwhile` each few seconds. When one fails the others are ended
    before that is raised: what is sent late must not come after what is sent then."""
    futures = [pool.submit(function, item) for item in items]
    try:
        while wait(futures, _MEANWHILE).not_done:
            meanwhile()
    finally:
        wait(futures)
    for future in futures:
        future.result()


def _delete(key: str, client: S3Store) -> None:
    try:
        obstore.delete(client, key)
    except FileNotFoundError as error:
        _missing(error, None)


def _missing(error: FileNotFoundError, answer: T) -> T:
    """`answer`, if it is the object that is not there. Raises the error if it is the bucket."""
    if "NoSuchBucket" in str(error):
        raise error
    return answer
