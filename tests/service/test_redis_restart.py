"""Redis is stopped in mid-scan and comes back: with what it held, without it, or as another."""

from __future__ import annotations

import pytest
import redis
from pydantic import SecretStr

from zwriter.model import Verdict
from zwriter.protocol import Message, encode, keys
from zwriter.testing.broker import Broker
from zwriter.testing.broker import broker as broker_of
from zwriter.testing.proxy import proxy
from zwriter.testing.waiting import until


@pytest.mark.slow
@pytest.mark.parametrize("forgets", [False, True], ids=["keeps its data", "forgets its data"])
def test_a_scan_goes_on_after_redis_was_away(broker, beamline_at, tmp_path, forgets):
    with beamline_at(broker.url, tmp_path) as beamline, beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, monitored=["samx"])
        for i in range(10):
            scan.add("mcs", "counts", i, max_shape=(None,))
            scan.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
        beamline.live(1, rows=10)
        broker.kill()
        if forgets:
            broker.forget()
        broker.start()
        for i in range(10, 20):
            scan.add("mcs", "counts", i, max_shape=(None,))
            scan.point(i, {"samx": {"samx": {"value": i, "timestamp": 1.0}}})
        scan.close()
        written = beamline.written(1)
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(20))
    assert written.devices["samx"]["samx"].value[:].tolist() == list(range(20))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_what_redis_lost_before_it_was_read_is_named(broker, beamline_at, tmp_path):
    with beamline_at(broker.url, tmp_path) as beamline:
        with beamline.service():
            scan = beamline.publisher.open_scan(scan_number=1)
            push(scan, range(10))
            beamline.live(1, rows=10)
        push(scan, range(10, 15))
        broker.kill()
        broker.forget()
        broker.start()
        push(scan, range(15, 20))
        with beamline.service():
            scan.close()
            written = beamline.written(1)
    signal = written.devices["mcs"]["counts"]
    assert signal.ledger.missing_ranges == [[10, 14]]
    assert signal.ledger.expected == 20
    assert signal.value[:].tolist() == [*range(10), *[0] * 5, *range(15, 20)]
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


@pytest.mark.slow
def test_a_redis_that_forgets_an_open_scan_raises_an_alarm(broker, beamline_at, tmp_path):
    with (
        beamline_at(broker.url, tmp_path) as beamline,
        beamline.service(),
        broker.client as client,
    ):
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(10))
        beamline.live(1, rows=10)
        until(lambda: client.exists(keys.service_status("FileWriterManager")), "the service")
        client.flushall()
        until(lambda: b"RedisHasForgotten" in (client.get(keys.alarms()) or b""), "the alarm")
        push(scan, range(10, 12))
        scan.close()
        assert beamline.written(1).verdict is Verdict.COMPLETE


def add_at(client: redis.Redis, scan, entry: str, n: int) -> None:
    """Push number n of mcs/counts under an id of our choice."""
    names = scan.scan_id, "mcs", "counts"
    said = {"async_update": {"type": "add", "max_shape": [None]}}
    numbers = {"counts": n}
    reading = {"signals": {"counts": {"value": n, "timestamp": float(n)}}}
    index = {"scan_id": scan.scan_id, "device": "mcs", "signal": "counts", "indices": numbers}
    index |= {"shapes": {"counts": []}, "async_update": {**said["async_update"], "index": None}}
    update = encode(Message("DeviceMessage", reading, {**said, "async_indices": numbers}))
    client.xadd(keys.async_signal(*names), {"data": update}, id=entry)
    client.rpush(
        keys.async_signal_index(*names), encode(Message("DeviceAsyncSignalIndexMessage", index))
    )


@pytest.mark.slow
def test_a_stream_that_began_anew_under_an_earlier_clock_is_read(broker, beamline_at, tmp_path):
    """Its ids are below those that were read: asked for what is behind them, Redis has nothing."""
    with proxy(broker.url) as network, beamline_at(broker.url, tmp_path) as beamline:
        beamline.settings = at(beamline.settings, network.url)
        with beamline.service(), broker.client as client:
            scan = beamline.publisher.open_scan(scan_number=1)
            push(scan, range(10))
            beamline.live(1, rows=10)
            network.open = False
            network.cut()
            client.delete(keys.async_signal(scan.scan_id, "mcs", "counts"))
            for n in range(10, 15):
                add_at(client, scan, f"{n}-0", n)
            network.open = True
            beamline.live(1, rows=15)
            for n in range(15, 20):
                add_at(client, scan, f"{n}-0", n)
            scan.close()
            written = beamline.written(1)
    assert written.devices["mcs"]["counts"].value[:].tolist() == list(range(20))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_after_a_failover_to_a_replica_that_was_behind_nothing_is_written_twice(
    broker, beamline_at, tmp_path
):
    with (
        broker_of() as replica,
        proxy(broker.url) as network,
        beamline_at(broker.url, tmp_path) as beamline,
        replica.client as there,
    ):
        beamline.settings = at(beamline.settings, network.url)
        with beamline.service():
            scan = beamline.publisher.open_scan(scan_number=1)
            push(scan, range(10))
            copy(broker, replica)
            push(scan, range(10, 15))  # the replica will never have these
            beamline.live(1, rows=15)
            network.open = False
            network.cut()
            network.target = replica.url
            broker.kill()
            assert there.xlen(keys.async_signal(scan.scan_id, "mcs", "counts")) == 10
            scan._redis = there  # the publisher follows
            push(scan, range(15, 20))
            network.open = True
            scan.close()
            written = beamline.written(1)
    signal = written.devices["mcs"]["counts"]
    assert signal.value[:].tolist() == list(range(20))
    assert signal.ledger.written == 20
    assert written.verdict is Verdict.COMPLETE


def copy(broker: Broker, replica: Broker) -> None:
    """All that is in one Redis, with the same ids, also in the other: what replication does."""
    with broker.client as here, replica.client as there:
        for name in here.keys("*"):
            there.restore(name, max(here.pttl(name), 0), here.dump(name), replace=True)


def push(scan, numbers) -> None:
    for n in numbers:
        scan.add("mcs", "counts", n, max_shape=(None,))


def at(settings, url: str):
    """The settings, for another Redis."""
    changed = settings.redis.model_copy(update={"url": SecretStr(url)})
    return settings.model_copy(update={"redis": changed})
