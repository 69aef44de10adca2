"""What a verification found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from zwriter.model import Verdict

_FROM_BEST = (Verdict.COMPLETE, Verdict.COMPLETE_WITH_GAPS, Verdict.ABORTED, Verdict.FAILED)


def worst(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """That of all; None if one is not known yet, or there is none."""
    found = list(verdicts)
    known = [verdict for verdict in found if verdict]
    return max(known, key=_FROM_BEST.index) if known and len(known) == len(found) else None


@dataclass(slots=True)
class Report:
    """problems: what is damaged; gaps: what is missing and known to be (data that never came, a
    scan that was aborted or is still open); verdict: the scan's own, a folder's worst one,
    None while one is open; chunks, bytes: how many were read and found whole.
    """

    path: str
    problems: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    verdict: Verdict | None = None
    chunks: int = 0
    bytes: int = 0

    @property
    def exit_code(self) -> int:
        """0 complete, 3 with gaps, 4 damaged."""
        if self.problems:
            return 4
        return 3 if self.gaps else 0

    def include(self, part: Report) -> None:
        """Take in the report on a part of what this one is about."""
        self.problems += part.problems
        self.gaps += part.gaps
        self.chunks += part.chunks
        self.bytes += part.bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "exit_code": self.exit_code,
            "verdict": self.verdict,
            "problems": self.problems,
            "gaps": self.gaps,
            "chunks": self.chunks,
            "bytes": self.bytes,
        }
