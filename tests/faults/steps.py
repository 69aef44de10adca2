"""The steps of a writer, by their failpoints, and scans in which they are passed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import zwriter

COUNTS = [5, 20, 42]
_IN_SOURCES = {
    name
    for path in Path(zwriter.__file__).parent.rglob("*.py")
    for name in re.findall(r'failpoint\("([a-z.]+)"\)', path.read_text())
}
_ELSEWHERE = ("ingest.", "ship.")  # see tests/service, and tests/ship on the way to a bucket
STEPS = sorted(name for name in _IN_SOURCES if not name.startswith(_ELSEWHERE))
OF_TAKEOVER = sorted(name for name in STEPS if name.startswith("takeover."))


def order_for(name: str, durability: str) -> dict[str, Any]:
    """A scan in which the failpoint is passed."""
    return {
        "counts": COUNTS,
        "durability": durability,
        # another writer is alive, from whom the scan is taken over, in one step or two
        "rival": name in OF_TAKEOVER,
        "plain": name == "takeover.exchanging",
    }
