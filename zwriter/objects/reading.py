"""Objects that are read before they are asked for: many requests under way, memory bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from zwriter.objects.paths import AT_ONCE, AnyPath, ObjectPath

PIECE = 4 * 1024 * 1024
LIMIT = 48 * 1024 * 1024  # bytes; more under way at once costs more than it brings

T = TypeVar("T")


def ahead(jobs: Iterable[tuple[int, Callable[[], T]]]) -> Generator[T]:
    """What the jobs give, in their order, while those that come next are under way.

    jobs: how many bytes each will give, and what does it. What is begun and not yet used up makes
    no more than LIMIT, but one job at least.
    """
    waiting, held = iter(jobs), 0
    begun = deque[tuple[int, Future[T]]]()
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        job = next(waiting, None)
        while job or begun:
            while job and (not begun or held + job[0] <= LIMIT):
                held += job[0]
                begun.append((job[0], pool.submit(job[1])))
                job = next(waiting, None)
            yield begun[0][1].result()
            held -= begun.popleft()[0]
    finally:
        pool.shutdown(cancel_futures=True)


class ReadAhead:
    """Objects that will be opened in the order of `paths`; each is read forwards, in large parts.

    sizes: of the objects that there are, by URL.
    """

    def __init__(self, paths: Iterable[ObjectPath], sizes: Mapping[str, int]) -> None:
        self._sizes = sizes
        there = (path for path in paths if str(path) in sizes)
        self._pieces = ahead(job for path in there for job in _pieces(path, sizes[str(path)]))

    def open(self, path: AnyPath) -> Forwards:
        """Raises FileNotFoundError if there is no such object."""
        if str(path) not in self._sizes:
            raise FileNotFoundError(f"{path} is missing")
        return Forwards(self._pieces, self._sizes[str(path)])

    def close(self) -> None:
        self._pieces.close()


class Forwards:
    """An object that is read from its beginning on: what is skipped or read is gone."""

    def __init__(self, pieces: Iterator[bytes], size: int) -> None:
        self._pieces, self._size = pieces, size
        self._piece, self._start, self._at = memoryview(b""), 0, 0

    def seek(self, offset: int) -> None:
        """Raises ValueError if that is behind."""
        if offset < self._at:
            raise ValueError(f"what is at {offset} was read already")
        self._at = offset

    def read(self, nbytes: int = -1) -> bytes:
        """The next bytes, fewer only at the end; -1: all that is left."""
        stop = self._size if nbytes < 0 else min(self._at + nbytes, self._size)
        parts = []
        while self._at < stop:
            while self._at >= self._start + len(self._piece):
                self._start += len(self._piece)
                self._piece = memoryview(next(self._pieces))
            part = self._piece[self._at - self._start : stop - self._start]
            parts.append(part)
            self._at += len(part)
        return b"".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:  # what follows is the next object's
            while self._start + len(self._piece) < self._size:
                self._start += len(self._piece)
                self._piece = memoryview(next(self._pieces))


def download(path: ObjectPath, file: Path) -> None:
    """The object as a file. Raises FileNotFoundError if there is none."""
    reading = ReadAhead([path], {str(path): path.stat().st_size})
    with closing(reading), reading.open(path) as source, file.open("wb") as target:
        while block := source.read(PIECE):
            target.write(block)


def _pieces(path: ObjectPath, size: int) -> Iterator[tuple[int, Callable[[], bytes]]]:
    for start in range(0, size, PIECE):
        stop = min(start + PIECE, size)
        yield stop - start, partial(path.read_part, start, stop)
