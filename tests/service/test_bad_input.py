"""The list of bad input: each is in quarantine or refused, is in the log, and harms only itself."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from zwriter.model import ScanState, Verdict
from zwriter.protocol import Message, decode, encode, keys
from zwriter.testing.fixtures import any_redis
from zwriter.testing.waiting import until

ADD = {"type": "add", "max_shape": [None]}


def update(value, async_update=ADD, signal="bad") -> bytes:
    metadata = {} if async_update is None else {"async_update": async_update}
    signals = {signal: {"value": value, "timestamp": 1.0}}
    return encode(Message("DeviceMessage", {"signals": signals}, metadata))


BAD = {
    "undecodable bytes": [b"\xc1\x00\xff"],
    "cut off": [update(1)[:-3]],
    "another message": [encode(Message("ScanMessage", {"point_id": 1}))],
    "wrong shape": [
        update([[1, 2], [3, 4]], {"type": "add", "max_shape": [None, 2, 2]}),
        update([1, 2, 3], {"type": "add", "max_shape": [None, 2, 2]}),
    ],
    "no async_update": [update(1, None)],
    "unknown mode": [update(1, {"type": "prepend", "max_shape": [None]})],
    "no max_shape": [update(1, {"type": "add"})],
    "negative index": [update([1], {"type": "add_slice", "max_shape": [None, 4], "index": -1})],
    "huge index": [update([1], {"type": "add_slice", "max_shape": [None, 4], "index": 2**62})],
    "index beyond max_shape": [update([1], {"type": "add_slice", "max_shape": [3, 4], "index": 3})],
    "huge row": [update([1], {"type": "add", "max_shape": [None, 2**40]})],
    "max_shape changes": [
        update([1, 2], {"type": "add", "max_shape": [None, 2]}),
        update([1, 2, 3], {"type": "add", "max_shape": [None, 3]}),
    ],
    "mode changes": [update(1), update(2, {"type": "replace"})],
    "a map as value": [update({"a": 1})],
    "no value": [encode(Message("DeviceMessage", {"signals": {"bad": {}}}, {"async_update": ADD}))],
    "a signal's name with ..": [update(1, signal="../../etc")],
}


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture(
    scope="module",
    params=["disk", pytest.param("bucket", marks=[pytest.mark.s3, pytest.mark.slow])],
)
def scan_with_bad_input(request, tmp_path_factory, beamline_in):
    """(scan, log lines): a scan in which every device sends one of the bad messages."""
    folder, lines = tmp_path_factory.mktemp("bad"), Lines()
    root, storage = folder / "data", {}
    if request.param == "bucket":
        s3 = request.getfixturevalue("s3")
        root, storage = f"s3://{s3.new_bucket()}/data", s3.options
    logging.getLogger("zwriter").addHandler(lines)
    with (
        any_redis(folder) as server,
        beamline_in(server.url, root, folder / "spool", storage) as beamline,
        beamline.service(),
        beamline.publisher.open_scan(scan_number=1) as scan,
    ):
        for device in map(device_of, BAD):
            for number in range(3):
                scan.add(device, "good", number, max_shape=(None,))
        for case, messages in BAD.items():
            stream = keys.async_signal(scan.scan_id, device_of(case), "bad")
            for raw in messages:
                beamline.redis("XADD", stream, "*", "data", raw)
        for device in map(device_of, BAD):
            for number in range(3, 6):
                scan.add(device, "good", number, max_shape=(None,))
        scan.close()
        yield beamline.written(1), lines.lines
    logging.getLogger("zwriter").removeHandler(lines)


def device_of(case: str) -> str:
    return case.replace(" ", "_").replace(".", "dot")


@pytest.mark.parametrize("case", BAD)
def test_a_bad_message_is_in_quarantine_and_harms_only_itself(scan_with_bad_input, case):
    scan, lines = scan_with_bad_input
    device = device_of(case)
    assert scan.devices[device]["good"].value[:].tolist() == list(range(6))
    assert sum(device in line and "quarantined" in line for line in lines) == 1
    if case != "a signal's name with ..":
        ledgers = scan.summary()["devices"][device]
        assert sum(signal["quarantined"] for signal in ledgers.values()) == 1


def test_a_scan_with_bad_input_has_gaps(scan_with_bad_input):
    scan, _ = scan_with_bad_input
    assert scan.verdict is Verdict.COMPLETE_WITH_GAPS


@pytest.mark.parametrize("device", ["..", "a/b", "../../../tmp"])
def test_the_data_of_a_device_with_a_forbidden_name_goes_to_quarantine(beamline, caplog, device):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1) as scan:
            stream = keys.async_signal(scan.scan_id, device, "s")
            beamline.redis("XADD", stream, "*", "data", update(1))
            scan.add("mcs", "good", 1, max_shape=(None,))
        written = beamline.written(1)
    assert list(written.devices) == ["mcs"]
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert written.devices["mcs"]["good"].value[:].tolist() == [1]
    assert "quarantined" in caplog.text


def test_bad_input_raises_one_alarm_for_its_signal(beamline):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1) as scan:
            stream = keys.async_signal(scan.scan_id, "mcs", "bad")
            for _ in range(3):
                beamline.redis("XADD", stream, "*", "data", b"\xc1")
            until(lambda: beamline.client.get(keys.alarms()), "an alarm")
        beamline.written(1)
    alarm = decode(beamline.client.get(keys.alarms()))
    assert alarm.data["severity"] == 0
    assert alarm.data["info"]["device"] == "mcs"
    assert alarm.metadata["scan_id"] == scan.scan_id


def test_a_scan_without_a_number_goes_by_its_id(beamline_anywhere, caplog):
    beamline = beamline_anywhere
    status = {"scan_id": "no-number", "info": {}, "scan_type": "fly"}
    with beamline.service():
        for state in ("open", "closed"):
            raw = encode(Message("ScanStatusMessage", {**status, "status": state}))
            beamline.redis("PUBLISH", keys.scan_status(), raw)
        written = beamline.written(beamline.root / "no-number" / "no-number.zarr")
    assert (written.scan_number, written.status) == (None, ScanState.CLOSED)
    assert "has no number" in caplog.text
    assert (beamline.root / "no-number" / "no-number_master.h5").exists()


def test_control_messages_that_cannot_be_read_are_refused(beamline, caplog):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            for channel in (keys.scan_status(), keys.scan_segment(), keys.scan_baseline()):
                beamline.redis("PUBLISH", channel, b"\xc1")
            beamline.redis("SET", keys.scan_segment_point(scan.scan_id, 5), b"\xc1")
            beamline.redis("SET", keys.scan_baseline_of(scan.scan_id), b"\xc1")
            beamline.redis("SET", keys.scan_info("junk"), b"\xc1")
            beamline.redis("SET", keys.read_configuration("samx"), b"\xc1")
            scan.point(0, {"samx": {"samx": {"value": 1.0, "timestamp": 1.0}}})
        written = beamline.written(1)
    assert written.devices["samx"]["samx"].value[:].tolist() == [1.0]
    assert caplog.text.count(f"a message on {keys.scan_status()} is ignored") == 1
    assert caplog.text.count("segment: quarantined") == 1


def test_control_messages_that_cannot_be_read_raise_alarms_but_not_for_ever(beamline):
    told = []
    with beamline.client.pubsub() as alarms:
        alarms.subscribe(keys.alarms())
        with beamline.service():
            for number in range(120):
                raw = encode(Message(f"Nonsense{number}", {}))
                for _ in range(2):
                    beamline.redis("PUBLISH", keys.scan_status(), raw)
            with beamline.publisher.open_scan(scan_number=1):
                pass
            beamline.written(1)
        while message := alarms.get_message(timeout=1):
            if message["type"] == "message":
                told.append(decode(message["data"]).data["info"])
    assert {alarm["exception_type"] for alarm in told} == {"BadMessage"}
    assert len({alarm["error_message"] for alarm in told}) == len(told) == 100


def test_a_scan_may_have_arrays_for_parameters_and_open_twice(beamline):
    positions = {"positions": np.arange(5.0)}
    status = {"scan_id": "arrays", "scan_number": 1, "info": {"x": np.zeros(3)}}
    with beamline.service():
        for number, state in enumerate(("open", "open", "paused", "open", "closed")):
            fields = {**status, "status": state, "timestamp": 1e9 + number}
            raw = encode(Message("ScanStatusMessage", {**fields, "scan_parameters": positions}))
            beamline.redis("PUBLISH", keys.scan_status(), raw)
        assert beamline.written(1).verdict is Verdict.COMPLETE


def test_a_point_with_a_huge_number_is_stored_and_delays_nothing(beamline):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            scan.point(2**60, {"samx": {"samx": {"value": 1.0, "timestamp": 1.0}}})
        written = beamline.written(1)
    assert written.devices["samx"]["samx"].value[:].tolist() == [1.0]
