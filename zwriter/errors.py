"""One tree of exceptions; every message says in one line what is wrong and what to do."""

from __future__ import annotations


class ZwriterError(Exception):
    """Anything zwriter reports to a user. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(ZwriterError):
    """A path, an option or a setting that cannot be used as given."""

    exit_code = 2


class PlaceTaken(UsageError):
    """Where a scan is to go there is another one."""


class BadMessage(ZwriterError):
    """A message that cannot be decoded or breaks the protocol; it goes to quarantine."""


class BadUpdate(ZwriterError):
    """An update that does not fit its signal; it goes to quarantine."""


class StoreError(ZwriterError):
    """A store that is not one, is damaged, or cannot be written."""

    exit_code = 4


class Fenced(StoreError):
    """Another writer has taken over this device; nothing more may be committed here."""

    exit_code = 5


class BeingWritten(StoreError):
    """A writer that is alive has the scan; it is not taken away from it."""

    exit_code = 5


class NotSynced(StoreError):
    """What was written may not be on the disk; the scan is to be closed and continued."""


class ServiceError(ZwriterError):
    """Redis or the object store cannot be reached, refuses us, or is not what it should be."""

    exit_code = 6


class Damaged(StoreError):
    """What a commit points to is not there, or is not what was written."""
