"""Parts of files as memory, also behind the end of the file, where something is yet to be written:
`mmap` of the standard library refuses that.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    ctypes.c_int64,
)
_libc.munmap.argtypes = ctypes.c_void_p, ctypes.c_size_t
_PAGE = mmap.ALLOCATIONGRANULARITY
_FAILED = ctypes.c_void_p(-1).value


def mapped(fd: int, offset: int, nbytes: int) -> NDArray[np.uint8]:
    """What is, or will be, at `offset`, as read-only memory (nbytes,), read when it is used, which
    needs the file no longer to be open. Who reads behind the end of the file is killed.

    Raises OSError where files cannot be mapped.
    """
    first = offset // _PAGE * _PAGE
    length = -(-(offset + nbytes - first) // _PAGE) * _PAGE
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, first)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    memory: Any = (ctypes.c_uint8 * length).from_address(address)
    weakref.finalize(memory, _libc.munmap, address, length).atexit = False
    array = np.frombuffer(memory, np.uint8)[offset - first :][:nbytes]
    array.flags.writeable = False
    return array
