"""Where a master file lies, and how it gets there: whole, or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from zwriter.failpoint import failpoint
from zwriter.objects import AnyPath, ObjectPath
from zwriter.settings import MasterSettings
from zwriter.store.disk import sync_folder


def master_path(
    store: AnyPath, root: AnyPath, settings: MasterSettings, suffix: str = ""
) -> AnyPath:
    """Where the master file of a store belongs: `<base>_master<suffix>.h5` beside it, or, if the
    settings name a folder, there, in the same folders as the store below `root`. A store elsewhere
    has it beside itself."""
    name = f"{store.stem}_master{suffix}.h5"
    inside = os.path.relpath(str(store.parent), str(root))
    if settings.folder is None or Path(inside).is_relative_to(os.pardir):
        return store.with_name(name)
    return settings.folder.absolute() / inside / name


def links_from(store: AnyPath, out: AnyPath, mode: str) -> AnyPath | None:
    """The folder that links into the store lead from: that of the master file at `out`, or, where
    that is on a disk and the store in a bucket, the one it will be in once the scan's folder is
    mirrored. None where nothing can be linked."""
    if isinstance(store, ObjectPath) == isinstance(out, ObjectPath):
        return out.parent
    return store.parent if isinstance(store, ObjectPath) and mode != "copy" else None


def is_being_written(file: Path) -> bool:
    """Whether somebody has an HDF5 file open for writing: HDF5 locks it. So is what is not ours to
    be opened."""
    try:
        with file.open("rb") as opened:
            fcntl.flock(opened.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


@contextmanager
def landing(out: AnyPath) -> Iterator[Path]:
    """A place on the disk for a file that is put at `out` when the block is left, unless by an
    exception. Raises OSError."""
    if isinstance(out, ObjectPath):
        with TemporaryDirectory(prefix="zwriter-") as folder:
            part = Path(folder, out.name)
            yield part
            out.upload(part)
        return
    part = out.with_name(f"{out.name}.{uuid4().hex[:8]}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f"{escape(out.name)}.{'[0-9a-f]' * 8}.part"):
            if not is_being_written(left):  # by who died over it
                left.unlink(missing_ok=True)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(out)
        failpoint("master.renamed")
        sync_folder(out.parent)
    finally:
        with suppress(OSError):
            part.unlink()
