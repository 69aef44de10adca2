"""Reading scans, live or finished. Nothing here writes to them."""

from zwriter.reader.catalog import catalog, catalog_scan, check_pyarrow
from zwriter.reader.devices import Device
from zwriter.reader.facts import dtype_name
from zwriter.reader.lazy import LazyArray
from zwriter.reader.listing import listing
from zwriter.reader.quarantine import Quarantined
from zwriter.reader.scan import Scan, open_scan
from zwriter.reader.signals import Signal
from zwriter.reader.verify import Report, verify

__all__ = [
    "Device",
    "LazyArray",
    "Quarantined",
    "Report",
    "Scan",
    "Signal",
    "catalog",
    "catalog_scan",
    "check_pyarrow",
    "dtype_name",
    "listing",
    "open_scan",
    "verify",
]
