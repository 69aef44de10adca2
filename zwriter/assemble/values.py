"""Values as they come (Python scalars, nested lists, arrays) -> numpy arrays, and what dtypes may
become.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zwriter.errors import BadUpdate

Array = NDArray[Any]
DType = np.dtype[Any]
STRING = np.dtypes.StringDType()
NUMERIC = "biufc"
_MAX_DEPTH = 32  # of lists in lists: the most dimensions that an HDF5 dataset has
_RECORD_BYTES = 7000  # what the description of a record may take in a shard's HDF5 metadata


def as_array(value: Any) -> Array:
    """`value` as a little-endian array of bools, numbers, strings or records.

    Raises BadUpdate for what has no such form: ragged lists, mixed strings and numbers, objects,
    integers of more than 64 bits, or that a list's floats cannot hold, masked integers.
    """
    if isinstance(value, list | tuple):
        return _from_list(value)
    if isinstance(value, str | bytes):  # numpy's own texts would lose NULs at the end
        return _from_list([value]).reshape(())
    array = _unmasked(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    if array.dtype.kind == "O" and value is None:
        raise BadUpdate("no value (None)")
    return _storable(array)


def _from_list(value: list[Any] | tuple[Any, ...]) -> Array:
    leaves = set(map(type, value))
    if leaves not in ({float}, {int}):  # the usual cases need no look at each element
        leaves = _leaf_types(value, 1)
        if any(issubclass(leaf, str | bytes) for leaf in leaves):
            return _from_texts(value, leaves)
        if type(None) in leaves:
            value = _none_as_nan(value)
    array = _array_of(value)
    if array.dtype.kind == "f" and leaves and leaves <= {int, bool}:
        array = _array_of(value, np.dtype(np.uint64))  # some need all 64 bits: no sign then
    elif array.dtype.kind in "fc" and any(issubclass(leaf, int | np.integer) for leaf in leaves):
        _check_integers(value, array)
    return _storable(array)


def _check_integers(value: Any, array: Array) -> None:
    """Raises BadUpdate if integers among floats are not what they were."""
    with np.errstate(invalid="ignore"):
        if not np.any(np.abs(array) >= 2.0**53):
            return
    for item, stored in zip(_array_of(value, np.dtype(object)).flat, array.flat, strict=True):
        if isinstance(item, int | np.integer) and int(item) != int(stored.real):
            raise BadUpdate("integers among floats, which cannot hold them without loss")


def _unmasked(value: np.ma.MaskedArray[Any, Any]) -> Array:
    """What is masked was not measured: NaN."""
    if not np.ma.is_masked(value):
        return np.asarray(value.data)
    if value.dtype.kind not in "fc":
        raise BadUpdate(f"masked {value.dtype} values: only floats have NaN for them")
    return np.asarray(value.filled(np.nan))


def _from_texts(value: Any, leaves: set[type]) -> Array:
    """Never by way of numpy's own texts, each of which takes as much room as the longest."""
    if all(issubclass(leaf, str) for leaf in leaves):
        return _array_of(value if leaves == {str} else _plain_texts(value), STRING)
    if leaves != {bytes}:
        raise BadUpdate("strings and other values in one list")
    array = _array_of(value, np.dtype(object))
    try:
        texts = [item.decode() for item in array.flat]
    except (UnicodeDecodeError, AttributeError) as error:
        raise BadUpdate("bytes that are not UTF-8 text") from error
    return _array_of(texts, STRING).reshape(array.shape)


def _plain_texts(value: Any) -> Any:
    """Without numpy's own texts, which lose NULs at their ends."""
    return [_plain_texts(item) if isinstance(item, list | tuple) else _text(item) for item in value]


def _text(item: Any) -> Any:
    return str(item) if isinstance(item, str) else item


def _array_of(value: Any, dtype: DType | None = None) -> Array:
    try:
        return np.array(value, dtype)
    except OverflowError as error:
        raise BadUpdate("integers that do not fit into 64 bits") from error
    except (ValueError, TypeError) as error:
        raise BadUpdate("a list whose parts have different lengths or types") from error


def _leaf_types(value: Any, depth: int) -> set[type]:
    if depth > _MAX_DEPTH:
        raise BadUpdate(f"lists nested more than {_MAX_DEPTH} deep")
    found: set[type] = set()
    for item in value:
        if isinstance(item, list | tuple):
            found |= _leaf_types(item, depth + 1)
        elif isinstance(item, np.ndarray):
            if np.ma.is_masked(item):
                raise BadUpdate("masked values in a list")
            found.add(item.dtype.type)
        else:
            found.add(type(item))
    return found


