"""Paths in a bucket, as far as they are needed, with the names that pathlib has for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from zarr.abc.store import Store
from zarr.storage import LocalStore

from zwriter.errors import UsageError
from zwriter.settings import storage_settings

if TYPE_CHECKING:
    from zwriter.objects.clients import ObjectStorage

SCHEME = "s3://"
AT_ONCE = 16
_URL = re.compile(r"^\w+:/|://")

T = TypeVar("T")
R = TypeVar("R")


class ObjectStat(NamedTuple):
    st_size: int


class ObjectPath:
    """An object, or what begins with its name and a slash: a folder. Nothing is cached.

    Methods do what those of `pathlib.Path` do; a folder is there as long as something is in it.
    They raise, besides what those raise, UsageError for a wrong bucket, and ServiceError.
    """

    def __init__(self, storage: ObjectStorage, key: PurePosixPath) -> None:
        self._storage, self._key = storage, key  # key: bucket/name/of/the/object

    def __truediv__(self, name: str) -> ObjectPath:
        """`..` leads up."""
        return ObjectPath(self._storage, PurePosixPath(normpath(self._key / name)))

    def __str__(self) -> str:
        return f"{SCHEME}{self._key}"

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    @property
    def storage(self) -> ObjectStorage:
        return self._storage

    @property
    def bucket(self) -> str:
        return self._key.parts[0]

    @property
    def key(self) -> str:
        """The name in the bucket; empty for the bucket itself."""
        return "/".join(self._key.parts[1:])

    @property
    def name(self) -> str:
        return self._key.name

    @property
    def stem(self) -> str:
        return self._key.stem

    @property
    def suffix(self) -> str:
        return self._key.suffix

    @property
    def parent(self) -> ObjectPath:
        return ObjectPath(self._storage, self._key.parent)

    def with_name(self, name: str) -> ObjectPath:
        return ObjectPath(self._storage, self._key.with_name(name))

    def with_suffix(self, suffix: str) -> ObjectPath:
        return ObjectPath(self._storage, self._key.with_suffix(suffix))

    def ask(self) -> None:
        """Return if the server answers for the bucket. Raises UsageError, ServiceError, within
        seconds."""
        self.storage.ask(self.bucket)

    def read_bytes(self) -> bytes:
        return self._storage.read(*self._names)

    def read_part(self, start: int, stop: int) -> bytes:
        """The bytes from `start` to `stop`, by one request, fewer only at the object's end."""
        return self._storage.read_part(*self._names, start, stop)

    def read_start(self, nbytes: int) -> tuple[bytes, int]:
        """The first bytes and the size of the whole object, by one request."""
        return self._storage.read_start(*self._names, nbytes)

    def write_bytes(self, data: bytes) -> None:
        """By one request, in place of what is there."""
        self._storage.write(*self._names, data)

    def delete(self) -> None:
        """Make sure that there is no such object."""
        self._storage.delete(*self._names)

    def unfinished_uploads(self) -> list[tuple[ObjectPath, str, float]]:
        """Uploads in parts below this folder that were begun and not ended: object, the upload's
        id, when it was begun (seconds since 1970)."""
        bucket, folder = self._names
        return [
            (ObjectPath(self._storage, PurePosixPath(bucket, key)), upload, begun)
            for key, upload, begun in self._storage.unfinished_uploads(bucket, folder)
        ]

    def abort_upload(self, upload: str) -> None:
        """Drop the parts of an upload of this object."""
        self._storage.abort_upload(*self._names, upload)

    def upload(self, file: Path) -> None:
        """The file as an object, in place of what is there, whole or not at all."""
        self._storage.upload(*self._names, file)

    def sizes(self) -> dict[str, int]:
        """URL -> bytes of all objects in the folder, however deep, by one request each 1000."""
        bucket, folder = self._names
        found = self._storage.sizes(bucket, folder)
        return {f"{SCHEME}{bucket}/{key}": size for key, size in found.items()}

    @property
    def _names(self) -> tuple[str, str]:
        """Bucket and key."""
        bucket, _, key = str(self._key).partition("/")
        return bucket, key

    def open(self, mode: str = "rb", buffering: int = -1) -> IO[bytes]:
        """To read, by blocks of 8 MiB whatever `buffering` says. An object that is replaced while
        it is open is an OSError at the next read."""
        file: IO[bytes] = self._storage.filesystem.open(str(self._key), mode)
        return file

    def stat(self) -> ObjectStat:
        return ObjectStat(self._storage.filesystem.info(str(self._key))["size"])

    def exists(self) -> bool:
        return bool(self._storage.filesystem.exists(str(self._key)))

    def is_file(self) -> bool:
        return bool(self._storage.filesystem.isfile(str(self._key)))

    def is_dir(self) -> bool:
        return bool(contents(self))

    def contents(self) -> dict[str, bool]:
        """By one listing."""
        return self._storage.contents(*self._names)

    def folders_named(
        self, suffix: str, beside: str
    ) -> tuple[list[ObjectPath], list[ObjectPath]] | None:
        """Folders with a suffix in this one, however deep, but for those in such a folder; and all
        objects with the suffix `beside` that are in none of them. By few requests; None if the
        server cannot do that."""
        bucket, folder = self._names
        found = self._storage.folders_named(bucket, folder, suffix, beside)
        if found is None:
            return None
        folders, objects = ([self._at(key) for key in keys] for keys in found)
        return folders, objects

    def _at(self, key: str) -> ObjectPath:
        return ObjectPath(self._storage, PurePosixPath(self.bucket, key))

    def zarr_store(self) -> Store:
        return self._storage.filesystem.zarr_store(str(self._key))


