from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zwriter.errors import BadMessage
from zwriter.protocol import Limits, Message, decode, encode, messages_in

CAPTURE = Path(__file__).parents[1] / "data/bec_line_scan_add.msgpack.gz"


def tagged(encoder: str, data: Any, kind: str = "x") -> dict[str, Any]:
    return {"__bec_codec__": {"encoder_name": encoder, "type_name": kind, "data": data}}


def with_value(value: Any) -> bytes:
    """A message as anybody could send it, whatever `value` is."""
    return msgpack.packb(tagged("BECMessage", {"metadata": {}, "value": value}, "VariableMessage"))


def array(**changes: Any) -> bytes:
    data = {"nd": True, "type": "<u2", "kind": b"", "shape": [2, 2], "data": bytes(8), **changes}
    return with_value(tagged("ndarray", {key.encode(): value for key, value in data.items()}))


def returned(value: Any) -> Any:
    return decode(encode(Message("VariableMessage", {"value": value}))).data["value"]


def test_an_array_is_a_read_only_view_of_the_message():
    frame = returned(np.arange(6, dtype="<u2").reshape(2, 3))
    assert frame.base is not None
    assert not frame.flags.writeable
    np.testing.assert_array_equal(frame, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2, np.dtype([("a", "u1"), ("b", "f8")], align=True)),
        np.array([b"abcd"], "V4"),
        np.array(["2026-01-01"], "M8[ms]"),
        np.arange(3, dtype="g"),
        np.zeros(1, [("a", [("b", [("c", "<M8[s]", (2,))])])]),
    ],
    ids=["padded", "void", "dates", "long double", "nested"],
)
def test_dtypes_survive_that_bec_lib_itself_loses(value: np.ndarray):
    again = returned(value)
    assert again.dtype == value.dtype
    assert again.tobytes() == value.tobytes()


def test_what_has_an_unknown_tag_is_its_data():
    raw = with_value(tagged("EndpointInfo", {"endpoint": "info/x"}))
    assert decode(raw).data["value"] == {"endpoint": "info/x"}


def test_a_bundle_is_its_messages_and_another_message_is_itself():
    points = [Message("ScanMessage", {"point_id": n}) for n in (0, 1)]
    assert messages_in(encode(Message("BundleMessage", {"messages": points}))) == points
    assert messages_in(encode(points[0])) == points[:1]


def test_a_bundle_of_something_else_is_refused():
    with pytest.raises(BadMessage, match="not a list of messages"):
        messages_in(encode(Message("BundleMessage", {"messages": [1]})))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not a BEC message"),
        (b"\xc1", "not a BEC message"),
        (b'{"json": 1}', "not a BEC message"),
        (msgpack.packb([1, 2]), "a list"),
        (encode(Message("X", {})) + b"\x00", "extra data"),
        (msgpack.packb({"__bec_codec__": 5}), "not a BEC message"),
        (msgpack.packb(tagged("BECMessage", [])), "not a BEC message"),
        (msgpack.packb(tagged("BECMessage", {"metadata": 5})), "metadata"),
        (with_value(msgpack.Timestamp(5)), "ext"),
        (with_value(msgpack.ExtType(5, b"abc")), "ext"),
        (b"\x91" * 100_000, "nested more than 64 deep"),
        (b"\xdd\xff\xff\xff\xff", "states 4294967295 items"),
        (array(data=bytes(7)), "in 7 bytes"),
        (array(data=5), "not a BEC message"),
        (array(shape=[-2, -2]), "shape"),
        (array(shape=[True, 4]), "shape"),
        (array(shape=[1] * 33), "shape"),
        (array(shape=[2**40, 0], data=b"x"), "in 1 bytes"),
        (array(shape=[2**62, 2**62, 0], data=b""), "in 0 bytes"),
        (array(type="|V0", data=b""), "no size"),
        (array(type="|O", data=bytes(32)), "dtype"),
        (array(type="i4,f8"), "dtype"),
        (array(type="__import__('os')"), "dtype"),
        (array(type=["<u2"]), "not a BEC message"),
        (array(type=[["a", "|O"]], kind=b"V"), "dtype"),
        (array(type=[["a", "<u2"], ["a", "<u2"]], kind=b"V", shape=[2]), "not a BEC message"),
        (array(type=[["a", "<u2", [-4]]], kind=b"V"), "not a BEC message"),
        (array(type=[["a", "<u2", [0]]], kind=b"V", shape=[2**60], data=b""), "no size"),
        (array(type=[["a", "<u2"]] * 2000, kind=b"V"), "dtype"),
        (array(type="<U1", shape=[2], data=b"\xff" * 8), "not a BEC message"),
        (array(type="<U1", shape=[1], data=b"\x00\xd8\x00\x00"), "not a BEC message"),
        (array(nd=False), "in 8 bytes"),
        (with_value(tagged("complex", {b"complex": True, b"data": "1+"})), "not a BEC message"),
        (with_value(tagged("ndarray", {})), "not a BEC message"),
    ],
)
def test_what_is_no_message_is_refused_in_one_line(raw: bytes, why: str):
    with pytest.raises(BadMessage, match=why) as caught:
        decode(raw)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_limits_are_kept():
    raw = encode(Message("VariableMessage", {"value": list(range(10))}))  # 4 maps and a list
    exact = {"nbytes": len(raw), "depth": 4, "containers": 5, "items": 22}
    assert decode(raw, Limits(**exact))
    for name, limit in exact.items():
        with pytest.raises(BadMessage):
            decode(raw, Limits(**{**exact, name: limit - 1}))


