"""The store of a scan opened to be written, and its way into a bucket begun, if it goes there."""

from __future__ import annotations

from pathlib import Path

from zwriter.objects import AnyPath
from zwriter.settings import StoreSettings
from zwriter.ship import Shipment
from zwriter.store.scan_store import ScanStore


def open_store(
    path: AnyPath,
    settings: StoreSettings,
    scan_id: str | None,
    scan_number: int | None,
    shipment: Shipment | None,
) -> ScanStore:
    """The store at `path`; with a shipment, that in the spool, which is sent from now on. If it has
    lost something that was sent, that is brought back first. Raises as `ScanWriter` does.
    """
    if shipment is None:
        return ScanStore(Path(str(path)), settings, scan_id, scan_number)
    shipment.open(scan_id)
    store = ScanStore(shipment.path, settings, scan_id, scan_number)
    try:
        if shipment.lacks_something():
            store.close(keep=True)
            shipment.bring_back()
            store = ScanStore(shipment.path, settings, scan_id, scan_number)
            shipment.lacks_something()  # raises if what was brought back is not whole
        shipment.start(store.check)
    except BaseException:
        store.close(keep=True)
        raise
    return store
