"""Steps on the disk: each is done whole or can be done again, and waits if the disk refuses it."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, ParamSpec, Protocol, TypeVar
from uuid import uuid4

from zwriter.errors import Fenced, NotSynced, UsageError
from zwriter.failpoint import failpoint
from zwriter.objects import is_url
from zwriter.store.exchange import take_place

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP}  # from one folder to another

P = ParamSpec("P")
T = TypeVar("T")

# full, over quota, read-only, no permission, broken, away, be it a disk or a server: can be mended
PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ETIMEDOUT, errno.EBUSY, errno.ESTALE, errno.ENXIO, errno.ENODEV),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
    *(errno.ENOTCONN, errno.ESHUTDOWN, errno.EREMOTEIO),
}


class Patience(Protocol):
    """What is done while the disk refuses a step."""

    def refused(self, error: OSError) -> None:
        """Wait a little before the step is tried again; raise to give up."""

    def accepted(self) -> None:
        """A step that was refused has succeeded."""


_patience: ContextVar[Patience | None] = ContextVar("patience", default=None)


@contextmanager
def waiting(patience: Patience) -> Iterator[None]:
    """In the block, steps that the disk refuses are tried again, as long as `patience` lasts."""
    token = _patience.set(patience)
    try:
        yield
    finally:
        _patience.reset(token)


def passing(error: BaseException) -> bool:
    """Whether it is the disk that refuses: a step may succeed later."""
    return isinstance(error, OSError) and error.errno in PASSING


def of_the_store(error: BaseException) -> bool:
    """Whether an error says nothing of what was being written: the disk refuses, or the store is
    ours no more.
    """
    return passing(error) or isinstance(error, Fenced)


def check_folder(name: str, folder: Path) -> None:
    """Make a folder, which the user knows by `name`. Raises UsageError if files cannot be made in
    it."""
    if is_url(str(folder)):
        raise UsageError(f"{name} {folder} is not on a disk; give a folder that is")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{name} {folder} cannot be used: {error}") from error


def more_files() -> bool:
    """Let this process have as many files open as it may; whether these are more than before. Each
    array that grows takes one, and a login shell gives 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] != soft


def step(work: Callable[P, T]) -> Callable[P, T]:
    """Something that can be done again if the disk refuses it, and is, inside of `waiting`."""

    @wraps(work)
    def until_done(*args: P.args, **kwargs: P.kwargs) -> T:
        refused = False
        while True:
            try:
                result = work(*args, **kwargs)
            except OSError as error:
                if error.errno == errno.EMFILE and more_files():
                    continue
                patience = _patience.get()
                if patience is None or not passing(error):
                    raise
                patience.refused(error)
                refused = True
            else:
                if refused and (patience := _patience.get()) is not None:
                    patience.accepted()
                return result

    return until_done


def nbytes_of(parts: Sequence[Any]) -> int:
    """What all parts, of bytes each, take together."""
    return sum(map(len, parts))


def write_all(fd: int, parts: list[Any], offset: int) -> int:
    """Write the parts one behind the other; how many bytes that were."""
    nbytes = nbytes_of(parts)
    written = os.pwritev(fd, parts, offset)
    if written < nbytes:
        rest = memoryview(b"".join(bytes(part) for part in parts))[written:]
        while rest:  # the kernel writes at most 2 GiB at a time, or less when the disk fills up
            rest = rest[os.pwrite(fd, rest, offset + nbytes - len(rest)) :]
    return nbytes


def temporary_of(path: Path) -> str:
    """Where a file is that is to take its place at `path`, or the one that was there before it."""
    folder, name = os.path.split(path)
    return f"{folder}/.{name}.tmp"  # a text: hundreds of files are written at once


