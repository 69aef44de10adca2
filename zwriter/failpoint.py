"""Named places where a test can make a process stop, fail or die. They do nothing unless set.

`zwriter.testing.failpoints` sets them, or the environment does, for processes of their own:
ZWRITER_FAILPOINTS="commit.linking=kill@3,index.writing=enospc" (at the third pass; at every one).
"""

from __future__ import annotations

import errno
import os
import signal
from collections import Counter
from collections.abc import Callable

active: dict[str, Callable[[], None]] = {}
passed: Counter[str] | None = None  # how often each was passed, while somebody wants to know


def failpoint(name: str) -> None:
    """The place `name` is passed: whatever is set for it happens."""
    if passed is not None:
        passed[name] += 1
    if active and (action := active.get(name)) is not None:
        action()


def kill() -> None:
    """The process dies, as by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop() -> None:
    """The process stops until it is sent SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def enospc() -> None:
    """Raises OSError: the disk is full."""
    raise OSError(errno.ENOSPC, "no space left on device (failpoint)")


def eio() -> None:
    """Raises OSError: the disk is broken."""
    raise OSError(errno.EIO, "input/output error (failpoint)")


def fault() -> None:
    """Raises RuntimeError: something that nobody has foreseen."""
    raise RuntimeError("a fault (failpoint)")


ACTIONS = {"kill": kill, "stop": stop, "enospc": enospc, "eio": eio, "fault": fault}


def at_pass(action: Callable[[], None], number: int) -> Callable[[], None]:
    """`action`, but only at the pass `number` (from 1)."""
    passes = 0

    def count() -> None:
        nonlocal passes
        passes += 1
        if passes == number:
            action()

    return count


def activate(text: str) -> None:
    """Set failpoints from the form that the environment has."""
    for item in filter(None, text.split(",")):
        name, _, what = item.partition("=")
        what, _, number = what.partition("@")
        action = ACTIONS[what]
        active[name] = at_pass(action, int(number)) if number else action


activate(os.environ.get("ZWRITER_FAILPOINTS", ""))