def _none_as_nan(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_none_as_nan(item) for item in value]
    return float("nan") if value is None else value


def _storable(array: Array) -> Array:
    kind = array.dtype.kind
    if kind in NUMERIC:
        if array.dtype.itemsize > (16 if kind == "c" else 8):
            narrow = cast_exact(array, np.dtype("c16" if kind == "c" else "f8"))
            if narrow is None:
                raise BadUpdate(f"{array.dtype} values that do not fit into 64 bits")
            return narrow
        # by its name: of two types that are the same, Zarr knows only one
        little = np.dtype(array.dtype.str).newbyteorder("<")
        same = array.dtype == little and array.dtype.num == little.num
        return array if same else array.astype(little)
    if kind in "UST":
        try:
            text = np.char.decode(array, "utf-8") if kind == "S" else array
            if hasattr(array.dtype, "na_object") and not all(isinstance(t, str) for t in text.flat):
                raise BadUpdate("texts that are missing")
            return text.astype(STRING)
        except (UnicodeError, TypeError) as error:
            raise BadUpdate("bytes that are not UTF-8, or no text at all") from error
    if kind == "V" and array.dtype.names:
        return _packed(array)
    raise BadUpdate(f"values of type {array.dtype} cannot be stored")


def _packed(array: Array) -> Array:
    fields, nbytes = [], 0
    for name in array.dtype.names or ():
        field = array.dtype[name]
        if field.kind not in NUMERIC or field.itemsize > 16 or not name.isprintable():
            raise BadUpdate(f"field {name[:100]!r} of type {str(field)[:100]} cannot be stored")
        fields.append((name, field.newbyteorder("<")))
        nbytes += len(name.encode()) + (28 if field.kind in "iuf" else 100)
    if nbytes > _RECORD_BYTES:
        raise BadUpdate(f"records of {len(fields)} fields with such names cannot be stored")
    return array.astype(np.dtype(fields))


def fill_value(dtype: DType) -> Any:
    """What stands where nothing was measured: NaN for floats, else zero, "" or False."""
    if dtype.kind in "fc":
        return dtype.type(np.nan)
    if dtype.kind == "T":
        return ""
    return np.zeros((), dtype)[()]


def common_dtype(current: DType, incoming: DType) -> DType | None:
    """The dtype that holds both, or None. 64-bit integers become float64 only if the values allow
    it.
    """
    if current == incoming:
        return current
    if current.kind not in NUMERIC or incoming.kind not in NUMERIC:
        return None
    common = np.promote_types(current, incoming)
    if common.kind == "f" and current.kind in "iu" and incoming.kind in "iu":
        return current  # int64 and uint64: only values that fit where they are
    return common.newbyteorder("<")


def widest(dtype: DType) -> DType:
    """The widest dtype of the same kind, for the last promotion that an array can have."""
    size = {"b": "?", "i": "<i8", "u": "<u8", "f": "<f8", "c": "<c16"}
    return np.dtype(size[dtype.kind]) if dtype.kind in size else dtype


def cast_exact(array: Array, dtype: DType) -> Array | None:
    """`array` as `dtype` if every value survives unchanged, else None."""
    if array.dtype == dtype:
        return array
    if dtype.kind not in NUMERIC or array.dtype.kind not in NUMERIC:
        return None
    if array.dtype.kind == "c" and dtype.kind != "c":
        return None
    if np.can_cast(array.dtype, dtype, "safe") and not _may_round(array.dtype, dtype):
        return array.astype(dtype)
    with np.errstate(all="ignore"):
        cast = array.astype(dtype)
        comparable = cast if array.dtype.kind == "c" else cast.real
        back = comparable.astype(array.dtype)
    nan = array.dtype.kind in "fc"
    same = np.array_equal(back, array, equal_nan=nan) and (
        nan or np.array_equal(comparable, array)  # -1 as uint8 comes back as -1, too
    )
    # 2**63 - 1 rounds up to 2**63 and wraps back: only a comparison in Python integers shows it
    if same and _may_round(array.dtype, dtype) and np.any(np.abs(comparable) > 2.0**53):
        same = all(int(a) == int(b) for a, b in zip(array.flat, comparable.flat, strict=True))
    return cast if same else None


def cast_or_raise(array: Array, dtype: DType) -> Array:
    """As `cast_exact`. Raises BadUpdate if a value would change."""
    cast = cast_exact(array, dtype)
    if cast is None:
        raise BadUpdate(f"{array.dtype} values that {dtype} cannot hold without loss")
    return cast


def _may_round(source: DType, target: DType) -> bool:
    return source.kind in "iu" and source.itemsize == 8 and target.kind in "fc"
