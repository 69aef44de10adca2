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
    points = [_points(signal, names) for signal in signals if _is_indexed(signal)]
    result = _merged(points) if points else xarray.Dataset()
    for signal in signals:
        if not _is_indexed(signal):
            result = _with_signal(result, signal, names)
    result.attrs = {"device": device}
    return result


def _merged(points: list[xarray.Dataset]) -> xarray.Dataset:
    """As they are at all points: "" and NaN where there was no reading."""
    variables = {name: array.dtype for part in points for name, array in part.variables.items()}
    fill = {name: "" if dtype.kind in "TUO" else dtypes.NA for name, dtype in variables.items()}
    return xarray.merge(points, join="outer", compat="override", fill_value=fill)


def _is_indexed(signal: Signal) -> bool:
    return signal.layout == "points" and "offsets" not in signal.arrays


def _points(signal: Signal, names: Collection[str]) -> xarray.Dataset:
    assert signal.point_id is not None
    alone = _with_signal(xarray.Dataset(), signal, names)
    return alone.assign_coords(point_id=("point_id", np.asarray(signal.point_id)))


def _with_signal(result: xarray.Dataset, signal: Signal, names: Collection[str]) -> xarray.Dataset:
    """names: of all signals; what else there is of one has another name."""
    for name, array in signal.arrays.items():
        if name == "point_id" and _is_indexed(signal):
            continue
        variable = _variable(array, name, signal, dict(result.sizes))
        full_name = f"{signal.name}{_SUFFIX.get(name, f'_{name}')}"
        indexed = _is_indexed(signal) or "point_id" in result.coords
        while full_name in names if name != "value" else indexed and full_name == "point_id":
            full_name += "_"
        along_rows = variable.dims[:1] == signal.value.dims[:1] and "offsets" not in signal.arrays
        if along_rows and name in ("timestamp", "length"):
            result = result.assign_coords({full_name: variable})
        else:
            result = result.assign({full_name: variable})
    return result


def _variable(
    array: LazyArray, name: str, signal: Signal, sizes: dict[Any, int]
) -> xarray.Variable:
    dims = [
        dim if sizes.get(dim, size) == size else f"{dim}_{name}"
        for dim, size in zip(_dims(array, signal), array.shape, strict=True)
    ]
    attrs = dict(array.attrs) | ({"units": SECONDS} if name == "timestamp" else {})
    return xarray.Variable(dims, indexing.LazilyIndexedArray(_Backend(array)), attrs)


def _dims(array: LazyArray, signal: Signal) -> tuple[str, ...]:
    """The names in the store, the first one made the index where rows are scan points."""
    if _is_indexed(signal):
        return ("point_id", *array.dims[1:])
    return array.dims
