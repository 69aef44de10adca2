"""Memory that is used again instead of being given back: its first touch is slow."""

from __future__ import annotations

import ctypes

MiB = 1024 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


def keep_memory(nbytes: int) -> None:
    """Have this process keep up to `nbytes` of free memory, where the C library can be told.

    Messages are large and live for a second at most. By default each of them is mapped anew, page
    by page, which on a virtual machine takes as long as writing it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * MiB)
    mallopt(_M_TRIM_THRESHOLD, nbytes)
    mallopt(_M_ARENA_MAX, 1)  # what one thread has freed, another uses
