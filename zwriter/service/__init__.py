"""Many scans: the loop behind `zwriter run`."""

from zwriter.service.run import run

__all__ = ["run"]
