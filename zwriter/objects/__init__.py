"""Object stores (S3): their clients, their errors, and paths in them. Nobody else makes a client.

`place` gives the path that the user means, on a disk or in a bucket; both kinds are used alike.
"""

from zwriter.objects.paths import (
    AT_ONCE,
    AnyPath,
    ObjectPath,
    at_once,
    contents,
    each,
    is_url,
    place,
    zarr_store,
)
from zwriter.objects.reading import PIECE, ReadAhead, ahead, download

__all__ = [
    "AT_ONCE",
    "PIECE",
    "AnyPath",
    "ObjectPath",
    "ReadAhead",
    "ahead",
    "at_once",
    "contents",
    "download",
    "each",
    "is_url",
    "place",
    "zarr_store",
]
