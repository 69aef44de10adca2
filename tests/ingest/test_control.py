from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest

from zwriter.errors import BadMessage
from zwriter.ingest import BeamlineStates, Kept, connect, events_in, listen
from zwriter.protocol import keys
from zwriter.protocol.codec import Message, decode, encode
from zwriter.protocol.messages import ScanPoint, ScanStatus
from zwriter.settings import RedisSettings
from zwriter.testing.waiting import until


@contextlib.contextmanager
def listening(client):
    """(events, what could not be read, how often it connected), while a thread listens."""
    events, unreadable, connections, stop = [], [], [], threading.Event()
    thread = threading.Thread(
        target=listen,
        args=(client, events.append, unreadable.append, lambda: connections.append(1), stop),
        daemon=True,
    )
    thread.start()
    try:
        until(lambda: connections)
        yield events, unreadable, connections
    finally:
        stop.set()
        thread.join(120)


READING = {"samx": {"samx": {"value": 1.5, "timestamp": 2.0}}}


def test_all_that_is_published_of_a_scan_is_heard(client, publisher):
    with listening(client) as (events, _, _):
        with publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            scan.point(0, READING)
            scan.baseline(READING)
            scan.configuration("samx", READING["samx"])
            scan.file("eiger", "/data/eiger.h5")
        until(lambda: len(events) == 6)
    assert [(e.kind, e.name) for e in events] == [
        ("status", ""),
        ("segment", "0"),
        ("baseline", ""),
        ("config", "samx"),
        ("file", "eiger"),
        ("status", ""),
    ]
    assert {e.scan_id for e in events} == {scan.scan_id, ""}
    assert ScanStatus.of(decode(events[-1].raw)).status == "closed"


def test_a_bundle_is_one_event_a_point_and_a_bad_point_harms_only_itself():
    good = [Message("ScanMessage", {"scan_id": "s", "point_id": n, "data": {}}) for n in (7, 8)]
    bad = Message("ScanMessage", {"scan_id": "s", "point_id": -1, "data": {}})
    bundle = Message("BundleMessage", {"messages": [good[0], bad, good[1]]})
    events = events_in(keys.scan_segment(), encode(bundle))
    assert [(e.kind, e.scan_id, e.name) for e in events] == [
        ("segment", "s", "7"),
        ("segment", "s", "0"),  # which its scan keeps, as it is
        ("segment", "s", "8"),
    ]
    assert [decode(event.raw) for event in events] == [good[0], bad, good[1]]


def test_devices_that_are_read_as_a_whole_have_a_signal_that_is_called_as_they_are():
    """As BEC sends points of scans that follow a flyer."""
    data = {"flyer": {"value": 1.5, "timestamp": 2.0}, **READING}
    message = Message("ScanMessage", {"scan_id": "s", "point_id": 0, "data": data})
    (event,) = events_in(keys.scan_segment(), encode(message))
    assert ScanPoint.of(decode(event.raw)).data == {"flyer": {"flyer": data["flyer"]}, **READING}


def test_a_status_may_list_as_many_positions_as_a_large_map_has(client, publisher):
    positions = np.random.default_rng(0).random((300_000, 2)).tolist()
    info = {"positions": positions}
    data = {"scan_id": "s", "status": "open", "info": info, "readout_priority": {}}
    raw = encode(Message("ScanStatusMessage", data))
    (event,) = events_in(keys.scan_status(), raw)
    assert ScanStatus.of(decode(event.raw)).info == info


def test_a_master_file_is_not_a_file_of_a_device():
    fields = {"file_path": "/x.h5", "done": True, "successful": True}
    raw = encode(Message("FileMessage", fields))
    assert events_in(keys.scan_file("s", "master"), raw) == []
    assert len(events_in(keys.scan_file("s", "eiger"), raw)) == 1


def test_a_message_that_is_not_what_its_channel_carries_is_bad():
    raw = encode(Message("DeviceMessage", {"signals": {}}))
    with pytest.raises(BadMessage):
        events_in(keys.scan_status(), raw)


def test_what_cannot_be_read_is_told_and_passed_over(client, publisher):
    with listening(client) as (events, unreadable, _):
        pipe = client.pipeline()
        for channel in (keys.scan_status(), keys.scan_segment(), keys.scan_baseline()):
            pipe.publish(channel, b"\xc1")
        pipe.publish(keys.scan_file("..", "x"), b"")
        pipe.execute()
        publisher.open_scan(scan_number=1)
        until(lambda: events)
    assert [e.kind for e in events] == ["status"]
    assert len(unreadable) == 4
    assert all("is ignored: " in line for line in unreadable)


