"""One async stream: how far it was read, and what its messages become."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby

from zwriter.errors import BadMessage
from zwriter.ingest.discovery import StreamName
from zwriter.ingest.resume import BEGINNING
from zwriter.model import Position, Rejected, Run, Source, Update
from zwriter.protocol.alike import LONG, Alike
from zwriter.protocol.codec import DATA, messages_in
from zwriter.protocol.updates import updates_in
from zwriter.raw import Messages

Batch = list[Update | Run | Rejected]

ENTRY_BYTES = 64  # what one message takes besides its own bytes


@dataclass(slots=True)
class Stream:
    """One stream and how far it was read; `size` is what its messages take lately, 0: not known."""

    name: StreamName
    position: str = BEGINNING
    size: int = 0
    came: int = 0  # messages at a time, lately
    again: str = BEGINNING  # up to here, what is read may be known already
    reads: int = 0  # that wait to be handed on, or were
    handed_on: int = 0  # of these
    got: str = BEGINNING  # the entry that was handed on last
    behind: bool = False  # there was more than the last reading took
    unsure: bool = False  # whether it is still the stream that was read up to `position`
    refused: float = 0.0  # until then (time.monotonic) it is left alone; for ever, if it is none
    alike: Alike = field(init=False)

    def __post_init__(self) -> None:
        self.alike = Alike(self.name.key, self.name.device)


@dataclass(frozen=True, slots=True)
class Read:
    """Messages of one stream; `again`: they may be known already."""

    stream: Stream
    groups: list[Messages]
    again: bool = False

    @property
    def last(self) -> str:
        """The id of the last one."""
        return self.groups[-1].last

    @property
    def nbytes(self) -> int:
        """That its messages take, with what belongs to them."""
        return sum(messages.nbytes + ENTRY_BYTES * len(messages) for messages in self.groups)

    def decoded(self) -> Batch:
        """What they become."""
        batch: Batch = []
        for same in _to_be_joined(self.groups):
            joined = len(same) > 1 and not self.again
            runs = self._runs(Messages.together(same)) if joined else None
            if runs is None:
                batch += chain.from_iterable(map(self._decoded, same))
            else:
                batch += runs
        return batch

    def _runs(self, messages: Messages) -> list[Run] | None:
        return None if self.again else self.stream.alike.runs(messages)

    def _decoded(self, messages: Messages) -> Batch:
        runs = self._runs(messages)
        if runs is not None:
            return [*runs]
        batch: Batch = []
        name = self.stream.name
        for entry, raw in messages.pairs():
            source = Source(raw, Position(name.key, entry), self.again)
            batch.extend(_updates(source, name.device))
        return batch


def by_stream(reads: Iterable[Read]) -> list[Read]:
    """The same, what was read of a stream in turns as one, in its order."""
    found: list[Read] = []
    last: dict[str, Read] = {}
    for read in reads:
        known = last.get(read.stream.name.key)
        if known is not None and known.again == read.again:
            known.groups.extend(read.groups)
            continue
        found.append(read)
        last[read.stream.name.key] = read
    return found


def _to_be_joined(groups: Sequence[Messages]) -> Iterator[list[Messages]]:
    """The same: small groups of one length together, since decoding costs as much for few messages
    as for many; any other by itself.
    """
    for (_, large), some in groupby(groups, key=lambda group: (group.length, group.nbytes >= LONG)):
        same = list(some)
        yield from ([group] for group in same) if large else [same]


def _updates(source: Source, device: str) -> Iterable[Update | Rejected]:
    try:
        messages = messages_in(source.raw, DATA)
    except BadMessage as error:
        return [Rejected(device, "", str(error), source, time.time())]
    return [update for message in messages for update in updates_in(message, device, source)]
