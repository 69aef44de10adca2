"""Cutting the power: of what was written, a disk has what was synced, and some of the rest.

`recording` notes in a process what it syncs, instead of doing it; `cut` makes the folder that is
there when the machine is on again.
"""

from __future__ import annotations

import json
import os
import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PAGE = 4096


@contextmanager
def recording(folder: Path, record: Path) -> Iterator[None]:
    """What is synced in the block, by this process, goes to `record`, by the number of the inode;
    at first all that is in `folder` is.
    """
    held: dict[int, int] = {}  # open, so that no other file gets the number
    sync = os.fsync

    def note(fd: int) -> None:
        status = os.fstat(fd)
        held.setdefault(status.st_ino, os.dup(fd))
        if not stat.S_ISDIR(status.st_mode):
            pages, size = _pages(Path(f"/proc/self/fd/{fd}"))
            _put(record / str(status.st_ino), pages, size)
            return
        names = {}
        with os.scandir(fd) as entries:
            for entry in entries:
                names[entry.name] = [entry.inode(), entry.is_dir()]
                if entry.inode() not in held:
                    held[entry.inode()] = os.open(entry.name, os.O_PATH, dir_fd=fd)
        (record / f"{status.st_ino}.names").write_text(json.dumps(names))

    for path in (folder, *folder.rglob("*")):
        fd = os.open(path, os.O_RDONLY)
        note(fd)
        os.close(fd)
    os.fsync = note
    try:
        yield
    finally:
        os.fsync = sync


def cut(folder: Path, record: Path, target: Path, torn: random.Random | None) -> None:
    """Make `target` what `folder` is after the power was cut.

    torn: None for only what was synced; otherwise all names are there, but of the bytes that were
    not synced only some pages.
    """
    inode = folder.stat().st_ino
    if torn is None:
        _put_synced(inode, record, target)
    else:
        _put_torn(folder, record, target, torn)


def _put_synced(inode: int, record: Path, target: Path) -> None:
    target.mkdir()
    known = record / f"{inode}.names"
    names = json.loads(known.read_text()) if known.exists() else {}
    for name, (number, is_folder) in names.items():
        if is_folder:
            _put_synced(number, record, target / name)
        else:
            _put(target / name, *_pages(record / str(number)))


def _put_torn(folder: Path, record: Path, target: Path, rng: random.Random) -> None:
    target.mkdir()
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            _put_torn(entry, record, target / entry.name, rng)
            continue
        now, size_now = _pages(entry)
        before, size_before = _pages(record / str(entry.stat().st_ino))
        size = max(size_now, size_before) if rng.random() < 0.7 else size_before
        pages = {
            at: rng.choice((now, before)).get(at, b"")[: size - at]
            for at in sorted(now.keys() | before.keys())
            if at < size
        }
        _put(target / entry.name, pages, size)


def _pages(path: Path) -> tuple[dict[int, bytes], int]:
    """offset -> bytes of the pages of a file, and its size; none if there is no such file.

    The files of shards are sparse: of some GB, only kB are there.
    """
    if not path.exists():
        return {}, 0
    fd = os.open(path, os.O_RDONLY)
    try:
        found, size, at = {}, os.fstat(fd).st_size, 0
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA) // PAGE * PAGE
            except OSError:  # nothing but a hole is left
                break
            found[at] = os.pread(fd, PAGE, at)
            at += PAGE
        return found, size
    finally:
        os.close(fd)


def _put(path: Path, pages: dict[int, bytes], size: int) -> None:
    with path.open("wb") as file:
        for at, page in pages.items():
            file.seek(at)
            file.write(page)
        file.truncate(size)
