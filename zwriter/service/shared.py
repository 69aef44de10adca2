"""What all scans of a service share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from zwriter.ingest.commands import Commands
from zwriter.service.outbox import Outbox
from zwriter.settings import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """`stop` is set when the service is to stop; `cataloging` has who writes the table of scans."""

    settings: Settings
    client: Commands
    outbox: Outbox
    stop: threading.Event
    cataloging: threading.Lock = field(default_factory=threading.Lock)
