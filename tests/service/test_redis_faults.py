"""What a Redis and the network before it do to a scan, and what becomes of it."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis
from pydantic import SecretStr

from zwriter.model import Verdict
from zwriter.protocol import decode, encode, keys
from zwriter.service import scan_life
from zwriter.testing.broker import broker as broker_of
from zwriter.testing.proxy import Proxy, proxy
from zwriter.testing.waiting import until


@pytest.fixture
def network(broker) -> Iterator[Proxy]:
    with proxy(broker.url) as network:
        yield network


@pytest.fixture
def beamline(broker, network, beamline_at, tmp_path):
    """The service reaches Redis through a network that can fail, the publisher directly."""
    with beamline_at(broker.url, tmp_path) as beamline:
        changed = beamline.settings.redis.model_copy(update={"url": SecretStr(network.url)})
        beamline.settings = beamline.settings.model_copy(update={"redis": changed})
        yield beamline


def push(scan, numbers) -> None:
    for n in numbers:
        scan.add("mcs", "counts", n, max_shape=(None,))


def counts(scan) -> list[int]:
    return scan.devices["mcs"]["counts"].value[:].tolist()


def alarms(broker) -> list[str]:
    """The last alarm that was raised."""
    with broker.client as client:
        raw = client.get(keys.alarms())
    return [] if raw is None else [str(decode(raw).data)]


@pytest.mark.slow
def test_connections_that_are_cut_lose_nothing(beamline, network):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        for i in range(20):
            push(scan, range(5 * i, 5 * i + 5))
            network.cut()
            beamline.live(1, rows=5 * i)
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(100))
    assert written.verdict is Verdict.COMPLETE
    assert network.connections > 20


@pytest.mark.slow
def test_a_scan_that_is_closed_while_the_network_is_down_is_finished_when_it_is_back(
    beamline, network
):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        beamline.live(1, rows=5)
        network.open = False
        network.cut()
        push(scan, range(5, 10))
        scan.close()
        network.open = True
        written = beamline.written(1)
    assert counts(written) == list(range(10))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_a_slow_redis_is_waited_for(beamline, network, broker):
    with beamline.service(), broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        network.delay = 0.1
        push(scan, range(50))
        client.client_pause(500)  # it answers nobody for half a second
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(50))
    assert written.verdict is Verdict.COMPLETE


def test_a_wrong_password_at_the_start_is_one_line_and_exit_code_6(broker, network, tmp_path):
    with broker.client as client:
        client.config_set("requirepass", "right")
    url = network.url.replace("redis://", "redis://:wrong@")
    command = [sys.executable, "-m", "zwriter.cli", "run", "--redis", url, "--root", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 6
    (line,) = ended.stderr.strip().splitlines()
    assert "refuses the user or password" in line
    assert "wrong" not in line


@pytest.mark.slow
def test_a_password_that_changes_in_mid_scan_is_waited_out(beamline, broker, network, caplog):
    with beamline.service(), broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        beamline.live(1, rows=5)
        client.execute_command("ACL", "SETUSER", "default", "resetpass", ">other")
        network.cut()
        push(scan, range(5, 10))
        while "Redis is away" not in caplog.text:
            network.cut()
        client.execute_command("ACL", "SETUSER", "default", "nopass")
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(10))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_rights_that_are_taken_away_in_mid_scan_raise_an_alarm_and_are_waited_for(beamline, broker):
    with beamline.service(), broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        beamline.live(1, rows=5)
        client.execute_command("ACL", "SETUSER", "default", "-xread")
        push(scan, range(5, 10))
        until(lambda: any("cannot be read" in text for text in alarms(broker)), "the alarm")
        scan.close()
        client.execute_command("ACL", "SETUSER", "default", "+xread")
        written = beamline.written(1)
    assert counts(written) == list(range(10))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_rights_on_keys_that_are_taken_away_do_not_end_the_scan(beamline, broker, caplog):
    with beamline.service(), broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        beamline.live(1, rows=5)
        client.execute_command("ACL", "SETUSER", "default", "-get", "-mget", "-xrevrange")
        push(scan, range(5, 10))
        beamline.live(1, rows=10)
        scan.close()
        client.execute_command("ACL", "SETUSER", "default", "+@all")
        written = beamline.written(1)
    assert counts(written) == list(range(10))
    assert "cannot be written" not in caplog.text


@pytest.mark.slow
def test_a_redis_that_is_busy_with_a_script_is_waited_for(beamline, broker, caplog):
    with beamline.service(), broker.client as client, ThreadPoolExecutor(1) as pool:
        client.config_set("lua-time-limit", 50)
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        beamline.live(1, rows=5)
        busy = pool.submit(client.eval, "while true do end", 0)
        while "Redis is away" not in caplog.text:
            time.sleep(0.01)
        with broker.client as another:
            another.script_kill()
        assert isinstance(busy.exception(), redis.ResponseError)
        push(scan, range(5, 10))
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(10))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_keys_that_hold_something_else_than_they_should_harm_no_scan(beamline, broker):
    with broker.client as client:
        for key in (keys.account(), keys.deployment_info(), keys.available_beamline_states()):
            client.set(key, "no stream")
        for key in (keys.scan_status(), keys.device_config()):
            client.delete(key)
            client.rpush(key, "no message")
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(5))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_a_scan_ends_though_a_device_does_not_stop_pushing(beamline, monkeypatch):
    monkeypatch.setattr(scan_life, "_LONG", 1)
    stop = threading.Event()

    def push_on(scan) -> None:
        for number in itertools.count(10):
            if stop.wait(0.01):
                return
            push(scan, [number])

    with beamline.service(), ThreadPoolExecutor(1) as pool:
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(10))
        pool.submit(push_on, scan)
        try:
            scan.close("aborted")
            written = beamline.written(1)
        finally:
            stop.set()
    rows = counts(written)
    assert len(rows) >= 10
    assert rows == list(range(len(rows)))
    assert written.verdict is Verdict.ABORTED


@pytest.mark.slow
def test_an_end_counts_whatever_clock_it_was_stamped_by(beamline, broker):
    with beamline.service(), broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(5))
        beamline.live(1, rows=5)
        status = decode(client.get(keys.scan_info(scan.scan_id)))
        status.data.update(status="closed", timestamp=status.data["timestamp"] - 3600)
        client.set(keys.scan_info(scan.scan_id), encode(status))
        written = beamline.written(1)
    assert counts(written) == list(range(5))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_points_that_redis_still_has_are_found_behind_many_that_it_has_lost(beamline, broker):
    scan = beamline.publisher.open_scan(scan_number=1, num_points=900, monitored=["samx"])
    for number in range(900):
        scan.point(number, {"samx": {"samx": {"value": number, "timestamp": 1.0}}})
    scan.close()
    with broker.client as client:
        client.delete(*[keys.scan_segment_point(scan.scan_id, n) for n in range(400)])
    with beamline.service():
        written = beamline.written(1)
    assert sorted(written.record.points) == list(range(400, 900))
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


@pytest.mark.slow
def test_a_redis_that_loads_its_data_is_waited_for(beamline_at, tmp_path):
    slow = ("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024")
    with (
        broker_of(*slow) as broker,
        beamline_at(broker.url, tmp_path) as beamline,
        beamline.service(),
    ):
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(100))
        with broker.client as client, client.pipeline() as pipe:
            for i in range(2000):  # 0.2 ms each to load
                pipe.set(f"other{i}", b"x" * 1000)
            pipe.execute()
        beamline.live(1, rows=100)
        broker.kill()
        broker.start()  # returns once it has loaded; the service has knocked meanwhile
        push(scan, range(100, 110))
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(110))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
def test_what_an_eviction_takes_is_named(beamline, broker):
    """maxmemory with a policy that removes keys: streams go as a whole."""
    scan = beamline.publisher.open_scan(scan_number=1)
    for n in range(20):
        scan.add("cam", "image", np.full(10_000, n), max_shape=(None, 10_000))
    push(scan, range(10))
    stream = keys.async_signal(scan.scan_id, "cam", "image")
    with broker.client as client:
        client.config_set("maxmemory-policy", "volatile-random")
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", used - 1_000_000)
        while client.exists(stream):
            client.set("something", b"else")
        client.config_set("maxmemory", 0)
        scan.add("cam", "image", np.full(10_000, 20), max_shape=(None, 10_000))
        # the index list may be gone as well: the numbers tell
        scan.close()
    with beamline.service():
        written = beamline.written(1)
    ledger = written.devices["cam"]["image"].ledger
    assert (ledger.written, ledger.missing_ranges) == (1, [[0, 19]])
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


@pytest.mark.slow
def test_a_full_redis_that_takes_no_writes_is_still_read(beamline, broker):
    """noeviction: XADD of the publisher fails, and so does all that the service wants to tell."""
    with beamline.service(), broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(10))
        client.config_set("maxmemory", "1mb")
        beamline.live(1, rows=10)
        client.config_set("maxmemory", "0")
        push(scan, range(10, 20))
        scan.close()
        written = beamline.written(1)
    assert counts(written) == list(range(20))
    assert written.verdict is Verdict.COMPLETE


@pytest.mark.slow
@pytest.mark.parametrize("how", ["trimmed", "removed", "expired"])
def test_what_is_gone_from_a_stream_before_it_was_read_is_named(beamline, broker, how):
    with broker.client as client:
        scan = beamline.publisher.open_scan(scan_number=1)
        key = keys.async_signal(scan.scan_id, "mcs", "counts")
        with beamline.service():
            push(scan, range(10))
            beamline.live(1, rows=10)
        push(scan, range(10, 20))
        match how:
            case "trimmed":
                client.xtrim(key, maxlen=0)
            case "removed":
                client.delete(key)
            case "expired":
                client.pexpire(key, 1)
                until(lambda: not client.exists(key), "the stream to expire")
        with beamline.service():
            push(scan, range(20, 25))
            scan.close()
            written = beamline.written(1)
    signal = written.devices["mcs"]["counts"]
    assert signal.ledger.missing_ranges == [[10, 19]]
    assert signal.value[:].tolist() == [*range(10), *[0] * 10, *range(20, 25)]
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


def test_the_last_updates_of_a_stream_that_is_gone_are_named_too(beamline, broker):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        push(scan, range(10))
        beamline.live(1, rows=10)
    push(scan, range(10, 12))
    scan.close()
    with broker.client as client:
        client.delete(keys.async_signal(scan.scan_id, "mcs", "counts"))
    with beamline.service():
        written = beamline.written(1)
    ledger = written.devices["mcs"]["counts"].ledger
    assert (ledger.expected, ledger.missing, ledger.missing_ranges) == (12, 2, [[10, 11]])
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


def test_without_an_index_list_the_numbers_alone_name_the_gaps(beamline, broker):
    scan = beamline.publisher.open_scan(scan_number=1)
    push(scan, range(10))
    with broker.client as client:
        client.xtrim(keys.async_signal(scan.scan_id, "mcs", "counts"), maxlen=4, approximate=False)
        client.delete(keys.async_signal_index(scan.scan_id, "mcs", "counts"))
    with beamline.service():
        scan.close()
        written = beamline.written(1)
    ledger = written.devices["mcs"]["counts"].ledger
    assert (ledger.expected, ledger.missing_ranges, ledger.written) == (None, [[0, 5]], 4)
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


def test_a_publisher_that_is_started_again_counts_anew_and_nothing_is_missing(beamline):
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1, scan_id="one")
        push(scan, range(10))
        again = beamline.publisher.open_scan(scan_number=1, scan_id="one")
        push(again, range(10, 15))
        again.close()
        written = beamline.written(1)
    ledger = written.devices["mcs"]["counts"].ledger
    assert counts(written) == list(range(15))
    assert (ledger.restarts, ledger.expected, ledger.missing) == (1, 15, 0)
    assert written.verdict is Verdict.COMPLETE


def test_what_a_restarted_publisher_pushed_and_redis_lost_is_counted(beamline, broker):
    scan = beamline.publisher.open_scan(scan_number=1, scan_id="one")
    with beamline.service():
        push(scan, range(10))
        beamline.live(1, rows=10)
    again = beamline.publisher.open_scan(scan_number=1, scan_id="one")
    push(again, range(10, 15))
    with broker.client as client:
        client.xtrim(keys.async_signal("one", "mcs", "counts"), maxlen=2, approximate=False)
    again.close()
    with beamline.service():
        written = beamline.written(1)
    ledger = written.devices["mcs"]["counts"].ledger
    assert (ledger.expected, ledger.written, ledger.missing) == (15, 12, 3)
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS


@pytest.mark.slow
def test_an_alarm_is_raised_while_there_is_time_when_redis_is_about_to_trim(
    beamline, broker, network
):
    """Reading is slower than the device: half of what Redis keeps is not read yet."""
    network.delay = 0.2  # each 64 kB
    with beamline.service():
        scan = beamline.publisher.open_scan(scan_number=1)
        told = ""
        n = 0
        while "half of what Redis keeps" not in told:
            scan.add(
                "cam",
                "image",
                np.full(200_000, n % 256, np.uint8),
                max_shape=(None, 200_000),
                max_size=100,
            )
            n += 1
            told = "".join(alarms(broker))
            assert n < 5000
        network.delay = 0.0
        scan.close()
        written = beamline.written(1)
    assert re.search(r"async_signal/.*/cam/image", told)
    ledger = written.devices["cam"]["image"].ledger
    assert ledger.written + ledger.missing == n
