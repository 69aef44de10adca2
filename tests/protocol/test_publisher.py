"""What a Publisher leaves in a real Redis, read with the eyes of a file writer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import redis

from zwriter.errors import BadMessage, BadUpdate, ServiceError, UsageError
from zwriter.model import Add, AddSlice, Replace, ScanState, Source, Update
from zwriter.protocol import (
    Baseline,
    BeamlineState,
    FileReference,
    PublishedScan,
    Publisher,
    Readings,
    RedisServer,
    ScanPoint,
    ScanStatus,
    SignalIndex,
    decode,
    keys,
    messages_in,
    updates_in,
)

READING = {"value": 1.5, "timestamp": 2.0}


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[redis.Redis]:
    with own_redis.client() as client:
        yield client


@pytest.fixture
def publisher(redis_url: str) -> Iterator[Publisher]:
    with Publisher(redis_url) as publisher:
        yield publisher


@pytest.fixture
def scan(publisher: Publisher) -> PublishedScan:
    return publisher.open_scan(scan_number=1, scan_id="s1", monitored=["samx"], num_points=3)


@pytest.fixture
def heard(client: redis.Redis) -> Iterator[Any]:
    """Call it with a channel to begin to listen, and again for the next message there."""
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:

        def next_on(channel: str) -> bytes | None:
            if channel.encode() not in pubsub.channels:
                pubsub.subscribe(channel)
                assert pubsub.get_message(timeout=10) is None  # that we have subscribed
                return None
            message = pubsub.get_message(timeout=10)
            assert message is not None
            return message["data"]

        yield next_on


def stream(client: redis.Redis, device: str, name: str) -> list[Update]:
    entries = client.xrange(keys.async_signal("s1", device, name))
    return [
        update
        for _, fields in entries
        for update in updates_in(decode(fields[b"data"]), device, Source(b""))
        if isinstance(update, Update)
    ]


def status(raw: bytes) -> ScanStatus:
    return ScanStatus.of(decode(raw))


def test_an_open_scan_is_stored_and_announced(
    client: redis.Redis, publisher: Publisher, heard: Any
):
    heard(keys.scan_status())
    publisher.open_scan(
        scan_number=7,
        scan_id="s1",
        scan_name="line_scan",
        num_points=3,
        monitored=["samx"],
        baseline=["samy"],
        async_devices=["eiger"],
        file_base="/data/S7",
        user_metadata={"sample": "Au"},
        info={"positions": [[1.0], [2.0]]},
    )
    raw = client.get(keys.scan_info("s1"))
    assert raw == client.get(keys.scan_status()) == heard(keys.scan_status())
    assert client.ttl(keys.scan_info("s1")) == -1  # as long as it is open
    opened = status(raw)
    assert (opened.scan_id, opened.scan_number, opened.status) == ("s1", 7, ScanState.OPEN)
    assert (opened.num_points, opened.num_monitored_readouts) == (3, 3)
    assert opened.readout_priority["async"] == ["eiger"]
    assert opened.info["file_components"] == ["/data/S7", "h5"]
    assert opened.info["baseline_readout_requested"] is True
    assert opened.info["positions"] == [[1.0], [2.0]]
    assert opened.info["user_metadata"] == opened.user_metadata == {"sample": "Au"}


def test_each_scan_has_an_id_of_its_own(publisher: Publisher):
    assert len({publisher.open_scan(scan_number=1).scan_id for _ in range(3)}) == 3


def test_a_scan_is_paused_resumed_and_closed(client: redis.Redis, scan: PublishedScan):
    seen = []
    for change in (scan.pause, scan.resume, scan.close):
        change()
        seen.append(status(client.get(keys.scan_status())).status)
    assert seen == [ScanState.PAUSED, ScanState.OPEN, ScanState.CLOSED]
    assert scan.status is ScanState.CLOSED
    assert 0 < client.ttl(keys.scan_info("s1")) <= keys.POINT_TTL


def test_a_scan_that_ends_early_tells_how_many_points_were_read(
    client: redis.Redis, scan: PublishedScan
):
    for point in (1, 0, 1):
        scan.point(point, {})
    scan.close("halted", "user")
    ended = status(client.get(keys.scan_status()))
    assert (ended.status, ended.reason) == (ScanState.HALTED, "user")
    assert (ended.num_points, ended.num_monitored_readouts) == (3, 2)


@pytest.mark.parametrize("status", ["open", "paused", "done"])
def test_a_scan_ends_in_no_other_way(scan: PublishedScan, status: str):
    with pytest.raises(UsageError, match="closed, aborted, halted, user_completed"):
        scan.close(status)
    assert scan.status is ScanState.OPEN


def test_leaving_the_block_closes_the_scan_once(client: redis.Redis, scan: PublishedScan):
    with scan:
        scan.close("user_completed")
    assert status(client.get(keys.scan_status())).status is ScanState.USER_COMPLETED


@pytest.mark.parametrize(
    ("error", "reason"), [(ZeroDivisionError, "alarm"), (KeyboardInterrupt, "user")]
)
def test_an_exception_aborts_the_scan(
    client: redis.Redis, scan: PublishedScan, error: type[BaseException], reason: str
):
    with pytest.raises(error), scan:
        raise error
    ended = status(client.get(keys.scan_status()))
    assert (ended.status, ended.reason) == (ScanState.ABORTED, reason)


def test_updates_of_all_modes_arrive_as_they_were_sent(client: redis.Redis, scan: PublishedScan):
    frame = np.arange(6, dtype="u2").reshape(2, 3)
    scan.add("eiger", "image", frame, 5.0, max_shape=(None, 2, 3))
    scan.add_slice("mca", "spectrum", 4, [1.0, 2.0], [5.0, 6.0], max_shape=(None, None))
    scan.replace("fit", "peaks", {"a": 1})
    (image,) = stream(client, "eiger", "image")
    assert (image.mode, image.timestamp, image.number) == (Add((None, 2, 3)), 5.0, 0)
    np.testing.assert_array_equal(image.value, frame)
    (spectrum,) = stream(client, "mca", "spectrum")
    assert (spectrum.mode, spectrum.value) == (AddSlice((None, None), 4), [1.0, 2.0])
    assert spectrum.timestamp == [5.0, 6.0]
    (peaks,) = stream(client, "fit", "peaks")
    assert (peaks.mode, peaks.value) == (Replace(), {"a": 1})
    assert isinstance(peaks.timestamp, float)


def test_each_update_is_numbered_and_listed(client: redis.Redis, scan: PublishedScan):
    scan.update("gauss", "data", {"x": {"value": [1.0, 2.0]}, "y": READING}, Add((None,)))
    scan.update("gauss", "data", {"y": READING}, Add((None,)))
    scan.add("gauss", "y", 1.0, max_shape=(None,))  # another stream counts for itself
    assert [(u.signal, u.number) for u in stream(client, "gauss", "data")] == [
        ("x", 0),
        ("y", 0),
        ("y", 1),
    ]
    assert [u.number for u in stream(client, "gauss", "y")] == [0]
    listed = client.lrange(keys.async_signal_index("s1", "gauss", "data"), 0, -1)
    first, second = (SignalIndex.of(decode(raw)) for raw in listed)
    assert (first.shapes, first.indices) == ({"x": [2], "y": []}, {"x": 0, "y": 0})
    assert second.indices == {"y": 1}
    assert first.async_update == {"type": "add", "max_shape": [None], "index": None}


def test_streams_are_trimmed_and_expire_but_their_list_is_whole(
    client: redis.Redis, scan: PublishedScan
):
    with scan.batch():
        for _ in range(1000):
            scan.add("wave", "form", 1.0, max_shape=(None,), max_size=10)
    assert client.xlen(keys.async_signal("s1", "wave", "form")) < 200
    assert client.llen(keys.async_signal_index("s1", "wave", "form")) == 1000
    assert 0 < client.ttl(keys.async_signal("s1", "wave", "form")) <= keys.ASYNC_TTL
    assert (
        keys.ASYNC_TTL < client.ttl(keys.async_signal_index("s1", "wave", "form")) <= keys.INDEX_TTL
    )


def test_a_batch_is_sent_at_its_end(client: redis.Redis, scan: PublishedScan):
    with scan.batch():
        scan.add("wave", "form", 1.0, max_shape=(None,))
        with scan.batch():
            scan.add("wave", "form", 2.0, max_shape=(None,))
        assert stream(client, "wave", "form") == []
    assert [update.value for update in stream(client, "wave", "form")] == [1.0, 2.0]


def test_a_batch_that_fails_sends_what_it_has(client: redis.Redis, scan: PublishedScan):
    def fail_half_way():
        with scan.batch():
            scan.add("wave", "form", 1.0, max_shape=(None,))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    scan.add("wave", "form", 2.0, max_shape=(None,))
    assert [update.number for update in stream(client, "wave", "form")] == [0, 1]


def test_devices_publish_from_threads_of_their_own(client: redis.Redis, scan: PublishedScan):
    def publish(device: str):
        for _ in range(10):
            with scan.batch():
                for _ in range(10):
                    scan.add(device, "form", 1.0, max_shape=(None,))

    devices = [f"wave{n}" for n in range(4)]
    threads = [threading.Thread(target=publish, args=(device,), daemon=True) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for device in devices:
        assert [u.number for u in stream(client, device, "form")] == list(range(100))


def test_a_point_is_stored_and_announced(client: redis.Redis, scan: PublishedScan, heard: Any):
    heard(keys.scan_segment())
    data = {"samx": {"samx": READING}}
    scan.point(2, data)
    key = keys.scan_segment_point("s1", 2)
    stored = ScanPoint.of(decode(client.get(key)))
    assert (stored.scan_id, stored.point_id, stored.data) == ("s1", 2, data)
    (sent,) = messages_in(heard(keys.scan_segment()))
    assert ScanPoint.of(sent) == stored
    assert 0 < client.ttl(key) <= keys.POINT_TTL


def test_the_baseline_is_stored_twice(client: redis.Redis, scan: PublishedScan):
    scan.baseline({"samy": {"samy": READING}})
    raw = client.get(keys.scan_baseline_of("s1"))
    assert raw == client.get(keys.scan_baseline())
    assert Baseline.of(decode(raw)).data == {"samy": {"samy": READING}}
    assert 0 < client.ttl(keys.scan_baseline_of("s1")) <= keys.POINT_TTL
    assert client.ttl(keys.scan_baseline()) == -1


def test_configurations_files_and_states_are_published(
    client: redis.Redis, publisher: Publisher, scan: PublishedScan
):
    scan.configuration("samx", {"samx_velocity": READING})
    configuration = Readings.of(decode(client.get(keys.read_configuration("samx"))))
    assert configuration.signals == {"samx_velocity": READING}
    scan.file("eiger", "/data/eiger.h5", hinted_h5_entries={"data": "/entry/data"})
    file = FileReference.of(decode(client.get(keys.scan_file("s1", "eiger"))))
    assert (file.file_path, file.done, file.successful) == ("/data/eiger.h5", True, True)
    assert 0 < client.ttl(keys.scan_file("s1", "eiger")) <= keys.FILE_TTL
    for state in ("valid", "invalid"):
        publisher.beamline_state("shutter", state, "open?")
    states = client.xrange(keys.beamline_state("shutter"))
    assert [BeamlineState.of(decode(f[b"data"])).status for _, f in states] == ["valid", "invalid"]
    assert client.xlen(keys.available_beamline_states()) == 1


@pytest.mark.parametrize(
    ("push", "error"),
    [
        (lambda s: s.add("eiger", "image", 1, max_shape=(3, None)), BadUpdate),
        (lambda s: s.add("../eiger", "image", 1, max_shape=(None,)), BadUpdate),
        (lambda s: s.add("eiger", "a/b", 1, max_shape=(None,)), BadUpdate),
        (lambda s: s.add("eiger", "image", [[1], [2, 3]], max_shape=(None, None)), BadUpdate),
        (lambda s: s.add("eiger", "image", object(), max_shape=(None,)), BadMessage),
        (lambda s: s.add("eiger", "image", 1, max_shape=(None,), stream="a/b"), BadMessage),
        (lambda s: s.add_slice("eiger", "image", -1, [1], max_shape=(None, 5)), BadUpdate),
        (lambda s: s.point(-1, {}), BadMessage),
        (lambda s: s.point(0, {"samx": {"samx": 5}}), BadMessage),
        (lambda s: s.baseline({"samx": {"samx": {}}}), BadMessage),
        (lambda s: s.configuration("a/b", {}), BadMessage),
        (lambda s: s.file("a/b", "/data/eiger.h5"), BadMessage),
    ],
)
def test_what_would_be_refused_is_not_sent(
    client: redis.Redis, scan: PublishedScan, push: Any, error: type[Exception]
):
    before = set(client.scan_iter("*"))
    with pytest.raises(error):
        push(scan)
    assert set(client.scan_iter("*")) == before


def test_a_scan_with_an_unsafe_id_is_not_opened(client: redis.Redis, publisher: Publisher):
    with pytest.raises(BadMessage, match="scan_id"):
        publisher.open_scan(scan_number=1, scan_id="a/b")
    assert not client.exists(keys.scan_status())


def test_without_redis_there_is_no_publisher():
    with pytest.raises(ServiceError, match="does not answer"):
        Publisher("unix:///no/such/socket")


def test_a_client_that_was_handed_in_stays_open(client: redis.Redis):
    with Publisher(client) as publisher:
        publisher.open_scan(scan_number=1)
    assert client.ping()
