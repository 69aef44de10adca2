from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zwriter.errors import BadMessage
from zwriter.model import ScanState
from zwriter.protocol import (
    AvailableBeamlineStates,
    Baseline,
    BeamlineState,
    FileReference,
    Message,
    Readings,
    ScanPoint,
    ScanStatus,
    SignalIndex,
)

READING = {"value": 1.5, "timestamp": 2.0}
STATUS = {"scan_id": "s1", "status": "open", "info": {}}
POINT = {"scan_id": "s1", "point_id": 0, "data": {"samx": {"samx": READING}}}
INDEX = {
    "scan_id": "s1",
    "device": "eiger",
    "signal": "image",
    "shapes": {"image": [2, 3]},
    "indices": {"image": 0},
    "async_update": {"type": "replace"},
}


def test_a_scan_status_may_leave_out_almost_everything():
    status = ScanStatus.of(Message("ScanStatusMessage", STATUS))
    assert status.status is ScanState.OPEN
    assert status.scan_number is None
    assert status.readout_priority == {}


def test_null_where_a_map_belongs_is_an_empty_map():
    fields = {**STATUS, "user_metadata": None, "readout_priority": None}
    status = ScanStatus.of(Message("ScanStatusMessage", fields))
    assert (status.user_metadata, status.readout_priority) == ({}, {})


def test_the_scan_number_may_be_in_info_only():
    fields = {**STATUS, "info": {"scan_number": 5}}
    assert ScanStatus.of(Message("ScanStatusMessage", fields)).scan_number == 5


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0, 1e300, 2**64])
def test_a_time_that_is_in_no_calendar_is_not_known(time: float):
    status = ScanStatus.of(Message("ScanStatusMessage", {**STATUS, "timestamp": time}))
    assert status.timestamp is None


@pytest.mark.parametrize("state", [np.zeros(2), np.zeros(2, "f4,i2"), [], None, 5, "begun"])
def test_a_status_that_is_none_is_said_to_be(state: Any):
    with pytest.raises(BadMessage, match="ScanStatusMessage, status: "):
        ScanStatus.of(Message("ScanStatusMessage", {**STATUS, "status": state}))


def test_values_are_not_touched():
    frame = np.zeros((2, 2))
    data = {"cam": {"image": {"value": frame, "timestamp": None}}}
    point = ScanPoint.of(Message("ScanMessage", {**POINT, "data": data}))
    assert point.data["cam"]["image"]["value"] is frame


def test_each_message_has_its_view():
    assert Baseline.of(Message("ScanBaselineMessage", {"scan_id": "s1", "data": {}})).data == {}
    assert (
        Readings.of(Message("DeviceMessage", {"signals": {"a": READING}})).signals["a"] == READING
    )
    file = {"file_path": "/a.h5", "done": True, "successful": True, "device_name": ["a", "b"]}
    assert FileReference.of(Message("FileMessage", file)).device_name == ["a", "b"]
    state = {"name": "shutter", "status": "valid", "label": "open"}
    assert BeamlineState.of(Message("BeamlineStateMessage", state)).timestamp is None
    states = {"states": [{"name": "shutter", "state_type": "x", "parameters": {}}]}
    assert AvailableBeamlineStates.of(Message("AvailableBeamlineStatesMessage", states)).names == [
        "shutter"
    ]
    assert SignalIndex.of(Message("DeviceAsyncSignalIndexMessage", INDEX)).indices == {"image": 0}


@pytest.mark.parametrize(
    ("view", "message", "why"),
    [
        (ScanStatus, Message("ScanMessage", STATUS), "where a ScanStatusMessage belongs"),
        (ScanStatus, Message("ScanStatusMessage", {}), "scan_id: Field required"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "scan_id": None}), "scan_id"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "scan_id": "../x"}), "scan_id"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "status": "begun"}), "status"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "status": []}), "status"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "info": 5}), "info"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "scan_number": "5"}), "scan_number"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "scan_number": -1}), "scan_number"),
        (ScanStatus, Message("ScanStatusMessage", {**STATUS, "num_points": True}), "num_points"),
        (ScanPoint, Message("ScanMessage", {**POINT, "point_id": -1}), "point_id"),
        (ScanPoint, Message("ScanMessage", {**POINT, "point_id": 2**63}), "point_id"),
        (
            ScanPoint,
            Message("ScanMessage", {**POINT, "data": {"a": dict.fromkeys(range(30_000))}}),
            "30001 names",
        ),
        (ScanPoint, Message("ScanMessage", {**POINT, "data": {"a/b": {}}}), "data"),
        (ScanPoint, Message("ScanMessage", {**POINT, "data": {"a": {"b": 5}}}), "data.a.b"),
        (ScanPoint, Message("ScanMessage", {**POINT, "data": {"a": {"b": {}}}}), "needs a value"),
        (Readings, Message("DeviceMessage", {"signals": []}), "signals"),
        (FileReference, Message("FileMessage", {"file_path": 5}), "file_path"),
        (
            SignalIndex,
            Message("DeviceAsyncSignalIndexMessage", {**INDEX, "indices": {"image": -1}}),
            "indices.image",
        ),
        (
            AvailableBeamlineStates,
            Message("AvailableBeamlineStatesMessage", {"states": [{}]}),
            "states.0.name",
        ),
    ],
)
def test_a_wrong_field_is_named_in_one_line(view: Any, message: Message, why: str):
    with pytest.raises(BadMessage, match=why) as caught:
        view.of(message)
    assert "\n" not in str(caught.value)
