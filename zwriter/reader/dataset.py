"""A device as an xarray Dataset, read lazily, without dask: see `Device.to_xarray`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import dtypes, indexing

from zwriter.reader.lazy import LazyArray
from zwriter.reader.signals import Signal

SECONDS = "seconds since 1970-01-01T00:00:00Z"
_SUFFIX = {"value": "", "timestamp": "_timestamp", "length": "_length"}


class _Backend(BackendArray):
    """A LazyArray as xarray reads it."""

    def __init__(self, array: LazyArray) -> None:
        self.array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return np.asarray(self.array[key])


def dataset(device: str, signals: Collection[Signal]) -> xarray.Dataset:
    """The Dataset of the signals of one device, as of its commit."""
    names = {signal.name for signal in signals}
    indexed = _indexed(signals)
    points = [_points(signal, ids, names) for signal, ids in indexed.items()]
    result = _merged(points) if points else xarray.Dataset()
    for signal in signals:
        if signal not in indexed:
            result = _with_signal(result, signal, names)
    result.attrs = {"device": device}
    return result


def _merged(points: list[xarray.Dataset]) -> xarray.Dataset:
    """As they are at all points: "" and NaN where there was no reading."""
    variables = {name: array.dtype for part in points for name, array in part.variables.items()}
    fill = {name: "" if dtype.kind in "TUO" else dtypes.NA for name, dtype in variables.items()}
    return xarray.merge(points, join="outer", compat="override", fill_value=fill)


def _indexed(signals: Collection[Signal]) -> dict[Signal, NDArray[Any]]:
    """Those that share the index `point_id`, and what it is in each: they have every point, or can
    be NaN where not."""
    of_points = {
        signal: np.asarray(signal.point_id)
        for signal in signals
        if signal.layout == "points" and "offsets" not in signal.arrays
    }
    count = len(set().union(*of_points.values()))
    return {s: ids for s, ids in of_points.items() if len(ids) == count or _can_lack_points(s)}


def _can_lack_points(signal: Signal) -> bool:
    """Whether the values stay what they are beside NaN: records, and large integers, do not."""
    value = np.asarray(signal.value)
    if value.dtype.kind not in "iu":
        return value.dtype.kind != "V"
    return bool(value.min(initial=0) >= -(2**53) and value.max(initial=0) <= 2**53)


def _points(signal: Signal, ids: NDArray[Any], names: Collection[str]) -> xarray.Dataset:
    alone = _with_signal(xarray.Dataset(), signal, names, indexed=True)
    return alone.assign_coords(point_id=("point_id", ids))


def _with_signal(
    result: xarray.Dataset, signal: Signal, names: Collection[str], *, indexed: bool = False
) -> xarray.Dataset:
    """names: of all signals; what else there is of one has another name, dimensions too."""
    for name, array in signal.arrays.items():
        if name == "point_id" and indexed:
            continue
        dims = _dims(array, names)
        dims = ("point_id", *dims[1:]) if indexed else dims
        variable = _variable(array, name, dims, dict(result.sizes))
        full_name = f"{signal.name}{_SUFFIX.get(name, f'_{name}')}"
        is_index = full_name == "point_id" and (indexed or "point_id" in result.coords)
        if name != "value" or is_index:
            full_name = _free(full_name, names)
        rows = _dims(signal.value, names)[:1]
        along_rows = variable.dims[:1] == rows and "offsets" not in signal.arrays
        if along_rows and name in ("timestamp", "length"):
            result = result.assign_coords({full_name: variable})
        else:
            result = result.assign({full_name: variable})
    return result


def _variable(
    array: LazyArray, name: str, dims: tuple[str, ...], sizes: dict[Any, int]
) -> xarray.Variable:
    dims = tuple(
        dim if sizes.get(dim, size) == size else f"{dim}_{name}"
        for dim, size in zip(dims, array.shape, strict=True)
    )
    attrs = dict(array.attrs) | ({"units": SECONDS} if name == "timestamp" else {})
    return xarray.Variable(dims, indexing.LazilyIndexedArray(_Backend(array)), attrs)


def _dims(array: LazyArray, names: Collection[str]) -> tuple[str, ...]:
    return tuple(_free(dim, names) for dim in array.dims)


def _free(name: str, names: Collection[str]) -> str:
    """A name that none of these is."""
    while name in names:
        name += "_"
    return name
