"""The master file as a plain description: what a layout says and `write` puts on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.assemble import as_array
from zwriter.errors import BadUpdate
from zwriter.objects import AnyPath
from zwriter.protocol.codec import Message
from zwriter.reader.lazy import LazyArray
from zwriter.store.columns import json_text

Attributes = dict[str, Any]
MAX_ENTRIES = 10_000  # of a map that becomes groups and datasets
MAX_DEPTH = 32
MAX_NAME = 1024  # bytes; HDF5 cannot have links with names near 64 KiB


@dataclass(slots=True)
class Dataset:
    """Values that are here: a text, or an array of any shape."""

    data: str | NDArray[Any]
    attrs: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Table:
    """A dataset of records, given by its columns, which are of one length and never none."""

    columns: dict[str, NDArray[Any]]
    attrs: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class Rows:
    """A dataset of 1-D rows of one dtype, each with its own length; read as they are written."""

    rows: Sequence[NDArray[Any]]
    dtype: np.dtype[Any]
    attrs: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class StoredArray:
    """An array of the store: referred to or copied. `folder` is where its zarr.json lies.

    holes: it may lack chunks, which then read as fill value; linked: whether it can be referred to:
    all of it is sealed.
    """

    folder: AnyPath
    array: LazyArray
    holes: bool = False
    linked: bool = True
    attrs: Attributes = field(default_factory=dict)


@dataclass(slots=True)
class SoftLink:
    """`target` is absolute; it need not exist."""

    target: str


@dataclass(slots=True)
class ExternalLink:
    """`file` is relative to the folder of the master file."""

    file: str
    target: str


@dataclass(slots=True)
class Group:
    attrs: Attributes = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)

    def group(self, name: str, **attrs: Any) -> Group:
        """The group `name` in here, new if there is none, with `attrs` added."""
        child = self.children.get(name)
        if not isinstance(child, Group):
            child = self.children[name] = Group()
        child.attrs |= attrs
        return child

    def put(self, name: str, node: Node | None) -> None:
        """Put `node` at `name`, which may be any text: where it has slashes, into groups, as h5py
        does. None is put nowhere."""
        if node is None:
            return
        *groups, last = _names(name)
        parent = self
        for part in groups:
            parent = parent.group(part)
        parent.children[last] = node

    def find(self, path: str) -> Node | None:
        """The node at an absolute path, None where there is none. Links are not followed."""
        node: Node | None = self
        for name in path.strip("/").split("/"):
            node = node.children.get(name) if isinstance(node, Group) else None
        return node


Node = Group | Dataset | Table | Rows | StoredArray | SoftLink | ExternalLink


def walk(group: Group, path: str = "") -> Iterator[tuple[str, Node]]:
    """All nodes below a group with their absolute paths, groups before what is in them."""
    for name, node in group.children.items():
        yield f"{path}/{name}", node
        if isinstance(node, Group):
            yield from walk(node, f"{path}/{name}")


def describe(value: Any) -> Node | None:
    """What becomes of a metadata value, as in BEC's file: a map is a group, None is nothing, a list
    of maps or of mixed types is JSON. Unlike there, what HDF5 has no type for is JSON as well, and
    so is a map with very many entries, very deep, or with names that HDF5 cannot have."""
    return _described(value) if fits_groups(value) else Dataset(json_text(value))


def describe_group(value: Mapping[str, Any]) -> Group:
    """`describe` for what has to be a group: what is too large for one is in its `json`."""
    node = describe(value)
    return node if isinstance(node, Group) else Group(children={"json": Dataset(json_text(value))})


def fits_groups(value: Any) -> bool:
    """Whether a map can be groups and datasets: few entries, not too deep, names not too long."""
    entries, waiting = 0, [(value, 0)]
    while waiting:
        node, depth = waiting.pop()
        if isinstance(node, Message):
            node = node.data
        if isinstance(node, Mapping):
            entries += len(node)
            if entries > MAX_ENTRIES:
                return False
            for name, item in node.items():
                names = _names(str(name))
                below = depth + len(names)
                if below > MAX_DEPTH or any(len(part.encode()) > MAX_NAME for part in names):
                    return False
                waiting.append((item, below))
    return True


def _described(value: Any) -> Node | None:
    if isinstance(value, Message):
        value = value.data
    if isinstance(value, Mapping):
        if collide(value):
            return Dataset(json_text(value))
        group = Group()
        for name, item in value.items():
            group.put(str(name), _described(item))
        return group
    if value is None:
        return None
    if isinstance(value, str):
        return Dataset(value)
    try:
        return Dataset(as_array(value))
    except BadUpdate:
        return Dataset(json_text(value))


def collide(names: Iterable[Any]) -> bool:
    """Whether some of these would be at one place, or one below another."""
    places = sorted(_names(str(name)) for name in names)
    return any(one == other[: len(one)] for one, other in pairwise(places))


def _names(path: str) -> list[str]:
    """Link names HDF5 can have: not empty, not ".", without NUL."""
    names = [part.replace("\0", "_") for part in path.split("/") if part]
    return ["_" if name == "." else name for name in names] or ["_"]
