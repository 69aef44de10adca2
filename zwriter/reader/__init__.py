"""Reading scans, live or finished. Nothing here writes."""

from zwriter.reader.devices import Device
from zwriter.reader.lazy import LazyArray
from zwriter.reader.listing import listing
from zwriter.reader.scan import Scan, open_scan
from zwriter.reader.signals import Signal

__all__ = ["Device", "LazyArray", "Scan", "Signal", "listing", "open_scan"]
