"""The store of a scan opened to be written, and its way into a bucket begun, if it goes there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from shlex import quote

from zwriter.errors import PlaceTaken, ServiceError
from zwriter.objects import AnyPath, ObjectPath
from zwriter.settings import StoreSettings
from zwriter.ship import Shipment
from zwriter.store.layout import own_attributes, side_folder
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
    if scan_id is None:
        for place in (path, shipment.path) if shipment else (path,):
            _refuse_unfinished(place, path)
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


def _refuse_unfinished(place: AnyPath, path: AnyPath) -> None:
    """Who gives no scan_id begins a scan: its rows are not to be put behind those of another one,
    of which some may be lost, or which somebody writes. Raises PlaceTaken."""
    with suppress(ServiceError):  # the bucket is asked again before anything is sent
        if isinstance(place, ObjectPath):
            place.ask()  # at once: what follows is asked again until it is done
            begun = False
        elif not side_folder(place).is_dir():
            return  # nobody can go on with it
        else:
            begun = any((side_folder(place) / "commits").glob("*/*"))
        own = own_attributes(place)
        if not own.get("finished") and (own or begun):
            scan = f"scan {own['scan_id']}" if own else "a scan"
            raise PlaceTaken(
                f"{path} has {scan}, which is not finished: choose another path;"
                f" `zwriter finalize {quote(str(path))}` ends it, and a writer with its scan_id"
                " goes on with it, behind its last commits"
            )