@step
def replace_file(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Put `data` at `path` in one step, in place of what is there; sync: also after a power cut."""
    temporary = temporary_of(path)
    try:
        _write_anew(temporary, data, sync)
        failpoint("file.renaming")
        if sync:
            os.rename(temporary, path)  # noqa: PTH104
        else:
            take_place(temporary, os.fspath(path))
    except OSError:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise
    failpoint("file.renamed")
    if sync:
        sync_folder(path.parent)


@step
def link_in_place(file: Path, path: Path) -> None:
    """Have the same file at `path` as well, in one step, in place of what is there; a copy of it
    where that cannot be."""
    temporary = Path(temporary_of(path))
    temporary.unlink(missing_ok=True)  # of a writer that died, or what was refused before
    try:
        temporary.hardlink_to(file)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        replace_file(path, file.read_bytes())
        return
    failpoint("file.renaming")
    take_place(os.fspath(temporary), os.fspath(path))
    failpoint("file.renamed")


def create_file(path: Path, data: bytes, *, sync: bool = False) -> None:
    """Put `data` at `path` in one step. Raises FileExistsError where there is something."""
    _create(path, data, sync)
    failpoint("commit.linked")
    if sync:
        sync_folder(path.parent)


@step
def _create(path: Path, data: bytes, sync: bool) -> None:
    # a link appears whole or not at all, and only where there is nothing yet
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        _write(temporary, data, os.O_EXCL, sync)
        failpoint("commit.linking")
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            if not path.samefile(temporary):  # NFS may do it and then say that it was done before
                raise
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write_anew(path: str, data: bytes, sync: bool) -> None:
    try:
        _write(path, data, os.O_EXCL, sync)
    except FileExistsError:  # of a writer that died; others may still read it
        os.unlink(path)  # noqa: PTH108
        _write(path, data, os.O_EXCL, sync)


def _write(path: Path | str, data: bytes, flags: int, sync: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o644)
    try:
        write_all(fd, [data], 0)
        if sync:
            flush(fd)
    finally:
        os.close(fd)


@step
def make_folder(path: Path, *, sync: bool = False) -> None:
    """Make sure that the folder is there; sync: also after a power cut."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()] if sync else []
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(new):
        sync_folder(folder.parent)


@step
def remove(path: Path) -> None:
    """Make sure that the file, or the folder and all in it, is gone."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def raised(error: OSError) -> None:
    """What cannot be read ends it all."""
    raise error


def walk(
    path: Path, refused: Callable[[OSError], None] = raised, *, links: bool = False
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk`, but of a folder that is there and cannot be read `refused` is told; default: it is
    raised. links: also through those to folders, into each folder once."""

    def cannot_read(error: OSError) -> None:
        gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        if not gone and Path(error.filename).name != "lost+found":  # of the file system
            refused(error)

    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(path, onerror=cannot_read, followlinks=links):
        if links and not _is_new(folder, seen):
            folders.clear()
            continue
        yield Path(folder), folders, files


def _is_new(folder: str, seen: set[tuple[int, int]]) -> bool:
    try:
        there = os.stat(folder)  # noqa: PTH116
    except FileNotFoundError:
        return False
    one = there.st_dev, there.st_ino
    new = one not in seen
    seen.add(one)
    return new


def sync_tree(path: Path) -> None:
    """Return when all files below `path`, and their names, are on the disk."""
    for folder, _, names in walk(path):
        for name in names:
            sync_file(folder / name)
        sync_folder(folder)


def sync_file(path: Path) -> None:
    """Return when the file's bytes are on the disk."""
    _sync(path, 0)


def sync_folder(path: Path) -> None:
    """Return when the names in the folder are on the disk."""
    _sync(path, os.O_DIRECTORY)


def sync_names(path: Path, top: Path) -> None:
    """Return when the name of `path`, and of all folders above it below `top`, are on the disk."""
    folder = path
    while folder != top:
        folder = folder.parent
        sync_folder(folder)


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        flush(fd)
    finally:
        os.close(fd)


def flush(fd: int) -> None:
    """Return when the file's bytes are on the disk. Raises NotSynced.

    Not to be tried again: the kernel may have dropped what it could not write, and says that only
    once.
    """
    try:
        failpoint("disk.syncing")
        os.fsync(fd)
    except OSError as error:
        raise NotSynced(f"the disk did not take what was written: {error}") from error
