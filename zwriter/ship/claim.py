"""Who writes a scan in a bucket: epochs, numbered objects of which the last counts."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from zwriter.errors import Fenced, UsageError
from zwriter.failpoint import failpoint
from zwriter.ship.bucket import Bucket

SIGN_OF_LIFE = "alive"  # an object that a writer writes again and again
_FRESH = 1.0  # seconds
_SIGNS_EACH = 20.0


@dataclass(slots=True)
class Claim:
    """Our time as the writer of the scan whose epochs are in the folder `key`."""

    bucket: Bucket
    key: str
    number: int
    _checked: float = field(default_factory=time.monotonic)
    _seen_alive: float = field(default_factory=time.monotonic)  # by others: the claim is a sign
    _showing: bool = False

    def check(self) -> None:
        """Raises Fenced if another writer has taken over, or has finished the scan since then."""
        now = time.monotonic()
        following, own = (self.bucket.read(f"{self.key}/{self.number + n}") for n in (1, 0))
        if following is not None or own is None:
            raise Fenced(f"{self.bucket.folder}/{self.key}: another writer has taken the scan over")
        self._checked = now

    def check_again(self) -> None:
        """`check`, if the last time was a while ago: a request may wait for hours, while another
        machine goes on with the scan."""
        if time.monotonic() - self._checked >= _FRESH:
            self.check()
            self.show_life()

    def show_life(self) -> None:
        """Keep others from taking the scan for one that nobody writes."""
        if self._showing or time.monotonic() - self._seen_alive < _SIGNS_EACH:
            return
        self._showing = True  # to put it checks again
        try:
            self.bucket.put(f"{self.key.rpartition('/')[0]}/{SIGN_OF_LIFE}", b"")
            self._seen_alive = time.monotonic()
        finally:
            self._showing = False


def last_claim(bucket: Bucket, key: str) -> tuple[int, dict[str, Any]]:
    """The last epoch, and what its writer says of itself; 0 if there is none."""
    number = max((int(name) for name in bucket.names(key) if name.isdigit()), default=0)
    text = bucket.read(f"{key}/{number}") if number else None
    return number, json.loads(text) if text else {}


def claim(bucket: Bucket, key: str, spool: str, scan_id: str | None, after: int) -> Claim | None:
    """Begin the epoch that follows `after`: whoever had the scan before us is fenced from now on.
    None if another writer was quicker. Raises UsageError for a server on which that cannot be, and
    leaves nothing there.
    """
    bucket.before_writing = None
    own = {"spool": spool, "scan_id": scan_id, "host": socket.gethostname(), "pid": os.getpid()}
    text = json.dumps(own | {"time": time.time(), "claim": uuid4().hex}).encode()
    name = f"{key}/{after + 1}"
    try:
        if not bucket.create(name, text, probe=True):
            return None
        if bucket.create(name, text + b" ", probe=True):
            bucket.delete([name])
            raise _unusable(bucket, "writes over what is there in spite of If-None-Match: *")
    except NotImplementedError:
        raise _unusable(bucket, "does not know If-None-Match: *") from None
    failpoint("ship.claimed")
    made = Claim(bucket, key, after + 1)
    bucket.before_writing = made.check_again
    return made


def _unusable(bucket: Bucket, why: str) -> UsageError:
    return UsageError(
        f"{bucket.folder.storage.endpoint} {why}, so two writers could not know of each other; set"
        " `endpoint` to a server that can be used, docs/object-store.md says which"
    )
