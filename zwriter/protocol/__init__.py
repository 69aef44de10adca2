"""The wire: BEC's Redis protocol without bec_lib."""

from zwriter.protocol import keys
from zwriter.protocol.codec import (
    CONTROL,
    DATA,
    Limits,
    Message,
    decode,
    encode,
    messages_in,
)
from zwriter.protocol.connection import asking, connect, safe_url
from zwriter.protocol.keys import safe_name
from zwriter.protocol.messages import (
    AvailableBeamlineStates,
    Baseline,
    BeamlineState,
    FileReference,
    Readings,
    ScanPoint,
    ScanStatus,
    SignalIndex,
)
from zwriter.protocol.outgoing import (
    BECStatus,
    alarm_message,
    file_content_message,
    file_message,
    scan_history_message,
    status_message,
)
from zwriter.protocol.published_scan import PublishedScan
from zwriter.protocol.publisher import Publisher
from zwriter.protocol.server import RedisServer, embedded_redis, redis_server
from zwriter.protocol.updates import updates_in

__all__ = [
    "CONTROL",
    "DATA",
    "AvailableBeamlineStates",
    "BECStatus",
    "Baseline",
    "BeamlineState",
    "FileReference",
    "Limits",
    "Message",
    "PublishedScan",
    "Publisher",
    "Readings",
    "RedisServer",
    "ScanPoint",
    "ScanStatus",
    "SignalIndex",
    "alarm_message",
    "asking",
    "connect",
    "decode",
    "embedded_redis",
    "encode",
    "file_content_message",
    "file_message",
    "keys",
    "messages_in",
    "redis_server",
    "safe_name",
    "safe_url",
    "scan_history_message",
    "status_message",
    "updates_in",
]
