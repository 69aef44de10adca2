from __future__ import annotations

import math
import threading

import numpy as np
import redis

from zwriter.model import Source, Update
from zwriter.protocol import Publisher, ScanPoint, ScanStatus, decode, keys, updates_in
from zwriter.sim.devices import DEFAULT_SPECS, device
from zwriter.sim.expected import expected
from zwriter.sim.simulation import Simulation


def run(url: str, *specs: str, stop: threading.Event | None = None) -> Simulation:
    simulation = Simulation([device(spec) for spec in specs], seconds=1, speed=math.inf)
    with Publisher(url) as publisher:
        simulation.run(publisher, stop)
    return simulation


def test_a_simulated_scan_is_closed_with_all_its_points_published(
    redis_url: str, client: redis.Redis
):
    simulation = run(redis_url)
    status = ScanStatus.of(decode(client.get(keys.scan_info(simulation.scan_id))))
    assert status.status == "closed"
    assert status.num_points == status.num_monitored_readouts == 5
    for n in range(5):
        key = keys.scan_segment_point(simulation.scan_id, n)
        assert ScanPoint.of(decode(client.get(key))).data == simulation.point(n)


def test_every_push_of_every_default_device_is_in_its_stream(redis_url: str, client: redis.Redis):
    simulation = run(redis_url, *DEFAULT_SPECS)
    for made in simulation.devices.values():
        count = made.pushes(1)
        assert simulation.pushed[made.name] == count
        stream = keys.async_signal(simulation.scan_id, made.name, made.stream)
        assert client.xlen(stream) == count
        last = client.xrevrange(stream, count=1)[0][1][b"data"]
        updates = list(updates_in(decode(last), made.name, Source(last)))
        push = made.push(count - 1, simulation.start)
        assert [u.signal for u in updates] == list(push.readings)
        for update in updates:
            assert isinstance(update, Update)
            assert update.mode == push.mode
            np.testing.assert_array_equal(update.value, push.readings[update.signal]["value"])


def test_a_simulated_scan_that_is_stopped_is_aborted(redis_url: str, client: redis.Redis):
    stop = threading.Event()
    stop.set()
    simulation = run(redis_url, "ragged", stop=stop)
    status = ScanStatus.of(decode(client.get(keys.scan_info(simulation.scan_id))))
    assert status.status == "aborted"
    assert simulation.pushed == {"ragged": 0}


def test_what_is_expected_of_a_device_that_has_not_pushed_is_nothing():
    assert expected(device("ragged"), 0) == {}
