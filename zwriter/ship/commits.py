"""The commits of one device in a bucket: numbered objects, created only if absent."""

from __future__ import annotations

import time
from typing import Any

from zwriter.errors import StoreError
from zwriter.ship.bucket import Bucket
from zwriter.ship.claim import Claim
from zwriter.store.commits import KEEP, commit_document, commit_of


class BucketCommits:
    """In the folder `key`, in an epoch of ours. spool: the id of the spool whose commits these are;
    last: the newest one that was there, None if there was none.
    """

    def __init__(self, bucket: Bucket, key: str, epoch: Claim, spool: str) -> None:
        self._bucket, self._key, self._epoch, self._spool = bucket, key, epoch, spool
        self._seq, self.last = newest_commit(bucket, key)
        self.made = 0

    def make(self, commit: dict[str, Any], signals: dict[str, Any]) -> bytes:
        """Create the next one: a commit of the spool, with `signals` as the bucket has them. Its
        document.

        Raises Fenced when another writer has taken over.
        """
        now = time.time()
        lag = commit.get("lag")
        while True:
            document = {
                **commit,
                "epoch": self._epoch.number,
                "seq": self._seq + 1,
                "time": now,
                "lag": None if lag is None else round(lag + now - commit["time"], 3),
                "spool": [self._spool, commit["epoch"], commit["seq"]],
                "signals": signals,
            }
            text = commit_document(document)
            created = self._bucket.create(f"{self._key}/{self._seq + 1:010d}", text)
            self._seq += 1
            if created:
                break
            self._epoch.check()  # if it is still ours, it was a last one of the writer before us
        self.made += 1
        if self.made > KEEP:
            self._bucket.delete([f"{self._key}/{self._seq - KEEP:010d}"])
        return text


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
            bucket.outage.pause(0.1)
            continue  # its writer is alive, and pruned it
        commit = commit_of(text)
        if commit is None:
            raise StoreError(f"{bucket.folder / folder}: commit {newest} is damaged; remove it")
        return newest, commit
