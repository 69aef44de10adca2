"""Make a writer stop, fail or die at a named step.

>>> with failing("commit.linking", enospc):
...     writer.commit()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zwriter import failpoint
from zwriter.failpoint import ACTIONS, at_pass, eio, enospc, fault, kill

__all__ = ["ACTIONS", "at_pass", "eio", "enospc", "failing", "fault", "kill", "watched"]


@contextmanager
def failing(name: str, action: Callable[[], None]) -> Iterator[None]:
    """`action` happens each time the failpoint `name` is passed in this process."""
    failpoint.active[name] = action
    try:
        yield
    finally:
        del failpoint.active[name]


@contextmanager
def watched() -> Iterator[Counter[str]]:
    """How often each failpoint is passed."""
    failpoint.passed = seen = Counter[str]()
    try:
        yield seen
    finally:
        failpoint.passed = None
