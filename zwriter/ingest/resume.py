"""Is a stream still the one we know? A Redis that was replaced or lost its data has other ones."""

from __future__ import annotations

from collections.abc import Sequence

from zwriter.ingest.commands import Commands

BEGINNING = "0-0"


def resume(client: Commands, key: bytes, position: str) -> tuple[str, str]:
    """Where to read on a stream that was read up to `position`; up to where it is read *again*.

    A stream that holds the entry at `position`, or only later ones, is read on. One that holds
    earlier ones but not that one is another: it began anew under a clock that went back, or is that
    of a replica that was behind. Its ids say nothing about ours, so it is read from its beginning;
    what it holds now is marked, and the producer's numbers tell what of that is new.
    """
    found = client.xrevrange(key, max=position, count=1)
    if not found:
        return BEGINNING, BEGINNING  # whatever comes is new
    newest = found[0][0].decode()
    return (position, BEGINNING) if newest == position else (BEGINNING, newest)


def later(one: str, other: str) -> str:
    """The later of two entries' ids."""
    return max(one, other, key=_order)


def divided(
    entries: Sequence[tuple[str, bytes]], until: str
) -> tuple[Sequence[tuple[str, bytes]], Sequence[tuple[str, bytes]]]:
    """The entries (id, message) up to `until`, and those behind it."""
    known = sum(_order(entry) <= _order(until) for entry, _ in entries)
    return entries[:known], entries[known:]


def _order(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number)
