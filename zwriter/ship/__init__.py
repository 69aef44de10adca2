"""Scans on their way from a spool on this machine into a bucket: see docs/object-store.md.

`Shipment` brings one there; `Spool` tells where it is meanwhile.
"""

from zwriter.ship.shipment import Shipment
from zwriter.ship.spool import Spool, bucket_has_some, check_spool, folders_aside

__all__ = ["Shipment", "Spool", "bucket_has_some", "check_spool", "folders_aside"]
