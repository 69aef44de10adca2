"""zwriter: from Redis to Zarr v3, readable while it grows, then to an HDF5/NeXus master file.

The public API is what `__all__` names; each name is imported when it is first used, so that
`import zwriter` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zwriter._version import __version__

if TYPE_CHECKING:
    from zwriter.master import write_master as export
    from zwriter.protocol import Publisher
    from zwriter.reader import open_scan, verify
    from zwriter.scan import ScanWriter

__all__ = ["Publisher", "ScanWriter", "__version__", "export", "open_scan", "verify"]

_HOME = {
    "Publisher": ("zwriter.protocol", "Publisher"),
    "ScanWriter": ("zwriter.scan", "ScanWriter"),
    "export": ("zwriter.master", "write_master"),
    "open_scan": ("zwriter.reader", "open_scan"),
    "verify": ("zwriter.reader", "verify"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
