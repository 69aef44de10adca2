"""What is published about scans, as events; what was published while we could not hear is elsewhere
(`kept.py`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from zwriter.errors import BadMessage
from zwriter.ingest.commands import Commands
from zwriter.ingest.connection import longer, until_it_works
from zwriter.protocol import keys
from zwriter.protocol.codec import Message, decode, encode, messages_in
from zwriter.protocol.connection import first_line
from zwriter.protocol.messages import Baseline, FileReference, Readings, ScanPoint, ScanStatus

log = logging.getLogger(__name__)

_SECONDS_TO_NOTICE_STOP = 0.2
_CHANNELS = (keys.scan_status(), keys.scan_segment(), keys.scan_baseline())
_PATTERNS = (keys.scan_file("*", "*"), keys.read_configuration("*"))


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """One control message. `kind` and `name` are those of the journal (docs/format.md).

    scan_id: whose it is; "" when it concerns every open scan.
    """

    kind: str
    scan_id: str
    name: str
    raw: bytes


def listen(
    client: Commands,
    heard: Callable[[ControlEvent], None],
    unreadable: Callable[[str], None],
    connected: Callable[[], None],
    stop: threading.Event,
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Tell `heard` of each event until `stop` is set, and `unreadable`, in one line, of what is
    none.

    `connected` is called after each (re)connection, when nothing published from then on can be
    missed: the time to look at what Redis keeps. `tell` is called with one line when Redis begins
    to refuse what that takes, and with another when it is over.
    """
    pause, refused = 0.0, False

    def looked() -> None:
        nonlocal refused
        connected()
        if refused:
            refused = False
            tell("scans are heard again")

    while not stop.is_set():
        with client.pubsub() as pubsub:
            until_it_works("listening to scans", lambda: _subscribe(pubsub), stop)
            try:
                while not stop.is_set():
                    message = pubsub.get_message(timeout=_SECONDS_TO_NOTICE_STOP)
                    if message is not None and _handle(message, heard, unreadable, looked):
                        pause = 0.0
            except redis.RedisError as error:
                if not pause:
                    log.warning("listening to scans is interrupted: %s", error)
                if isinstance(error, redis.ResponseError) and not refused:
                    refused = True
                    tell(f"Redis refuses what it takes to hear of scans: {first_line(error)}")
                pause = longer(pause)
                stop.wait(pause)


def _subscribe(pubsub: Any) -> None:
    pubsub.subscribe(*_CHANNELS)
    pubsub.psubscribe(*_PATTERNS)


def events_in(channel: str, raw: bytes) -> list[ControlEvent]:
    """The events that a publish on `channel` is. Raises BadMessage."""
    if channel == keys.scan_status():
        return [ControlEvent("status", ScanStatus.of(decode(raw)).scan_id, "", raw)]
    if channel == keys.scan_segment():
        return _segments(raw)
    if channel == keys.scan_baseline():
        return [ControlEvent("baseline", Baseline.of(decode(raw)).scan_id, "", raw)]
    if channel.startswith(keys.read_configuration("")):
        Readings.of(decode(raw))
        return [ControlEvent("config", "", keys.parse_read_configuration(channel), raw)]
    scan_id, name = keys.parse_scan_file(channel)
    reference = FileReference.of(decode(raw))
    # master files are what zwriter itself, or BEC's writer, publishes
    if name == "master" or reference.is_master_file:
        return []
    return [ControlEvent("file", scan_id, name, raw)]


def _segments(raw: bytes) -> list[ControlEvent]:
    """One event a point; a bad point in a bundle does not harm the others, and is still its scan's:
    that keeps it, and knows that it lacks it."""
    events = []
    for message in messages_in(raw):
        try:
            point = ScanPoint.of(message)
            scan_id, number = point.scan_id, point.point_id
        except BadMessage as error:
            log.warning("a scan point cannot be read: %s", error)
            scan_id, number = str(message.data.get("scan_id")), _number(message)
        events.append(ControlEvent("segment", scan_id, str(number), encode(message)))
    return events


def _number(message: Message) -> int:
    number = message.data.get("point_id")
    return number if type(number) is int and number >= 0 else 0


def _handle(
    message: dict[str, Any],
    heard: Callable[[ControlEvent], None],
    unreadable: Callable[[str], None],
    connected: Callable[[], None],
) -> bool:
    """Whether it was more than the answer to a part of what we subscribe to."""
    channel = message["channel"].decode("utf-8", "backslashreplace")
    if message["type"] == "psubscribe" and channel == _PATTERNS[-1]:
        connected()  # also after a reconnection that the client made by itself
        return True
    if message["type"] in ("message", "pmessage"):
        try:
            for event in events_in(channel, message["data"]):
                heard(event)
        except BadMessage as error:
            unreadable(f"a message on {channel} is ignored: {error}")
        except redis.RedisError:
            raise
        except Exception:  # one message must not keep us from hearing the next
            log.exception("a message on %s is ignored", channel)
        return True
    return False
