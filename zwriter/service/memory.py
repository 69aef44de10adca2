"""Memory that is used again instead of being given back, as its first touch is slow; and seldom
searched for what can be given back.
"""

from __future__ import annotations

import ctypes
import gc

MiB = 1024 * 1024
_MANY_OBJECTS = 100_000  # more than the messages of about a second are
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


def search_seldom() -> None:
    """Have Python look for cycles of dead objects only once there are very many new objects.

    Messages are many small objects and in no cycle, but each few hundred of them would start a
    search, now and then through everything that the program has ever loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_MANY_OBJECTS)
