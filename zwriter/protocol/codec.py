"""BEC messages to bytes and back, without bec_lib.

They are msgpack; what is not native to it is in tagged maps, `{"__bec_codec__": {"encoder_name",
"type_name", "data"}}`. Decoding runs no code that a message names: what has an unknown tag
decodes to its data.
"""

from __future__ import annotations

import enum
import math
import re
import reprlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from zwriter.errors import BadMessage
from zwriter.protocol.structure import check_structure

_TAG = "__bec_codec__"
_NUMPY = frozenset({"ndarray", "number", "bool", "bool_", "complex"})
_DTYPE = re.compile(r"[<>|=]?(?:[biufc]\d{1,2}|[SUV]\d{1,10}|[mM]8(?:\[\d{0,9}[a-zA-Zμ]{1,2}\])?)")
MAX_NDIM = 32
_MAX_FIELDS = 1000
_MAX_DEPTH = 16
_EMPTY_ITEMS = 2**16  # of an array without a byte; its other dimensions still make rows
MiB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a message may be.

    nbytes: all of it; depth: lists and maps in one another; containers: how many of these, items:
    how many in all of them; unseen: up to so many bytes the last three are not looked at, because
    that takes as long as decoding.
    """

    nbytes: int
    depth: int = 64
    containers: int = 2**18
    items: int = 2**22
    unseen: int = 0


DATA = Limits(512 * MiB, unseen=4096)
CONTROL = Limits(64 * MiB, containers=2**20, items=2**23)  # a status lists a million positions


@dataclass(frozen=True, slots=True)
class Message:
    """A BEC message: `type` is its class in bec_lib, `data` its fields without `metadata`."""

    type: str
    data: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


def decode(raw: bytes, limits: Limits = CONTROL) -> Message:
    """The message in `raw`. Arrays in it are read-only views, numpy scalars stay numpy scalars.

    Raises BadMessage for whatever is not a BEC message or beyond `limits`, and nothing else.
    """
    if len(raw) > limits.nbytes:
        raise BadMessage(f"message of {len(raw)} bytes; the limit is {limits.nbytes}")
    if len(raw) > limits.unseen:
        check_structure(raw, depth=limits.depth, containers=limits.containers, items=limits.items)
    try:
        message = msgpack.unpackb(
            raw,
            raw=False,
            strict_map_key=False,
            object_hook=_untag,
            max_array_len=len(raw),  # room is made for what is stated, at each depth
            max_map_len=len(raw),
            max_ext_len=0,
        )
    except BadMessage:
        raise
    except Exception as error:  # msgpack's exceptions have no common base but this one
        raise BadMessage(f"not a BEC message: {_one_line(error)}") from error
    if not isinstance(message, Message):
        raise BadMessage(f"not a BEC message but a {type(message).__name__}")
    return message


def messages_in(raw: bytes, limits: Limits = CONTROL) -> list[Message]:
    """The messages of a bundle, or the one message that `raw` is. Raises BadMessage."""
    message = decode(raw, limits)
    if message.type != "BundleMessage":
        return [message]
    messages = message.data.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, Message) for m in messages):
        raise BadMessage("BundleMessage: 'messages' is not a list of messages")
    return messages


def encode(message: Message) -> bytes:
    """The bytes that bec_lib would make of the message. Tuples become lists, np.float64 a float.

    Raises BadMessage for values that BEC's encoding does not have (object arrays, for one).
    """
    try:
        packed: bytes = msgpack.packb(message, default=_tag)
    except BadMessage:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"{message.type} cannot be encoded: {_one_line(error)}") from error
    return packed


def _one_line(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _untag(obj: dict[Any, Any]) -> Any:
    """Called by msgpack for every map, innermost first; most have no tag and leave at once."""
    if _TAG not in obj:
        return obj
    codec = obj[_TAG]
    encoder = codec["encoder_name"]
    data = codec["data"]
    if encoder == "BECMessage":
        metadata = data.pop("metadata", None) or {}
        if not isinstance(metadata, dict) or not isinstance(codec["type_name"], str):
            raise BadMessage("a message's metadata is not a map, or its type not a string")
        return Message(codec["type_name"], data, metadata)
    if encoder in _NUMPY:
        return _array_or_scalar(data)
    return data


def _array_or_scalar(data: dict[bytes, Any]) -> Any:
    if b"complex" in data:
        return complex(data[b"data"])
    structured = data.get(b"kind") == b"V"
    dtype = _structured(data[b"type"], 0) if structured else _dtype(data[b"type"])
    if data[b"nd"]:
        return _array(dtype, data[b"shape"], data[b"data"])
    return _array(dtype, [], data[b"data"])[()]


def _array(dtype: np.dtype[Any], shape: list[int], buffer: bytes) -> NDArray[Any]:
    if len(shape) > MAX_NDIM or not all(type(n) is int and n >= 0 for n in shape):
        raise BadMessage(f"an array of shape {reprlib.repr(shape)}")
    if math.prod(shape) * dtype.itemsize != len(buffer) or (
        not buffer and math.prod(n for n in shape if n) > _EMPTY_ITEMS
    ):
        raise BadMessage(f"an array {dtype.str} of shape {shape} in {len(buffer)} bytes")
    array: NDArray[Any] = np.ndarray(shape, dtype, buffer)
    if dtype.kind == "U":
        np.char.encode(array, "utf-8")  # raises for what is no text: others shall not stumble on it
    return array


@lru_cache(maxsize=256)
def _dtype(text: str) -> np.dtype[Any]:
    """What `dtype.str` gives, and nothing else that np.dtype would take."""
    if not isinstance(text, str) or not _DTYPE.fullmatch(text):
        raise BadMessage(f"a dtype {reprlib.repr(text)} that cannot be read")
    dtype = np.dtype(text)
    if dtype.itemsize == 0:
        raise BadMessage(f"a dtype {text} of no size")  # arrays of any length would fit in no bytes
    return dtype


def _structured(descr: Any, depth: int) -> np.dtype[Any]:
    """What `dtype.descr` gives, with lists for tuples: [[name, type], [name, type, shape], ...]."""
    if isinstance(descr, str):
        return _dtype(descr)
    if depth > _MAX_DEPTH or not isinstance(descr, list) or not 0 < len(descr) <= _MAX_FIELDS:
        raise BadMessage(f"a structured dtype {reprlib.repr(descr)} that cannot be read")
    if len(descr) == 1 and descr[0][0] == "" and isinstance(descr[0][1], str):
        return _dtype(descr[0][1])  # a void without fields
    names, formats, offsets, end = [], [], [], 0
    for name, kind, *shape in descr:
        base = _structured(kind, depth + 1)
        dtype = np.dtype((base, tuple(shape[0]))) if shape else base
        if name != "":  # nameless fields are padding
            names.append(name)
            formats.append(dtype)
            offsets.append(end)
        end += dtype.itemsize
    if not end:
        raise BadMessage("a structured dtype of no size")
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": end})


def _tag(obj: Any) -> Any:
    """Called by msgpack for every object that is not native to it."""
    if isinstance(obj, Message):
        return _tagged("BECMessage", obj.type, {"metadata": obj.metadata, **obj.data})
    if isinstance(obj, np.ndarray):
        return _tagged("ndarray", "ndarray", _array_data(obj))
    if isinstance(obj, np.bool_):
        return _tagged("bool", "bool", {b"nd": False, b"type": "|b1", b"data": obj.tobytes()})
    if isinstance(obj, np.number):
        data = {b"nd": False, b"type": obj.dtype.str, b"data": obj.tobytes()}
        return _tagged("number", type(obj).__name__, data)
    if isinstance(obj, complex):
        return _tagged("complex", "complex", {b"complex": True, b"data": repr(obj)})
    if isinstance(obj, set):
        return _tagged("set", "set", list(obj))
    if isinstance(obj, enum.Enum):
        return _tagged("Enum", type(obj).__name__, obj.value)
    raise BadMessage(f"a {type(obj).__name__} cannot be encoded")


def _tagged(encoder: str, kind: str, data: Any) -> dict[str, Any]:
    return {_TAG: {"encoder_name": encoder, "type_name": kind, "data": data}}


def _array_data(array: NDArray[Any]) -> dict[bytes, Any]:
    if array.dtype.hasobject:
        raise BadMessage("an array of Python objects cannot be encoded")
    structured = array.dtype.kind == "V"
    return {
        b"nd": True,
        b"type": array.dtype.descr if structured else array.dtype.str,
        b"kind": b"V" if structured else b"",
        b"shape": array.shape,
        b"data": _buffer(array),
    }


def _buffer(array: NDArray[Any]) -> memoryview | bytes:
    if not array.flags.c_contiguous:
        return array.tobytes()
    try:
        return array.data
    except ValueError:  # dates have no buffer interface
        return array.tobytes()
