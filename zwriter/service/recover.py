"""What a dead machine left below a folder, and its repair."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from shlex import quote
from typing import Literal

from zwriter.errors import StoreError, UsageError, ZwriterError
from zwriter.master.places import is_being_written
from zwriter.reader.location import Location
from zwriter.reader.verify.master import is_ours
from zwriter.service.finalize import finalize
from zwriter.service.paths import ScanPaths
from zwriter.service.roots import fed_from
from zwriter.settings import Settings
from zwriter.store.disk import walk
from zwriter.store.epochs import living_writer
from zwriter.store.layout import side_folder

log = logging.getLogger(__name__)

State = Literal[
    "being written",
    "unfinished",
    "not cleaned up",
    "no master file",
    "damaged",
    "stray file",
    "cannot be read",
]
_PART = re.compile(r"(.*)_master.*\.h5\.[0-9a-f]{8}\.part")
_FINISH = "finish it with what is committed, never as COMPLETE, and write its master file"


@dataclass(frozen=True, slots=True)
class Leftover:
    """path: a store or a file; remedy: what `repair` does about it, empty if it can do nothing."""

    path: Path
    state: State
    problem: str
    remedy: str = ""

    @property
    def harmless(self) -> bool:
        """Whether there is nothing to be done."""
        return self.state == "being written"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a repair; `done` is empty if it failed, `error` if it did not."""

    leftover: Leftover
    done: str = ""
    error: str = ""


def leftovers(root: Path, settings: Settings) -> Iterator[Leftover]:
    """What there is below `root`, in order of path: scans that are not finished, or have no master
    file where the settings say, and files that were being written; then folders that cannot be
    read. Nothing is changed.

    Raises UsageError if `root` is no folder, or a store.
    """
    if not root.is_dir() or root.suffix == ".zarr":
        raise UsageError(f"{root}: give a folder in which scans are")
    refused: list[OSError] = []
    for folder, names, files in walk(root, refused.append, links=True):
        scans = {name.rpartition(".")[0] for name in names if name.endswith((".zarr", ".zwriter"))}
        for base in sorted(scans):
            store = folder / f"{base}.zarr"
            try:
                found = _look_at(store, settings)
            except OSError as error:
                found = _unreadable(store, error)
            if found:
                yield found
        for name in sorted(files):
            if (part := _PART.fullmatch(name)) and _stray(folder / name, part[1]):
                problem = "a master file that was being written"
                yield Leftover(folder / name, "stray file", problem, "remove it")
        names[:] = sorted(name for name in names if not name.endswith((".zarr", ".zwriter")))
    yield from (_unreadable(Path(error.filename), error) for error in refused)


def repair(found: Iterable[Leftover], settings: Settings) -> Iterator[Outcome]:
    """Do what each remedy says. One that fails stops no other."""
    for leftover in found:
        if leftover.harmless:
            yield Outcome(leftover, done="left alone")
        elif not leftover.remedy:
            yield Outcome(leftover, error="cannot be repaired")
        else:
            yield _repaired(leftover, settings)


def _repaired(leftover: Leftover, settings: Settings) -> Outcome:
    try:
        if leftover.state == "stray file":
            leftover.path.unlink(missing_ok=True)
            return Outcome(leftover, done="removed")
        verdict, master = finalize(leftover.path, settings)
    except (ZwriterError, OSError) as error:
        return Outcome(leftover, error=str(error))
    except Exception as error:
        log.exception("%s: cannot be repaired", leftover.path)
        return Outcome(leftover, error=f"{type(error).__name__}: {error}")
    return Outcome(leftover, done=f"{verdict}, {master}")


def _look_at(store: Path, settings: Settings) -> Leftover | None:
    side = side_folder(store)
    if writer := living_writer(side):
        return Leftover(store, "being written", f"by {writer}")
    try:
        own = Location(store).attributes("").get("zwriter") if store.is_dir() else None
    except StoreError as error:
        if not side.is_dir():
            return Leftover(store, "damaged", str(error))
        own = None  # written anew when the scan is continued
    finished = isinstance(own, dict) and bool(own.get("finished"))
    if side.is_dir():
        if finished:
            remedy = "write its master file and remove the rest"
            return Leftover(store, "not cleaned up", f"finished, but {side} is there", remedy)
        return _unfinished(store)
    if own is None:
        return None  # somebody else's
    if not finished:
        return Leftover(store, "damaged", f"not finished, and {side}, with its commits, is lost")
    masters = Path(str(ScanPaths.of_store(store.resolve(), None, settings).master)).parent
    found = sorted(masters.glob(f"{escape(store.stem)}_master*.h5"))
    if not found:
        return Leftover(store, "no master file", "finished", "write it")
    damaged = [master for master in found if is_ours(master) is None]
    if len(damaged) == len(found):
        problem = f"no HDF5 file: remove it, and `zwriter finalize {quote(str(store))}` writes it"
        return Leftover(damaged[0], "damaged", problem)
    return None


def _unreadable(path: Path, error: OSError) -> Leftover:
    return Leftover(path, "cannot be read", str(error.strerror or error))


def _unfinished(store: Path) -> Leftover:
    redis = fed_from(store)
    if redis is None:
        return Leftover(store, "unfinished", "its writer is dead", _FINISH)
    problem = f"its service is dead; `zwriter run` goes on with it if {redis} still has the scan"
    return Leftover(store, "unfinished", problem, f"{_FINISH}, without what Redis has")


def _stray(path: Path, base: str) -> bool:
    """Whether nobody who is alive writes the file, which HDF5 locks, or the scan."""
    if living_writer(side_folder(path.with_name(f"{base}.zarr"))):
        return False
    return not is_being_written(path)
