"""Scans that are not finished, and that nobody writes any more."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

from zwriter.reader.location import Location
from zwriter.store.epochs import died_here
from zwriter.store.layout import FED_BY, side_folder


def abandoned(location: Location) -> str | None:
    """That nobody writes a scan, and what to do about it; None if that is not known, or it is
    finished. It is known of scans on a disk, on the machine of their writer, and of copies without
    what lay beside them."""
    path, dead = location.path, is_dead(location)
    if not isinstance(path, Path) or not (dead or _lacks_side(path)):
        return None
    if location.attributes("").get("zwriter", {}).get("finished"):  # before it died
        return None
    if not dead:
        name = side_folder(path).name
        return f"it is a copy, made before the scan was finished: {name} is not beside it"
    end = f"`zwriter finalize {quote(str(path))}` ends it"
    if (side_folder(path) / FED_BY).exists():
        go_on = "`zwriter run` goes on with it if Redis still has it"
        return f"its service is dead; {go_on}, {end} without what Redis has"
    return f"its writer is dead; {end}"


def is_dead(location: Location) -> bool:
    """Whether the writer of a scan that is not finished is known to be dead."""
    return isinstance(location.path, Path) and died_here(side_folder(location.path))


def _lacks_side(path: Path) -> bool:
    try:
        side_folder(path).stat()
    except FileNotFoundError:
        return True
    except OSError:  # nothing is known
        pass
    return False