@pytest.mark.parametrize("value", [np.array([None]), object(), 2**64, "\ud800", frozenset()])
def test_what_has_no_encoding_is_refused(value: Any):
    with pytest.raises(BadMessage):
        encode(Message("VariableMessage", {"value": value}))


def captured() -> Iterator[bytes]:
    """Each message of the captured scan, as bec-lib sent it."""
    with gzip.open(CAPTURE) as file:
        entries = msgpack.Unpacker(file, raw=False, strict_map_key=False, max_buffer_size=0)
        for kind, _, value in next(entries)["snapshot"].values():
            yield from (
                [value] if kind == b"string" else (raw for _, e in value for raw in e.values())
            )
        for _, command in entries:
            yield from (part for part in command[2:] if b"__bec_codec__" in part)


def test_each_message_of_a_real_scan_is_read_and_written_as_it_was():
    raws = list(captured())
    assert len(raws) > 1000
    for raw in raws:
        again = encode(decode(raw))
        if b"BaseModel" in raw or b"DeviceBase" in raw:  # their tags are not kept, their data is
            assert encode(decode(again)) == again
        else:
            assert again == raw


names = st.text(st.characters(codec="utf-8"), max_size=10)
arrays = hnp.arrays(
    st.one_of(
        hnp.scalar_dtypes().filter(lambda d: d.kind not in "OSU"),
        # without titles, which bec-lib cannot read either
        hnp.array_dtypes(hnp.integer_dtypes() | hnp.floating_dtypes()).filter(
            lambda d: len(d.fields) == len(d.names)
        ),
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | names
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)


@given(data=st.dictionaries(names.filter(lambda n: n != "metadata"), values), metadata=values)
def test_plain_values_come_back_as_they_were(data: dict[str, Any], metadata: Any):
    message = Message("DeviceMessage", data, {"m": metadata})
    assert decode(encode(message)) == message


@given(arrays)
def test_arrays_come_back_as_they_were(value: np.ndarray):
    again = returned(value)
    assert (again.dtype, again.shape) == (value.dtype, value.shape)
    assert again.tobytes() == value.tobytes()


@given(st.binary(max_size=200))
def test_random_bytes_are_a_message_or_a_bad_one(raw: bytes):
    with suppress(BadMessage):
        assert isinstance(decode(raw), Message)


@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_a_damaged_message_is_a_message_or_a_bad_one(place: int, damage: bytes):
    whole = encode(
        Message(
            "DeviceMessage",
            {"signals": {"a": {"value": np.zeros((2, 2), [("x", "<f4"), ("t", "<U2")])}}},
            {"async_update": {"type": "add"}, "n": np.float32(1), "c": 1j},
        )
    )
    place %= len(whole)
    with suppress(BadMessage):
        message = decode(whole[:place] + damage + whole[place + len(damage) :])
        assert isinstance(message, Message)
