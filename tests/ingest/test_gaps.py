from __future__ import annotations

from zwriter.ingest import Announced
from zwriter.ingest.discovery import Discovery
from zwriter.model import Add
from zwriter.protocol import keys


def streams_of(client, scan):
    return Discovery(client, scan.scan_id).look()


def test_the_index_list_says_how_much_was_pushed(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        for i in range(2500):
            scan.add("d", "s", i, max_shape=(None,))
        assert Announced(client).counts(streams_of(client, scan), {}) == {("d", "s"): 2500}


def test_what_comes_later_is_counted_too(client, publisher):
    announced = Announced(client)
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "s", 1, max_shape=(None,))
        assert announced.counts(streams_of(client, scan), {}) == {("d", "s"): 1}
        scan.add("d", "s", 2, max_shape=(None,))
        assert announced.counts(streams_of(client, scan), {}) == {("d", "s"): 2}


def test_each_signal_of_a_stream_is_counted_by_itself(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        for signals in (["a", "b"], ["a"], ["c", "a"], ["b"]):
            readings = {name: {"value": 1, "timestamp": 1.0} for name in signals}
            scan.update("d", "dynamic", readings, Add((None,)))
        counts = Announced(client).counts(streams_of(client, scan), {})
    assert counts == {("d", "a"): 3, ("d", "b"): 2, ("d", "c"): 1}


def test_a_list_whose_end_proves_that_all_was_read_need_not_be_read(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        for i in range(3):
            scan.add("d", "s", i, max_shape=(None,))
        index_key = keys.async_signal_index(scan.scan_id, "d", "s")
        streams = streams_of(client, scan)
        pipe = client.pipeline()
        pipe.lset(index_key, 0, b"not read")
        pipe.execute()
        assert Announced(client).counts(streams, {("d", "s"): 3}) == {("d", "s"): 3}


def test_a_producer_that_started_again_is_counted_in_full(client, publisher):
    with publisher.open_scan(scan_number=1, scan_id="x") as scan:
        for i in range(3):
            scan.add("d", "s", i, max_shape=(None,))
        again = publisher.open_scan(scan_number=1, scan_id="x")
        again.add("d", "s", 3, max_shape=(None,))
        assert Announced(client).counts(streams_of(client, scan), {("d", "s"): 4}) == {
            ("d", "s"): 4
        }


def test_a_stream_that_is_gone_is_still_announced(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "s", 1, max_shape=(None,))
        pipe = client.pipeline()
        pipe.delete(keys.async_signal(scan.scan_id, "d", "s"))
        pipe.execute()
        assert Announced(client).counts(streams_of(client, scan), {}) == {("d", "s"): 1}


def test_a_bad_entry_of_the_list_is_passed_over(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("d", "s", 1, max_shape=(None,))
        pipe = client.pipeline()
        pipe.rpush(keys.async_signal_index(scan.scan_id, "d", "s"), b"\xc1")
        pipe.execute()
        scan.add("d", "s", 2, max_shape=(None,))
        assert Announced(client).counts(streams_of(client, scan), {}) == {("d", "s"): 2}


def test_a_key_that_holds_no_list_announces_nothing(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        scan.add("mcs", "counts", 1, max_shape=(None,))
        index = keys.async_signal_index(scan.scan_id, "mcs", "counts")
        client.set(index, "no list")
        assert Announced(client).counts(streams_of(client, scan), {}) == {}


def five_counted(client, scan):
    """(what was announced, the streams) of five updates that were counted."""
    for i in range(5):
        scan.add("d", "s", i, max_shape=(None,))
    announced, streams = Announced(client), streams_of(client, scan)
    assert announced.counts(streams, {}) == {("d", "s"): 5}
    return announced, streams


def test_a_list_that_was_lost_is_counted_by_the_numbers_of_the_one_that_follows(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        announced, streams = five_counted(client, scan)
        pipe = client.pipeline()
        pipe.delete(keys.async_signal_index(scan.scan_id, "d", "s")).execute()
        for i in range(3):
            scan.add("d", "s", i, max_shape=(None,))
        assert announced.counts(streams, {}) == {("d", "s"): 8}
        assert Announced(client).counts(streams, {}) == {("d", "s"): 8}


def test_a_list_that_has_lost_its_end_in_a_failover_is_not_counted_anew(client, publisher):
    with publisher.open_scan(scan_number=1) as scan:
        announced, streams = five_counted(client, scan)
        client.pipeline().rpop(keys.async_signal_index(scan.scan_id, "d", "s"), 2).execute()
        assert announced.counts(streams, {}) == {("d", "s"): 5}
        scan.add("d", "s", 5, max_shape=(None,))
        assert announced.counts(streams, {}) == {("d", "s"): 6}


def test_an_update_that_was_announced_twice_is_counted_once(client, publisher):
    """A publisher whose connection is lost before the answer sends the same again."""
    with publisher.open_scan(scan_number=1) as scan:
        for i in range(3):
            scan.add("d", "s", i, max_shape=(None,))
            if i == 1:
                index_key = keys.async_signal_index(scan.scan_id, "d", "s")
                pipe = client.pipeline()
                pipe.rpush(index_key, client.lindex(index_key, -1)).execute()
        assert Announced(client).counts(streams_of(client, scan), {}) == {("d", "s"): 3}
