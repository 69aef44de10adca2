"""A file goes to the disk while it is written: who waits for that at its end waits much less."""

from __future__ import annotations

import ctypes

import h5py

_BYTES = 32 * 1024 * 1024
_WRITE = 2  # SYNC_FILE_RANGE_WRITE: begin, and do not wait
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint


class Writeback:
    """Has the kernel begin with what was written to `file`, where it can be told so."""

    def __init__(self, file: h5py.File) -> None:
        self._fd: int = file.id.get_vfd_handle()
        self._nbytes = 0

    def wrote(self, nbytes: int) -> None:
        """Count them; of many a second, each call costs less than a microsecond."""
        self._nbytes += nbytes
        if self._nbytes >= _BYTES and _sync_file_range is not None:
            self._nbytes = 0
            _sync_file_range(self._fd, 0, 0, _WRITE)
