"""One device of a scan: its signals, as of one commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zwriter.reader.arrays import StoredArrays
from zwriter.reader.commits import DeviceCommit, SignalCommit
from zwriter.reader.facts import committed_facts, facts
from zwriter.reader.lazy import LazyArray
from zwriter.reader.location import Location
from zwriter.reader.pieces import Pieces
from zwriter.reader.replaced import ReplacedArrays
from zwriter.reader.signals import Signal, recorded_signal
from zwriter.store.layout import sync_name
from zwriter.store.record import SyncSignal

if TYPE_CHECKING:
    import xarray


class Device(Mapping[str, Signal]):
    """A device's signals by name. `commit` is None for a device without async data.

    A signal that is read at scan points and also pushes async updates is there twice, the former as
    `<signal>_sync`.
    """

    def __init__(
        self,
        location: Location,
        name: str,
        commit: DeviceCommit | None,
        sync: Mapping[str, SyncSignal],
        pieces: Pieces,
        *,
        live: bool,
    ) -> None:
        self.name, self.commit, self._pieces = name, commit, pieces
        self._location, self._live = location, live
        self._committed = dict(commit.signals) if commit else {}
        self._sync = {
            sync_name(signal, self._committed, sync): readings for signal, readings in sync.items()
        }
        self._opened: dict[str, Signal] = {}

    def __getitem__(self, name: str) -> Signal:
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _open(self, name: str) -> Signal:
        if name in self._sync:
            return recorded_signal(self.name, name, self._sync[name])
        commit = self._committed[name]
        arrays = self._arrays(name, commit)
        return Signal(self.name, name, commit.layout, commit.ledger, arrays)

    def _arrays(self, name: str, commit: SignalCommit) -> Mapping[str, LazyArray]:
        if self._live and commit.layout == "replace":
            return ReplacedArrays(self._location, self.name, name, commit)
        assert self.commit is not None
        pieces = self._pieces.of(self.name, self.commit)
        return StoredArrays(self._location, self.name, name, commit, pieces, live=self._live)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._committed.keys() | self._sync.keys()))

    def __len__(self) -> int:
        return len(self._committed.keys() | self._sync.keys())

    def facts(self, name: str) -> dict[str, Any]:
        """What is known of a signal without reading it: layout, shape, dtype, rows, ledger."""
        if name not in self._sync:
            return committed_facts(self._committed[name])
        signal = self[name]
        value = signal.value
        ragged = signal.offsets is not None
        rows = len(signal.rows)
        return facts(signal.layout, value.shape, value.dtype, rows, signal.ledger, ragged=ragged)

    def to_xarray(self) -> xarray.Dataset:
        """The device as a Dataset whose variables are read when they are used, without dask.

        - `<signal>`: the values, by row. Signals read at scan points share the index `point_id`;
          where one of them lacks a point it is NaN there. Async signals come at their own pace, so
          each has dimensions of its own.
        - `<signal>_timestamp`: a coordinate along the rows where there is one for each row, else a
          variable along `<signal>_update`. Seconds with CF units: `xarray.decode_cf(ds)` makes them
          datetime64.
        - `<signal>_length`: a coordinate; how far each row is filled.
        - Rows of different lengths: `<signal>` is flat, along `<signal>_value`; `<signal>_offsets`
          (n+1) tells where rows begin; of rows that came in pieces, where pieces begin, and
          `<signal>_row` (n) whose they are. Variables cannot be ragged; flat and offsets are what
          is stored, lose nothing, and are what awkward-array and `numpy.split` take.
        """
        from zwriter.reader.dataset import dataset  # xarray takes a while to be imported

        return dataset(self.name, list(self.values()))

    def __repr__(self) -> str:
        seq = f"commit {self.commit.seq}" if self.commit else "no commit"
        return f"<Device {self.name}: {', '.join(self) or 'no signals'} ({seq})>"