def test_a_message_that_nobody_can_take_keeps_nobody_from_the_next(client, publisher, caplog):
    events, connected, stop = [], threading.Event(), threading.Event()

    def hear(event) -> None:
        events.append(event)
        if len(events) == 1:
            raise TypeError("something that nobody has foreseen")

    args = (client, hear, print, connected.set, stop)
    thread = threading.Thread(target=listen, args=args, daemon=True)
    thread.start()
    assert connected.wait(60)
    with publisher.open_scan(scan_number=1):
        until(lambda: events)
    until(lambda: len(events) == 2)
    stop.set()
    thread.join(60)
    assert "nobody has foreseen" in caplog.text


def test_after_a_lost_connection_it_is_time_to_look_again(client, publisher):
    with listening(client) as (events, _, connections):
        pipe = client.pipeline()
        pipe.client_kill_filter(_type="pubsub")
        pipe.execute()
        until(lambda: len(connections) == 2)
        publisher.open_scan(scan_number=1)
        until(lambda: events)


@pytest.mark.parametrize("command", ["subscribe", "psubscribe", "scan"])
def test_a_redis_that_refuses_to_tell_of_scans_is_told_of_and_when_it_is_over(own_redis, command):
    told, stop = [], threading.Event()
    with contextlib.closing(connect(RedisSettings(url=own_redis.url))) as client:
        client.execute_command("ACL", "SETUSER", "default", f"-{command}")
        kept = Kept(client)
        args = (client, print, print, lambda: list(kept.statuses()), stop, told.append)
        thread = threading.Thread(target=listen, args=args, daemon=True)
        thread.start()
        until(lambda: told)
        client.execute_command("ACL", "SETUSER", "default", f"+{command}")
        until(lambda: len(told) == 2)
        stop.set()
        thread.join(60)
    assert told[0].startswith("Redis refuses what it takes to hear of scans: ")
    assert told[1] == "scans are heard again"


def test_redis_keeps_what_was_published(client, publisher):
    with publisher.open_scan(scan_number=3, monitored=["samx"]) as scan:
        for n in range(3):
            scan.point(n, READING)
        scan.baseline(READING)
        scan.configuration("samx", READING["samx"])
        scan.file("eiger", "/data/eiger.h5")
    kept = Kept(client)
    assert ScanStatus.of(decode(kept.status(scan.scan_id))).status == "closed"
    assert {ScanStatus.of(decode(raw)).scan_id for raw in kept.statuses()} == {scan.scan_id}
    assert list(kept.points(scan.scan_id, [0, 2, 5])) == [0, 2]
    assert decode(kept.baseline(scan.scan_id)).data["data"] == READING
    assert list(kept.files(scan.scan_id)) == [keys.scan_file(scan.scan_id, "eiger")]
    assert list(kept.configurations()) == [keys.read_configuration("samx")]
    assert kept.status("another") is None
    assert kept.master_file(scan.scan_id) is None


def test_only_enabled_devices_of_the_session_are_configured(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        for device in ("on", "off", "stranger"):
            scan.configuration(device, {"gain": {"value": 1}})
    resource = [{"name": "on", "enabled": True}, {"name": "off", "enabled": False}]
    pipe = client.pipeline()
    pipe.set(
        keys.device_config(), encode(Message("AvailableResourceMessage", {"resource": resource}))
    )
    pipe.execute()
    assert list(Kept(client).configurations()) == [keys.read_configuration("on")]


def test_states_are_told_as_they_were_when_the_scan_began_and_as_they_change(client, publisher):
    publisher.beamline_state("shutter", "invalid")
    publisher.beamline_state("shutter", "valid")
    publisher.beamline_state("ring", "warning")
    states = BeamlineStates(client, since=time.time() + 1)

    def news():
        return [(name, decode(raw).data["status"]) for name, raw in states.news()]

    assert news() == [("shutter", "valid"), ("ring", "warning")]
    assert news() == []
    publisher.beamline_state("ring", "valid")
    publisher.beamline_state("cryo", "unknown")
    assert news() == [("ring", "valid"), ("cryo", "unknown")]


def test_changes_since_the_scan_began_are_told_to_one_who_comes_late(client, publisher):
    for status in ("valid", "invalid", "warning"):
        publisher.beamline_state("shutter", status)
    told = BeamlineStates(client, since=0).news()
    assert [decode(raw).data["status"] for _, raw in told] == ["valid", "invalid", "warning"]
