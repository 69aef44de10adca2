"""The store's arrays in a master file: each copied, referred to, or left in its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import IO

import h5py

from zwriter.master.chunks import Opener, StoredChunks
from zwriter.master.copy import copy_chunks, copy_values, set_attributes
from zwriter.master.refer import MAX_SOURCES, Reference, reference, sentinel
from zwriter.master.tree import Group, StoredArray, walk
from zwriter.objects import AnyPath, ObjectPath, ReadAhead, each

URL = "url"  # attribute of a signal's group: where arrays are that are not in the file


class Way(Enum):
    """What else becomes of an array than that its chunks are copied, or it is referred to."""

    VALUES = "its values are copied"
    LEFT = "the file has only the URL"


class ArrayWriter:
    """Writes the stored arrays of `tree`, in the order in which `walk` comes to them.

    store: all of them are in there; folder: what links to them lead from, None where all are
    copied; those of less than `copy_below` bytes always are. To be closed.
    """

    def __init__(
        self, tree: Group, store: AnyPath, folder: AnyPath | None, copy_below: float
    ) -> None:
        self._folder, self._copy_below = folder, copy_below
        nodes = [node for _, node in walk(tree) if isinstance(node, StoredArray)]
        ways = each(store, self._way, nodes)
        self._todo: Iterator[tuple[StoredArray, StoredChunks | Reference | Way]]
        self._todo = zip(nodes, ways, strict=True)
        self._ahead: ReadAhead | None = None
        self._open: Opener = _open_on_disk
        copied = [file for way in ways if isinstance(way, StoredChunks) for file in way.files]
        objects = [file for file in copied if isinstance(file, ObjectPath)]
        if isinstance(store, ObjectPath) and objects:
            self._ahead = ReadAhead(objects, store.sizes())
            self._open = self._ahead.open

    def put(self, group: h5py.Group, name: str) -> None:
        """Write the next array as `name`. Raises StoreError if it is damaged."""
        node, way = next(self._todo)
        match way:
            case StoredChunks():
                set_attributes(copy_chunks(group, name, way, self._open), node.attrs)
                return
            case Way.VALUES:
                set_attributes(copy_values(group, name, node.array), node.attrs)
                return
            case h5py.ExternalLink():
                group[name] = way  # the dataset is the shard's, and so are its attributes
            case h5py.VirtualLayout():
                fill = sentinel(node.array.dtype)
                dataset = group.create_virtual_dataset(name, way, fillvalue=fill)
                set_attributes(dataset, node.attrs)
        if isinstance(node.folder, ObjectPath):
            group.attrs[URL] = str(node.folder.parent)

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()

    def _way(self, node: StoredArray) -> StoredChunks | Reference | Way:
        chunks = StoredChunks.of(node)
        if chunks is None:
            return Way.VALUES
        if self._folder is None or not node.linked or node.array.nbytes < self._copy_below:
            return chunks
        if isinstance(node.folder, ObjectPath) and len(chunks.files) > MAX_SOURCES:
            return Way.LEFT  # too large to be copied by somebody who asked for links
        return reference(chunks, self._folder) or chunks


def _open_on_disk(path: AnyPath) -> IO[bytes]:
    assert isinstance(path, Path)
    return path.open("rb", buffering=0)
