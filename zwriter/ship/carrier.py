"""What brings the parts of a scan into its bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from zwriter.ship.ahead import SentAhead
from zwriter.ship.bucket import Bucket, side_by_side
from zwriter.ship.claim import Claim
from zwriter.ship.documents import Documents

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Carrier:
    """In one epoch of ours.

    spool: the id of the spool that all comes from; pool: for what may be sent side by side; ahead:
    for what is sent between two looks at the spool; interval: seconds between these; distrusted:
    objects that the bucket does not have as they were sent: they are sent again, whatever the
    commits say.
    """

    bucket: Bucket
    documents: Documents
    epoch: Claim
    spool: str
    pool: ThreadPoolExecutor
    ahead: SentAhead
    interval: float
    distrusted: Set[str] = frozenset()

    def side_by_side(self, function: Callable[[T], object], items: Iterable[T]) -> None:
        """As `bucket.side_by_side`. However slow the way is, others see that the scan is alive."""
        side_by_side(self.pool, function, items, self.epoch.show_life)