AnyPath = Path | ObjectPath


def place(path: str | AnyPath, options: Mapping[str, Any] | None = None) -> AnyPath:
    """The path that is meant: an `s3://bucket/prefix`, or one on a disk.

    options: of the object store, as in `StorageSettings`; None: as the environment says.
    Raises UsageError for what is no path, for another kind of URL and for options that there are
    not.
    """
    if isinstance(path, ObjectPath):
        return path
    if not isinstance(path, str | PathLike) or not str(path):
        raise UsageError(f"{path!r} is no path: give that of a folder or a file, or its URL")
    if not isinstance(path, str) or not is_url(path):
        return Path(path).expanduser() if str(path).startswith("~") else Path(path)
    key = PurePosixPath(path.removeprefix(SCHEME))
    if not path.startswith(SCHEME) or not key.name:
        raise UsageError(f"{path}: give {SCHEME}<bucket>/<prefix>, or a path on a disk")
    from zwriter.objects.clients import ObjectStorage  # what a local path need not wait for

    return ObjectPath(ObjectStorage(storage_settings(options or {})), key)


def is_url(path: str) -> bool:
    """Whether a path is none on a disk, be it with one slash where there should be two."""
    return bool(_URL.search(path))


def contents(folder: AnyPath) -> dict[str, bool]:
    """The names in a folder, and whether each is a folder; empty where there is no such folder."""
    try:
        if isinstance(folder, ObjectPath):
            return folder.contents()
        return {entry.name: entry.is_dir() for entry in folder.iterdir()}
    except FileNotFoundError:
        return {}


def zarr_store(folder: AnyPath) -> Store:
    """What zarr-python reads a folder by."""
    if isinstance(folder, ObjectPath):
        return folder.zarr_store()
    return LocalStore(folder, read_only=True)


def at_once(place: AnyPath) -> int:
    """How many reads are worth being under way at one time: many, where answers take a while."""
    return AT_ONCE if isinstance(place, ObjectPath) else 1


def each(place: AnyPath, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`function` of all items, where it reads at `place`."""
    threads = at_once(place)
    if threads == 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
