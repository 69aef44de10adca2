from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest

from zwriter.ingest import StreamReader, discovery
from zwriter.ingest.discovery import Discovery, StreamName
from zwriter.ingest.lag import unread_share
from zwriter.ingest.streams import Stream, calls
from zwriter.model import Rejected, Run
from zwriter.protocol import keys
from zwriter.protocol.codec import Message, encode
from zwriter.testing.failpoints import failing, watched
from zwriter.testing.waiting import until

MiB = 1024 * 1024


@contextlib.contextmanager
def reading(client, scan_id, positions=None, queue_bytes=16 * MiB, devices=()) -> Iterator:
    reader = StreamReader(client, scan_id, positions or {}, queue_bytes, devices)
    reader.start()
    try:
        yield reader
    finally:
        reader.stop()


def test_what_was_pushed_before_and_while_we_read_comes_in_order_with_positions(
    client, publisher, take
):
    with publisher.open_scan(scan_number=1, async_devices=["eiger"]) as scan:
        for i in range(50):
            scan.add("eiger", "image", np.full((4, 4), i), max_shape=(None, 4, 4))
        with reading(client, scan.scan_id) as reader:
            first = take(reader, 50)
            for i in range(50, 60):
                scan.add("eiger", "image", np.full((4, 4), i), max_shape=(None, 4, 4))
            items = first + take(reader, 10)
    assert [int(item.value[0, 0]) for item in items] == list(range(60))
    assert [item.number for item in items] == list(range(60))
    entries = [item.source.position.entry for item in items]
    assert entries == sorted(entries, key=lambda e: tuple(map(int, e.split("-"))))
    assert {i.source.position.stream for i in items} == {
        keys.async_signal(scan.scan_id, "eiger", "image")
    }


