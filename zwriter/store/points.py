"""What was read at scan points, as arrays, for readers that know only Zarr."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from zwriter.failpoint import failpoint
from zwriter.settings import SignalSettings
from zwriter.store.device import DeviceWriter
from zwriter.store.disk import make_folder, of_the_store, remove
from zwriter.store.layout import sync_name
from zwriter.store.record import ScanRecord, SyncSignal
from zwriter.store.whole import WholeArray
from zwriter.store.zarr_json import group_json, write_json

log = logging.getLogger(__name__)


def write_points(
    record: ScanRecord,
    folder: Path,
    devices: dict[str, DeviceWriter],
    settings: SignalSettings,
    *,
    last: bool,
) -> None:
    """Write them below `folder`, where all devices lie; all of it each time: sync data are small.
    last: there will be no more, and files of older values go.

    Readings that cannot be written are in the journal, as all are, and harm no others.
    """
    for device, signals in record.sync_signals().items():
        own = devices[device].signals if device in devices else {}
        for signal, data in signals.items():
            try:
                group = folder / device / sync_name(signal, own, signals)
                for array in _write_signal(group, data, settings):
                    if last:
                        array.trim()
            except Exception as error:
                if of_the_store(error):
                    raise
                log.error("%s/%s: its points are not shown", device, signal, exc_info=error)


def _write_signal(group: Path, data: SyncSignal, settings: SignalSettings) -> list[WholeArray]:
    """Its arrays."""
    failpoint("points.writing")
    _write_group(group.parent, {"NX_class": "NXcollection"})
    if isinstance(data.values, list) or isinstance(data.timestamps, list):
        remove(group)  # ragged readings are in the journal, and in the master file
        return []
    own = {"layout": "points", "mode": None, "max_shape": None}
    _write_group(group, {"NX_class": "NXdata", "signal": "value", "zwriter": own})
    columns: dict[str, NDArray[Any]] = {
        "value": data.values,
        "timestamp": data.timestamps,
        "point_id": data.point_ids,
    }
    arrays = {name: WholeArray(group / name, settings, None) for name in columns}
    for name, values in columns.items():
        axes = [f"{group.name}_{axis}" for axis in range(1, values.ndim)]
        arrays[name].write(values, [f"{group.name}_point", *axes], {})
    return list(arrays.values())


def _write_group(path: Path, attributes: dict[str, Any]) -> None:
    if not (path / "zarr.json").exists():
        make_folder(path)
        write_json(path / "zarr.json", group_json(attributes))
