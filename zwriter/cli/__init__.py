"""The command line: each command calls one function of the packages below."""

from zwriter.cli import live, recovery, scans
from zwriter.cli.app import app

__all__ = ["app", "live", "recovery", "scans"]
