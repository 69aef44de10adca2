"""s3fs as the reader needs it: no cached listings, one request for one answer, our errors."""

from __future__ import annotations

import asyncio
from typing import Any

from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem
from zarr.abc.store import Store
from zarr.storage import FsspecStore

from zwriter.objects.errors import requests_told

_READ_AHEAD = 8 * 1024 * 1024


class BucketFileSystem(S3FileSystem):  # type: ignore[misc]  # s3fs is not typed
    """Options are those of `S3FileSystem`.

    An object is read whole by one request, so never half of it is older than the other half. A file
    that is open and was replaced is an error at its next read.
    """

    retries = 2
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(
            use_listings_cache=False,
            default_block_size=_READ_AHEAD,
            max_concurrency=1,  # more would mean several requests for one object
            local_expiry_check=True,  # Ceph 16 and others refuse every If-Match
            **options,
        )

    def zarr_store(self, path: str) -> Store:
        """What zarr-python reads a folder by."""
        filesystem: Any = _OfAnotherLoop(self)
        return FsspecStore(filesystem, read_only=True, path=path)

    async def _call_s3(self, method: str, *options: Any, **kwargs: Any) -> Any:
        """Every request passes here."""
        with requests_told(kwargs.get("Bucket", ""), self._where):
            return await super()._call_s3(method, *options, **kwargs)

    call_s3 = sync_wrapper(_call_s3)  # s3fs' own would pass by it

    async def _cat_file(self, path: str, *args: Any, **kwargs: Any) -> bytes:
        """The answer's body is read here, which may fail too."""
        with requests_told(path.partition("/")[0], self._where):
            data: bytes = await super()._cat_file(path, *args, **kwargs)
            return data

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        """As `_cat_file`: bodies are read by what the file fetches its blocks with."""
        file = super()._open(path, mode, **options)
        fetch, bucket = file.cache.fetcher, path.partition("/")[0]

        def told(start: int, end: int) -> Any:
            with requests_told(bucket, self._where):
                return fetch(start, end)

        file.cache.fetcher = told
        return file

    def _where(self) -> str:
        return str(self._s3.meta.endpoint_url) if self._s3 else "the object store"


class _OfAnotherLoop:
    """A filesystem as zarr's event loop may use it, which is not its own: there is one connection
    pool, which fsspec closes."""

    async_impl = asynchronous = True

    def __init__(self, filesystem: BucketFileSystem) -> None:
        self._filesystem = filesystem

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        there = self._filesystem._cat_file(path, start=start, end=end)  # noqa: SLF001 (what fsspec overrides)
        future = asyncio.run_coroutine_threadsafe(there, self._filesystem.loop)
        data: bytes = await asyncio.wrap_future(future)
        return data
