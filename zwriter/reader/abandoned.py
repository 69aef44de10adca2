"""Scans that are not finished, and that nobody writes any more."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from zwriter.reader.location import Location
from zwriter.store.epochs import died_here
from zwriter.store.layout import FED_BY, side_folder


def abandoned(location: Location) -> str | None:
    """That the writer of a scan is dead, and what to do about it; None if it is not known to be, or
    has finished the scan. It is known of scans on a disk, on the machine of their writer."""
    path = location.path
    if not isinstance(path, Path) or not died_here(side_folder(path)):
        return None
    if location.attributes("").get("zwriter", {}).get("finished"):  # before it died
        return None
    end = f"`zwriter finalize {quote(str(path))}` ends it"
    if (side_folder(path) / FED_BY).exists():
        go_on = "`zwriter run` goes on with it if Redis still has it"
        return f"its service is dead; {go_on}, {end} without what Redis has"
    return f"its writer is dead; {end}"
