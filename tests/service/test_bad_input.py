"""The list of bad input: each is in quarantine or refused, is in the log, and harms only itself."""

from __future__ import annotations

import pytest

from zwriter.model import ScanState, Verdict
from zwriter.protocol import Message, decode, encode, keys

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


@pytest.mark.parametrize("messages", BAD.values(), ids=BAD.keys())
def test_a_bad_message_is_in_quarantine_and_harms_only_itself(beamline, caplog, messages):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1) as scan:
            for number in range(3):
                scan.add("mcs", "good", number, max_shape=(None,))
                scan.add("other", "good", number, max_shape=(None,))
            for raw in messages:
                beamline.redis(
                    "XADD", keys.async_signal(scan.scan_id, "mcs", "bad"), "*", "data", raw
                )
            for number in range(3, 6):
                scan.add("mcs", "good", number, max_shape=(None,))
                scan.add("other", "good", number, max_shape=(None,))
        written = beamline.written(1)
    for device in ("mcs", "other"):
        assert written.devices[device]["good"].value[:].tolist() == list(range(6))
    ledgers = [signal["quarantined"] for signal in written.summary()["devices"]["mcs"].values()]
    assert sum(ledgers) == 1 or "name" in caplog.text
    assert written.verdict is Verdict.COMPLETE_WITH_GAPS
    assert caplog.text.count("quarantined") == 1


@pytest.mark.parametrize("device", ["..", "a/b", "../../../tmp"])
def test_the_data_of_a_device_with_a_forbidden_name_goes_to_quarantine(beamline, caplog, device):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1) as scan:
            stream = keys.async_signal(scan.scan_id, device, "s")
            beamline.redis("XADD", stream, "*", "data", update(1))
            scan.add("mcs", "good", 1, max_shape=(None,))
        written = beamline.written(1)
    assert list(written.devices) == ["mcs"]
    assert written.devices["mcs"]["good"].value[:].tolist() == [1]
    assert "quarantined" in caplog.text


def test_bad_input_raises_one_alarm_for_its_signal(beamline, until):
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


def test_a_scan_without_a_number_goes_by_its_id(beamline, caplog):
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


def test_a_point_with_a_huge_number_is_stored_and_delays_nothing(beamline):
    with beamline.service():
        with beamline.publisher.open_scan(scan_number=1, monitored=["samx"]) as scan:
            scan.point(2**60, {"samx": {"samx": {"value": 1.0, "timestamp": 1.0}}})
        written = beamline.written(1)
    assert written.devices["samx"]["samx"].value[:].tolist() == [1.0]
