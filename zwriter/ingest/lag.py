"""How far reading is behind what Redis will keep."""

from __future__ import annotations

from typing import Any

import redis

from zwriter.ingest.commands import Commands


def unread_share(client: Commands, key: bytes, position: str) -> float:
    """The share, in time, of a stream's entries that were not read; 0 unless Redis trims it, and if
    it cannot say.

    What it keeps of a stream that is being trimmed is what we may be late by.
    """
    try:
        info: dict[Any, Any] = client.xinfo_stream(key)
    except redis.ResponseError:  # "no such key", most of all
        return 0.0
    facts = {k.decode() if isinstance(k, bytes) else k: v for k, v in info.items()}
    if facts.get("entries-added", 0) <= facts["length"] or not facts["first-entry"]:
        return 0.0  # nothing was trimmed yet, or (before Redis 7) nobody knows
    first, last = _milliseconds(facts["first-entry"][0]), _milliseconds(facts["last-generated-id"])
    return min(1.0, (last - _milliseconds(position)) / max(last - first, 1))


def _milliseconds(entry: str | bytes) -> int:
    text = entry.decode() if isinstance(entry, bytes) else entry
    return int(text.partition("-")[0])