def test_reading_goes_on_behind_given_positions(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan:
        for i in range(10):
            scan.add("mcs", "counts", i, max_shape=(None,))
        with reading(client, scan.scan_id) as reader:
            fourth = take(reader, 10)[3].source.position
        with reading(client, scan.scan_id, {fourth.stream: fourth.entry}) as reader:
            assert [item.value for item in take(reader, 6)] == [4, 5, 6, 7, 8, 9]


def test_many_streams_and_both_kinds_are_found(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan, reading(client, scan.scan_id) as reader:
        for i in range(30):
            scan.add(f"dev{i}", "value", i, max_shape=(None,))
        old = Message(
            "DeviceMessage",
            {"signals": {"value": {"value": 30, "timestamp": 1.0}}},
            {"async_update": {"type": "add", "max_shape": [None]}},
        )
        client.xadd(keys.async_readback(scan.scan_id, "old"), {"data": encode(old)})
        assert sorted(item.value for item in take(reader, 31)) == list(range(31))
        assert {item.device for item in reader.streams} == {f"dev{i}" for i in range(30)} | {"old"}


def test_streams_of_another_scan_are_not_read(client, publisher, take):
    with publisher.open_scan(scan_number=1, scan_id="a*") as star:
        publisher.open_scan(scan_number=2, scan_id="ab").add("d", "s", 1, max_shape=(None,))
        star.add("d", "s", 2, max_shape=(None,))
        with reading(client, "a*") as reader:
            assert [item.value for item in take(reader, 1)] == [2]
            moment = time.monotonic()
            until(lambda: reader.emptied(moment))
            assert reader.get() is None


@pytest.mark.parametrize("raw", [b"", b"\xc1junk", b"\x80", b"x" * 1000])
def test_what_cannot_be_decoded_is_rejected_with_its_source_and_reading_goes_on(
    client, publisher, take, raw
):
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "s", 1, max_shape=(None,))
        key = keys.async_signal(scan.scan_id, "d", "s")
        entry = client.xadd(key, {"data": raw})
        scan.add("d", "s", 2, max_shape=(None,))
        with reading(client, scan.scan_id) as reader:
            first, bad, last = take(reader, 3)
    assert (first.value, last.value) == (1, 2)
    assert isinstance(bad, Rejected)
    assert (bad.device, bad.signal, bad.source.raw) == ("d", "", raw)
    assert (bad.source.position.stream, bad.source.position.entry) == (key, entry.decode())


def test_an_entry_without_the_field_data_is_rejected(client, take):
    client.xadd(keys.async_signal("scan", "d", "s"), {"value": b"12"})
    with reading(client, "scan") as reader:
        (bad,) = take(reader, 1)
    assert isinstance(bad, Rejected)
    assert bad.source.raw == b"value 12"


@pytest.mark.parametrize("device", ["..", "a/b", "../../etc"])
def test_the_data_of_a_device_with_a_forbidden_name_is_rejected(client, take, device):
    message = Message(
        "DeviceMessage",
        {"signals": {"s": {"value": 1}}},
        {"async_update": {"type": "add", "max_shape": [None]}},
    )
    client.xadd(keys.async_signal("scan", device, "s"), {"data": encode(message)})
    with reading(client, "scan") as reader:
        (bad,) = take(reader, 1)
    assert isinstance(bad, Rejected)


def test_a_key_that_is_no_stream_keeps_nobody_from_the_others(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan:
        pipe = client.pipeline()
        pipe.set(keys.async_signal(scan.scan_id, "d", "string"), "x")
        pipe.execute()
        scan.add("d", "s", 1, max_shape=(None,))
        with reading(client, scan.scan_id) as reader:
            assert take(reader, 1)[0].value == 1
            assert reader.alive


def test_a_stream_that_becomes_another_type_keeps_nobody_from_the_others(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "a", 1, max_shape=(None,))
        scan.add("d", "b", 2, max_shape=(None,))
        with reading(client, scan.scan_id) as reader:
            take(reader, 2)
            pipe = client.pipeline()
            pipe.set(keys.async_signal(scan.scan_id, "d", "a"), "x")
            pipe.execute()
            scan.add("d", "b", 3, max_shape=(None,))
            assert take(reader, 1)[0].value == 3


def test_a_stream_that_redis_did_not_tell_of_is_looked_for_again(client, publisher, take, caplog):
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "s", 1, max_shape=(None,))
        client.execute_command("ACL", "SETUSER", "default", "-type")
        with reading(client, scan.scan_id) as reader:
            until(lambda: "Redis is away" in caplog.text)
            client.execute_command("ACL", "SETUSER", "default", "+type")
            assert [item.value for item in take(reader, 1)] == [1]


class Hours:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class ManyKeys:
    """A Redis in which each pass over the keys takes so many seconds."""

    def __init__(self, hours: Hours, seconds: float) -> None:
        self.hours, self.seconds = hours, seconds
        self.meanwhile = lambda: None

    def scan_iter(self, **_: object) -> list[bytes]:
        self.hours.now += self.seconds
        self.meanwhile()
        return []


@pytest.fixture
def hours(monkeypatch) -> Hours:
    hours = Hours()
    monkeypatch.setattr(discovery, "time", hours)
    return hours


def test_looking_for_streams_among_many_keys_leaves_most_of_the_time_to_read_them(hours):
    looks = Discovery(ManyKeys(hours, 1.0), "scan")
    begun = hours.now
    looks.look()
    took = hours.now - begun
    hours.now += 9 * took
    assert not looks.due
    hours.now += 2 * took
    assert looks.due


def test_who_is_in_a_hurry_has_streams_looked_for_at_once_also_while_they_are(hours):
    redis = ManyKeys(hours, 1.0)
    looks = Discovery(redis, "scan")
    looks.look()
    looks.hurry()
    assert looks.due
    redis.meanwhile = looks.hurry
    looks.look()
    assert looks.due
    redis.meanwhile = lambda: None
    looks.look()
    assert not looks.due


def test_what_is_read_again_is_marked_to_its_end_whatever_connections_are_made(client, take):
    """A replica that was behind has become the master, and the network is not at rest yet."""
    stream = keys.async_signal("scan", "d", "s")
    message = encode(Message("DeviceMessage", {"signals": {"s": {"value": np.zeros(2500)}}}))

    def push(numbers) -> None:
        for number in numbers:
            client.xadd(stream, {"data": message}, id=f"{number}-0")

    push(range(1, 21))
    with reading(client, "scan", queue_bytes=MiB // 16) as reader:
        take(reader, 20)
        client.delete(stream)
        push(range(1, 16))
        with failing("ingest.queued", client.connection_pool.disconnect):
            client.connection_pool.disconnect()
            again = take(reader, 15)
        push(range(16, 18))
        new = take(reader, 2)
    assert [item.source.again for item in again] == [True] * 15
    assert [item.source.again for item in new] == [False] * 2


def test_what_came_before_a_moment_is_known_to_be_read_though_more_and_more_comes(client, take):
    stream = keys.async_signal("scan", "d", "s")
    message = encode(Message("DeviceMessage", {"signals": {"s": {"value": 1}}}))
    for seconds in range(1, 10):
        client.xadd(stream, {"data": message}, id=f"{seconds}000-0")
    with reading(client, "scan") as reader:
        until(lambda: reader.nbytes)
        assert not reader.has_handed_on_up_to(5.0)
        take(reader, 9)
        assert reader.has_handed_on_up_to(5.0)
        until(lambda: reader.has_handed_on_up_to(20.0))  # it has no more


def test_while_a_stream_is_refused_not_all_of_them_are_passed(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan, reading(client, scan.scan_id) as reader:
        scan.add("d", "s", 1, max_shape=(None,))
        take(reader, 1)
        client.execute_command("ACL", "SETUSER", "default", "-xread")
        until(lambda: reader.troubles)
        moment = time.monotonic()
        scan.add("d", "s", 2, max_shape=(None,))
        assert not reader.passed(moment)
        client.execute_command("ACL", "SETUSER", "default", "+xread")
        until(lambda: reader.passed(moment))
        assert [item.value for item in take(reader, 1)] == [2]


def test_rights_on_one_stream_keep_nobody_from_the_others(client, publisher, take):
    """A new connection was made, and whether streams are what they were is asked of each."""
    with publisher.open_scan(scan_number=1) as scan:
        for name in ("a", "b"):
            scan.add("d", name, 1, max_shape=(None,))
        with reading(client, scan.scan_id) as reader:
            take(reader, 2)
            client.execute_command("ACL", "SETUSER", "default", "resetkeys", "~*d/b", "~*index*")
            client.connection_pool.disconnect()
            client.xadd(keys.async_signal(scan.scan_id, "d", "b"), {"data": b"no message"})
            assert isinstance(take(reader, 1)[0], Rejected)
            assert "d/a cannot be read" in reader.troubles[0]
            client.execute_command("ACL", "SETUSER", "default", "allkeys")


def test_how_late_one_is_with_a_stream_that_is_gone_nobody_knows(client):
    assert unread_share(client, b"gone", "1-0") == 0.0


def test_reading_stops_while_the_queue_is_full_and_loses_nothing(client, publisher, take):
    frame = np.zeros(MiB, np.uint8)
    with publisher.open_scan(scan_number=1) as scan:
        for _ in range(40):
            scan.add("d", "s", frame, max_shape=(None, MiB))
        with reading(client, scan.scan_id, queue_bytes=4 * MiB) as reader:
            until(lambda: reader.nbytes > 2 * MiB)
            assert reader.nbytes <= 4 * MiB
            items = take(reader, 40)
    assert [item.number for item in items] == list(range(40))


def frames_of(number: int) -> np.ndarray:
    return np.full(100_000, number, np.uint8)


def test_long_messages_of_which_more_are_asked_for_before_all_are_there_come_in_order(
    client, publisher, take
):
    with publisher.open_scan(scan_number=1) as scan:
        for number in range(50):
            scan.add("d", "s", frames_of(number), max_shape=(None, 100_000))
        with (
            watched() as passed,
            reading(client, scan.scan_id, queue_bytes=MiB // 2) as reader,
        ):
            items = take(reader, 50)
            for number in range(50, 60):
                scan.add("d", "s", frames_of(number), max_shape=(None, 100_000))
            items += take(reader, 10)
    assert [item.number for item in items] == list(range(60))
    assert [set(item.value.tolist()) for item in items] == [{number} for number in range(60)]
    assert passed["ingest.asked_ahead"] > 5


def test_a_connection_that_is_lost_while_an_answer_is_due_neither_loses_nor_doubles(
    client, publisher, take
):
    with publisher.open_scan(scan_number=1) as scan:
        for number in range(50):
            scan.add("d", "s", frames_of(number), max_shape=(None, 100_000))

        def lose() -> None:
            if next(times) % 3 == 0:
                client.connection_pool.disconnect()

        times = count(1)
        with (
            failing("ingest.asked_ahead", lose),
            reading(client, scan.scan_id, queue_bytes=MiB // 2) as reader,
        ):
            items = take(reader, 50)
            assert next(times) > 6
    assert [item.number for item in items] == list(range(50))
    assert not any(item.source.again for item in items)


def test_a_stream_of_many_long_messages_does_not_keep_others_waiting(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan:
        for number in range(100):
            scan.add("d", "frames", frames_of(number), max_shape=(None, 100_000))
        scan.add("d", "late", -1, max_shape=(None,))
        with reading(client, scan.scan_id, queue_bytes=MiB // 2) as reader:
            items = take(reader, 101)
    assert [item.signal for item in items].index("late") < 60


def test_a_stream_is_emptied_only_when_looked_at_after_the_moment(client, publisher, take):
    with publisher.open_scan(scan_number=1) as scan, reading(client, scan.scan_id) as reader:
        scan.add("d", "s", 1, max_shape=(None,))
        moment = time.monotonic()
        until(lambda: reader.emptied(moment))
        assert [item.value for item in reader.get()] == [1]


def test_a_stream_that_a_device_says_is_not_to_be_saved_is_not_read(client, publisher, take):
    def signal(name, saved):
        return {
            "signal_class": "AsyncSignal",
            "storage_name": name,
            "describe": {"signal_info": {"saved": saved}},
        }

    info = {"signals": {"a": signal("kept", True), "b": signal("preview", False)}}
    message = Message("DeviceInfoMessage", {"device": "d", "info": info})
    pipe = client.pipeline()
    pipe.set(keys.device_info("d"), encode(message))
    pipe.set(keys.device_info("broken"), b"\xc1")
    pipe.execute()
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "preview", 1, max_shape=(None,))
        scan.add("d", "kept", 2, max_shape=(None,))
        with reading(client, scan.scan_id, devices=["d", "broken", "unknown"]) as reader:
            assert take(reader, 1)[0].value == 2
            moment = time.monotonic()
            until(lambda: reader.emptied(moment))
            assert reader.get() is None


@pytest.mark.parametrize("each", [1, 12])
def test_small_messages_that_were_read_in_turns_are_decoded_together_when_they_have_gathered(
    client, publisher, each
):
    with publisher.open_scan(scan_number=1) as scan, reading(client, scan.scan_id) as reader:
        for turn in range(5):
            for i in range(turn * each, (turn + 1) * each):
                for signal in ("one", "other"):
                    scan.add("d", signal, i / 2, max_shape=(None,))
            moment = time.monotonic()
            reader.hurry()
            until(lambda since=moment: reader.emptied(since))
            assert reader.get(gathering=True) is None
        runs = reader.get()
        entries = {run.stream: client.xrange(run.stream, min=b"-") for run in runs}
    assert [type(run) for run in runs] == [Run, Run]
    for run in runs:
        sources = [update.source for update in run.updates()]
        assert run.values.tolist() == [i / 2 for i in range(5 * each)]
        assert run.numbers.tolist() == list(range(5 * each))
        assert run.position == sources[-1].position
        assert [(source.position.entry.encode(), source.raw) for source in sources] == [
            (entry, fields[b"data"]) for entry, fields in entries[run.stream]
        ]


def test_what_is_much_does_not_gather(client, publisher):
    with (
        publisher.open_scan(scan_number=1) as scan,
        reading(client, scan.scan_id, queue_bytes=MiB) as reader,
    ):
        for i in range(4):
            scan.add("d", "s", np.full(MiB // 8, i), max_shape=(None, MiB // 8))
        values = []
        while len(values) < 4:
            batch = reader.get(60, gathering=len(values) < 3)
            values += [value for run in batch for value in run.values[:, 0].tolist()]
        assert values == [0, 1, 2, 3]


def test_all_signals_of_a_message_are_in_one_batch(client, publisher):
    from zwriter.model import Add

    with publisher.open_scan(scan_number=1) as scan:
        for i in range(100):
            readings = {name: {"value": i, "timestamp": 1.0} for name in "abc"}
            scan.update("d", "multi", readings, Add((None,)))
        with reading(client, scan.scan_id, queue_bytes=MiB) as reader:
            seen = 0
            while seen < 300:
                batch = reader.get(5)
                counts = Counter()
                for item in batch:
                    counts[item.signal] += len(item) if isinstance(item, Run) else 1
                assert len(set(counts.values())) == 1
                seen += counts.total()


def stream(name: str, size: int) -> Stream:
    return Stream(StreamName(name, "d"), size=size)


def test_one_call_serves_streams_of_similar_messages_within_the_budget():
    streams = [stream(f"small{i}", 2000 + i) for i in range(100)] + [stream("frames", 4 * MiB)]
    planned = calls(streams, 32 * MiB)
    assert sum(len(call.streams) for call in planned) == 101
    assert len(planned) <= 4
    for call in planned:
        assert sum(call.count * s.size for s in call.streams) <= 32 * MiB


def test_large_messages_of_many_streams_are_not_asked_for_at_once():
    planned = calls([stream(f"frames{i}", 10 * MiB) for i in range(20)], 32 * MiB)
    assert [len(call.streams) for call in planned] == [3, 3, 3, 3, 3, 3, 2]


def test_of_thousands_of_streams_as_many_small_messages_are_asked_for_as_are_read_at_once():
    planned = calls([stream(f"small{i}", 1300) for i in range(5000)], 4 * MiB)
    assert {call.count for call in planned} == {4}
    assert sum(len(call.streams) for call in planned) == 5000


def test_of_hundreds_of_streams_what_gathers_in_a_pause_is_asked_for_in_a_few_replies():
    planned = calls([stream(f"small{i}", 1300) for i in range(200)], 4 * MiB)
    assert {call.count for call in planned} == {32}
    assert all(len(call.streams) * 32 * 1300 <= 4 * MiB for call in planned)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_no_reply_is_larger_than_the_budget_however_few_the_streams(count):
    planned = calls([stream(f"frames{i}", MiB) for i in range(count)], 4 * MiB)
    assert all(call.count * len(call.streams) * MiB <= 4 * MiB for call in planned)


def test_of_a_stream_that_was_never_read_one_message_is_asked_for():
    (call,) = calls([stream("new", 0)], 32 * MiB)
    assert call.count == 1


def test_of_a_stream_that_gave_few_messages_not_many_more_are_asked_for():
    """Large ones may follow on small ones."""
    small = stream("small", 100)
    small.came = 1
    (call,) = calls([small], 32 * MiB)
    assert call.count == 4
