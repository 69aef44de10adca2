from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zwriter.model import Add, AddSlice, Rejected, Replace, Source, Update
from zwriter.protocol import Message, updates_in

SOURCE = Source(b"raw")
ADD = {"type": "add", "max_shape": [None]}


def updates(
    signals: Any, async_update: Any = ADD, device: str = "eiger", **metadata: Any
) -> list[Update | Rejected]:
    if async_update is not None:
        metadata["async_update"] = async_update
    message = Message("DeviceMessage", {"signals": signals}, metadata)
    return list(updates_in(message, device, SOURCE))


def mode_of(async_update: Any, value: Any = 1) -> Any:
    (update,) = updates({"a": {"value": value}}, async_update)
    return update.mode if isinstance(update, Update) else update.reason


@pytest.mark.parametrize(
    ("async_update", "mode"),
    [
        ({"type": "add", "max_shape": [None]}, Add((None,))),
        ({"type": "add", "max_shape": [None, 5]}, Add((None, 5))),
        ({"type": "add", "max_shape": [None, 5, 6]}, Add((None, 5, 6))),
        ({"type": "add", "max_shape": [None, None]}, Add((None, None))),
        ({"type": "add", "max_shape": [9, 5], "index": -1}, Add((9, 5))),
        ({"type": "add_slice", "max_shape": [None, 5], "index": 3}, AddSlice((None, 5), 3)),
        ({"type": "add_slice", "max_shape": [4, 5], "index": 3}, AddSlice((4, 5), 3)),
        ({"type": "add_slice", "max_shape": [None, None], "index": 0}, AddSlice((None, None), 0)),
        ({"type": "add", "max_shape": [None, np.int64(5)]}, Add((None, 5))),
        (
            {"type": "add_slice", "max_shape": [np.int32(4), 5], "index": np.uint8(3)},
            AddSlice((4, 5), 3),
        ),
        ({"type": "replace"}, Replace()),
        ({"type": "replace", "max_shape": None, "index": None}, Replace()),
    ],
)
def test_each_mode_of_the_wire_is_read(async_update: Any, mode: Any):
    assert mode_of(async_update) == mode


def test_the_old_words_are_read_too():
    assert mode_of("extend") == Add((None,))
    assert mode_of("append", 1.5) == Add((None,))
    assert mode_of("append", [[1, 2, 3], [4, 5, 6]]) == Add((None, 2, 3))
    assert mode_of("append", np.zeros(4)) == Add((None, 4))
    assert "needs a value with a shape" in mode_of("append", [[1], [2, 3]])


@pytest.mark.parametrize(
    ("async_update", "why"),
    [
        (None, "no async_update"),
        (5, "a int, not a map"),
        ("add", "unknown async_update"),
        ({}, "unknown async_update type None"),
        ({"type": "prepend", "max_shape": [None]}, "unknown async_update type 'prepend'"),
        ({"type": ["add"], "max_shape": [None]}, "unknown async_update type"),
        ({"type": np.arange(3)}, "unknown async_update type"),
        ({"type": "add"}, "max_shape None"),
        ({"type": "add", "max_shape": []}, "1 to 32 dimensions"),
        ({"type": "add", "max_shape": [None] + [1] * 32}, "1 to 32 dimensions"),
        ({"type": "add", "max_shape": [5, None]}, "None may only lead"),
        ({"type": "add", "max_shape": [None, None, None]}, "at most two dimensions"),
        ({"type": "add", "max_shape": [None, 0]}, "positive integer"),
        ({"type": "add", "max_shape": [None, True]}, "positive integer"),
        ({"type": "add", "max_shape": [None, 5.0]}, "positive integer"),
        ({"type": "add", "max_shape": [None, 2**15, 2**15, 2]}, "a row has more than"),
        ({"type": "add_slice", "max_shape": [None, 5]}, "index None"),
        ({"type": "add_slice", "max_shape": [None, 5], "index": -1}, "index -1"),
        ({"type": "add_slice", "max_shape": [None, 5], "index": 2**31}, "index 2147483648"),
        ({"type": "add_slice", "max_shape": [None, 5], "index": True}, "index True"),
        ({"type": "add_slice", "max_shape": [4, 5], "index": 4}, "from 0 to 3"),
        ({"type": "add_slice", "max_shape": [None], "index": 0}, "two dimensions"),
        ({"type": "add_slice", "max_shape": [None, 5, 5], "index": 0}, "two dimensions"),
    ],
)
def test_what_breaks_the_rules_is_rejected_with_the_reason(async_update: Any, why: str):
    assert why in mode_of(async_update)


def test_a_bad_signal_leaves_the_others_alone():
    readings = {"a": {"value": 1}, "b": {}, "c": 5, "../d": {"value": 1}, "e": {"value": 2}}
    got = updates(readings)
    assert [type(item) for item in got] == [Update, Rejected, Rejected, Rejected, Update]
    assert [item.signal for item in got] == ["a", "b", "c", "", "e"]
    assert all(item.source is SOURCE for item in got)


def test_a_message_that_is_no_reading_is_rejected_as_a_whole():
    (rejected,) = updates([1, 2])
    assert (rejected.device, rejected.signal) == ("eiger", "")
    (rejected,) = updates_in(Message("ScanMessage", {}), "eiger", SOURCE)
    assert isinstance(rejected, Rejected)


def test_an_unsafe_device_name_goes_no_further_than_the_reason():
    (rejected,) = updates({"a": {"value": 1}}, device="../eiger")
    assert isinstance(rejected, Rejected)
    assert (rejected.device, rejected.signal) == ("", "")
    assert "../eiger" in rejected.reason


def test_the_producers_number_is_kept_where_there_is_one():
    readings = {name: {"value": 1} for name in "abcd"}
    got = updates(readings, async_indices={"a": 7, "b": -1, "c": True})
    assert [item.number for item in got] == [7, None, None, None]
    assert [item.number for item in updates(readings, async_indices=5)] == [None] * 4


def test_timestamps_are_seconds_one_or_many_or_none():
    for timestamp in (1.5, 2, [1.5, 2.5], np.array([1.5]), np.float32(1), None):
        (update,) = updates({"a": {"value": 1, "timestamp": timestamp}})
        assert update.timestamp is timestamp
    for timestamp in ("yesterday", True, {}):
        (rejected,) = updates({"a": {"value": 1, "timestamp": timestamp}})
        assert "timestamp" in rejected.reason


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "max_shape", "index", "value", "timestamp", "signals", "../"]),
            inner | st.sampled_from(["add", "add_slice", "replace", "append"]),
        )
    ),
    max_leaves=12,
)


@given(anything, anything, anything)
def test_whatever_is_sent_nothing_is_raised(signals: Any, async_update: Any, indices: Any):
    metadata = {"async_update": async_update, "async_indices": indices}
    for device in ("eiger", ".."):
        for item in updates_in(
            Message("DeviceMessage", {"signals": signals}, metadata), device, SOURCE
        ):
            assert isinstance(item, Update | Rejected)
