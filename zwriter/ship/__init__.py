"""Scans on their way from a spool on this machine into a bucket: see docs/object-store.md.

`Shipment` is all that other rooms need to know.
"""

from zwriter.ship.shipment import Shipment

__all__ = ["Shipment"]
