"""Redis -> ordered updates with positions, and what Redis keeps of a scan's control messages."""

from zwriter.ingest.byte_queue import ByteQueue
from zwriter.ingest.connection import connect
from zwriter.ingest.control import ControlEvent, events_in, listen
from zwriter.ingest.gaps import Announced, Counts
from zwriter.ingest.kept import Kept
from zwriter.ingest.states import BeamlineStates
from zwriter.ingest.stream import Batch
from zwriter.ingest.streams import StreamReader

__all__ = [
    "Announced",
    "Batch",
    "BeamlineStates",
    "ByteQueue",
    "ControlEvent",
    "Counts",
    "Kept",
    "StreamReader",
    "connect",
    "events_in",
    "listen",
]
