"""What tests of adding share."""

from __future__ import annotations

import threading
from typing import Any

from zwriter.protocol import decode
from zwriter.reader import Scan
from zwriter.settings import StoreSettings

SETTINGS = StoreSettings(flush_interval=60, durability="none")
FRAME = (400, 500)  # of uint16: large enough to be encoded and written by other threads


def kept_of(scan: Scan, signal: str) -> list[dict[str, Any]]:
    """The readings in quarantine, all of one signal."""
    return [decode(entry.raw).data["signals"][signal] for entry in scan.quarantine]


def interrupt() -> None:
    if threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


class Impatient:
    """Tells at once what the disk refuses."""

    def refused(self, error: OSError) -> None:
        raise error

    def accepted(self) -> None:
        """Nothing was waited for."""
