"""One scan being written, from updates and control messages to a store and its master file."""

from zwriter.scan.writer import UNCOMMITTED_BYTES, ScanWriter

__all__ = ["UNCOMMITTED_BYTES", "ScanWriter"]
