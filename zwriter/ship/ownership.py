"""Whose a scan in a bucket is: ours to go on with, from the spool or from what the bucket has, or
another writer's.

Whatever is done about it, nothing is deleted that only this machine has: it is put aside.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from glob import escape
from pathlib import Path
from shlex import quote
from typing import Any
from uuid import uuid4

from zwriter.errors import Fenced, NotSynced, PlaceTaken, ServiceError, StoreError, UsageError
from zwriter.failpoint import failpoint
from zwriter.objects import ObjectPath
from zwriter.ship.bucket import Bucket
from zwriter.ship.claim import SIGN_OF_LIFE, Claim, claim, last_claim
from zwriter.ship.commits import newest_commit
from zwriter.ship.documents import NAME
from zwriter.ship.restore import restore
from zwriter.ship.spool import Spool
from zwriter.store.commits import CommitLog
from zwriter.store.disk import remove
from zwriter.store.epochs import living_writer
from zwriter.store.layout import DEVICES, FED_BY, own_attributes, side_folder
from zwriter.store.log_parts import chosen, log_size

log = logging.getLogger(__name__)

_ALIVE = 60.0  # seconds since a writer of another machine was heard of


class Ownership:
    """Of the scan `store`, which is written in `spool` and sent through `bucket`, relative to the
    folder that the store is in. usable: whether the bucket was found to be so."""

    def __init__(self, store: ObjectPath, spool: Spool, bucket: Bucket, *, usable: bool) -> None:
        self.store, self.spool, self._bucket, self._usable = store, spool, bucket, usable
        self.key, self.side = store.name, side_folder(Path(store.name)).name
        self._epochs, self._commits = f"{self.side}/epochs", f"{self.side}/commits"
        self._journal = 0  # bytes of it that were in the spool when it was opened
        self._compared = False  # whether the bucket was found to have no more than the spool

    # --- before the scan is opened ---

    def finished_elsewhere(self, scan_id: str | None) -> bool:
        """Whether the bucket has all of the scan, and not from this spool. If it has something of
        it still, that is put aside. Raises ServiceError if that cannot be known now.
        """
        self._ask()
        return self._finished_elsewhere(own_attributes(self.store), scan_id)

    def _ask(self) -> None:
        """Raises ServiceError if nothing can be known of the bucket now, UsageError for a wrong
        one. One that was usable is not wrong: its settings can be mended."""
        try:
            self.store.ask()
        except UsageError as error:
            if self._usable:
                raise ServiceError(str(error)) from error
            raise

    def _finished_elsewhere(self, there: dict[str, Any], scan_id: str | None) -> bool:
        here = own_attributes(self.spool.store)
        if not there.get("finished") or here.get("scan_id", scan_id) not in (
            None,
            there["scan_id"],
        ):
            return False
        if self.spool.id is None:
            return True
        if there == here or living_writer(self.spool.side):
            return False
        self._put_aside("another machine has finished it")
        return True

    def living_writer(self) -> str | None:
        """Who writes the scan, as far as that can be known: a process of this machine that is
        alive, or one of another that has sent a sign of life in the last minute."""
        if here := living_writer(self.spool.side):
            return here
        number, last = last_claim(self._bucket, self._epochs)
        if not number or last.get("spool") == self.spool.id:
            return None
        signs = [f"{self._epochs}/{number}", f"{self.side}/{SIGN_OF_LIFE}"]
        last_sign = max(self._bucket.written_at(key) or 0.0 for key in signs)
        alive = self._bucket.now() - last_sign < _ALIVE
        return f"process {last['pid']} on {last['host']}" if alive else None

    def open(self, scan_id: str | None) -> None:
        """Make the spool what the scan is to go on from: itself; or, if another machine went on
        with it, or if it has lost something, what the bucket has.

        Raises UsageError if the bucket has a finished scan there, or another one; StoreError for a
        damaged one.
        """
        known = self.spool.id
        self._note_losses()
        try:
            self._ask()  # at once: all that follows is asked again until it is done
            there = own_attributes(self.store)
            if self._finished_elsewhere(there, scan_id):
                raise UsageError(f"{self.store} is finished: choose another path, or remove it")
            number, last = last_claim(self._bucket, self._epochs)
            self._refuse_another(there or last, scan_id)
        except ServiceError as error:
            log.warning("%s: %s; the scan is written to the spool", self.store, error)
            self._note_commits()
            number, last = 0, {}
        if number and (self._went_elsewhere(last) or self._is_behind()):
            self.bring_back()
        elif known is None:
            self._put_aside("nobody knows what it is")
            self.spool.begin()

    def lacks_something(self) -> bool:
        """Whether the spool turned out, when its store was opened, to lack what the bucket has: a
        power cut may do that. False if that cannot be known now; `claim` looks again.

        Raises StoreError if what was brought back is not whole.
        """
        self._note_losses()
        if self._compared and self.spool.mark.get("losses"):
            raise StoreError(f"{self.store}: what the bucket has is damaged; it is left as it is")
        if not self.spool.mark.get("losses") and not self._journal:
            return False
        try:
            self._ask()
        except ServiceError:
            return False
        number, last = last_claim(self._bucket, self._epochs)
        return number > 0 and last.get("spool") == self.spool.id and self._is_behind()

    def bring_back(self) -> None:
        """Put what the bucket has in place of what the spool has. Raises Fenced."""
        mark = uuid4().hex
        scan_id = (self._own_there() or {}).get("scan_id")
        own = self._claim_at_once(mark, scan_id)  # nobody else writes it from now on
        name = self.spool.store.name
        for left in self.spool.store.parent.glob(f".{escape(name)}.{'[0-9a-f]' * 32}"):
            remove(left)  # by who was killed over it: it was not a part of the scan yet
        into = self.spool.store.with_name(f".{name}.{mark}")
        into.mkdir(parents=True)
        try:
            restore(self._bucket, self.key, self.side, DEVICES, into)
            self._put_aside("it goes on from what the bucket has")
            new = self.spool.begin(into / "side")
            (into / "store").rename(self.spool.store)
            failpoint("ship.restored")
            (into / "side").rename(self.spool.side)
        finally:
            remove(into)
        self._journal, self._compared = 0, True
        if claim(self._bucket, self._epochs, new, scan_id, own.number) is None:
            raise Fenced(f"{self.store}: another machine takes it over, too")

    def _went_elsewhere(self, last: dict[str, Any]) -> bool:
        """Whether another machine has gone on with the scan. last: what the last one that claimed
        it says of itself; it may have come to nothing."""
        own = self.spool.id
        return last.get("spool") != own and (own is None or self._has_commits_of_others(own))

    def _has_commits_of_others(self, own: str) -> bool:
        commits = (newest_commit(self._bucket, folder)[1] for folder in self._commit_folders())
        return any(commit and commit.get("spool", [own])[0] != own for commit in commits)

    def _claim_at_once(self, spool: str, scan_id: str | None) -> Claim:
        while True:
            number, _ = last_claim(self._bucket, self._epochs)
            if made := claim(self._bucket, self._epochs, spool, scan_id, number):
                return made

    def _put_aside(self, why: str) -> None:
        if aside := self.spool.put_aside():
            log.warning("%s: %s; what the spool had of it is in %s", self.store, why, aside)

    def _refuse_another(self, there: dict[str, Any], scan_id: str | None) -> None:
        known = own_attributes(self.spool.store).get("scan_id", scan_id)
        if there.get("scan_id") and known != there["scan_id"]:
            another = f"{self.store} has another scan, {there['scan_id']}"
            raise PlaceTaken(f"{another}: choose another path{f' for {known}' if known else ''}")

    # --- what a power cut may have taken from the spool ---

    def _note_losses(self) -> None:
        """Note which devices have gone back to an older commit, and from where they go on: the
        bucket may have more, but may not be there now."""
        self._note(
            [device, commit["from"], [commit["epoch"], commit["seq"]]]
            for device, commits in self._commits_here().items()
            for commit in commits.readable()
            if "from" in commit
        )
        size = log_size(self.spool.side / "journal") or 0
        self._journal = min(self._journal or size, size)

    def _note_commits(self) -> None:
        """Note with which commits the scan is opened: the bucket, which cannot be seen, may have
        later ones that a power cut has taken."""
        self._note(
            [device, [newest["epoch"], newest["seq"]], [newest["epoch"] + 1, 0]]
            for device, commits in self._commits_here().items()
            if (newest := next(commits.readable(), None))
        )

    def _note(self, losses: Iterable[list[Any]]) -> None:
        """Note devices, from where they go on, and the first commit that was made then."""
        known = self.spool.mark.get("losses", [])
        if new := [loss for loss in losses if loss not in known]:
            self.spool.note(losses=known + new)

    def _commits_here(self) -> dict[str, CommitLog]:
        folders = (self.spool.side / "commits").glob("*/")
        return {folder.name: CommitLog(folder) for folder in folders}

    def _is_behind(self) -> bool:
        """Whether the spool lacks what it has sent."""
        losses, here = self.spool.mark.get("losses", []), self._commits_here()
        for folder in self._commit_folders():
            _, commit = newest_commit(self._bucket, folder)
            spool, *sent = commit.get("spool", ("", 0, 0)) if commit else ("", 0, 0)
            if spool != self.spool.id:
                continue
            device = folder.rpartition("/")[2]
            newest = next(here[device].readable(), None) if device in here else None
            if newest is None or sent > [newest["epoch"], newest["seq"]]:
                return True
            if any(begun < sent < at for name, begun, at in losses if name == device):
                return True
        parts = chosen(self._bucket.names(f"{self.side}/journal"))
        return bool(parts) and parts[-1].end > self._journal

    def _commit_folders(self) -> list[str]:
        return [f"{self._commits}/{device}" for device in self._bucket.names(self._commits)]

    # --- while it is sent ---

    def is_finished_there(self) -> bool:
        """Whether the bucket has all that the spool has: a writer of it died after that."""
        here = own_attributes(self.spool.store)
        return bool(here.get("finished")) and self._own_there() == here

    def claim(self, check_here: Callable[[], None]) -> Claim:
        """Begin an epoch in the bucket, if the scan there is ours to go on with.

        check_here: raises Fenced if another process has taken over the spool. Raises UsageError if
        the bucket has another scan, or has this one no more; NotSynced if it has more of it than
        the spool, which is to be opened again.
        """
        while True:
            check_here()
            number, last = last_claim(self._bucket, self._epochs)
            self._refuse_to_send(number, last)
            scan_id = own_attributes(self.spool.store).get("scan_id")
            if made := claim(self._bucket, self._epochs, self.spool.id or "", scan_id, number):
                self._compared = True
                return made

    def note_claimed(self) -> None:
        """Note that the bucket has something of the scan; the next time, if the disk is full."""
        with suppress(OSError):
            self.spool.note(claimed=True)

    def removed(self) -> UsageError | None:
        """What is to be told if the bucket has nothing of the scan any more, which is ended in the
        spool then."""
        there = last_claim(self._bucket, self._epochs)[0] or self._own_there()
        return None if there else self._note_removed()

    def _note_removed(self) -> UsageError:
        with suppress(OSError):
            self.spool.note(removed=True)
        scan_id = own_attributes(self.spool.store).get("scan_id")
        return UsageError(
            f"{self.store} was removed while it was written; {scan_id} stays in the spool, where"
            f" `zwriter finalize {quote(str(self.spool.store))}` ends it"
        )

    def _refuse_to_send(self, number: int, last: dict[str, Any]) -> None:
        there, here = self._own_there(), own_attributes(self.spool.store)
        kept = f"{here.get('scan_id')} stays in {self.spool.store}"
        other = (there or last).get("scan_id") or here.get("scan_id")
        if other != here.get("scan_id"):
            raise UsageError(f"{self.store} has another scan, {other}; {kept}")
        if not number and not there and self.spool.mark.get("claimed"):
            raise self._note_removed()
        if there and there.get("finished"):
            raise NotSynced(f"{self.store}: another machine has finished it meanwhile")
        if number and self._went_elsewhere(last):
            raise NotSynced(f"{self.store}: another machine has written it meanwhile")
        if number and not self._compared and self._is_behind():
            raise NotSynced(f"{self.store}: the bucket has more of it than the spool")

    def _own_there(self) -> dict[str, Any] | None:
        """What the store in the bucket says of itself; None if there is none."""
        text = self._bucket.read(f"{self.key}/{NAME}")
        return json.loads(text)["attributes"]["zwriter"] if text else None

    def clear_beside(self) -> None:
        """Remove what only served while the scan was not finished."""
        keys = self._bucket.tags(self.side).keys()
        epochs = {key for key in keys if "/epochs/" in key}  # last: they fence others off
        self._bucket.delete(sorted(keys - epochs, key=_order_of_removal))
        self._bucket.before_writing = None  # nothing tells any more whose it was
        self._bucket.delete(sorted(epochs, key=lambda key: (len(key), key)))


def _order_of_removal(key: str) -> tuple[bool, str]:
    """The mark of a service first; a log from its beginning: what has none is looked for in the
    store."""
    return not key.endswith(f"/{FED_BY}"), key
