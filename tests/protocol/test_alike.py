"""Messages that are alike, read at once, give what each gives when it is decoded alone."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zwriter.model import Run, Source, Update
from zwriter.protocol import Message, encode, updates_in
from zwriter.protocol.alike import Alike, equal_lengths
from zwriter.protocol.codec import messages_in
from zwriter.raw import Messages

STREAM = "info/devices/async_signal/scan/dev/sig"


def message(n: int, value: Any, timestamp: Any = 1.5, shape: Any = (None,), **more: Any) -> bytes:
    reading = {"value": value} if timestamp is None else {"value": value, "timestamp": timestamp}
    update = {"type": "add", "max_shape": list(shape)}
    metadata = {"async_update": update, "async_indices": {"dev_a": n}, **more}
    return encode(Message("DeviceMessage", {"signals": {"dev_a": reading}}, metadata))


def entries(raws: list[bytes]) -> list[tuple[str, bytes]]:
    return [(f"{n}-0", raw) for n, raw in enumerate(raws)]


def of_one_length(raws: list[bytes]) -> Messages:
    return Messages.of(entries(raws))


def one_by_one(raws: list[bytes]) -> list[Update]:
    return [
        update
        for raw in raws
        for one in messages_in(raw)
        for update in updates_in(one, "dev", Source(raw))
        if isinstance(update, Update)
    ]


def at_once(raws: list[bytes]) -> list[Update] | None:
    """All as runs, None if one message could not be read so."""
    alike = Alike(STREAM, "dev")
    found: list[Update] = []
    for same in equal_lengths(entries(raws)):
        runs = alike.runs(same)
        if runs is None:
            return None
        for run in runs:
            found += run.updates()
    return found


def assert_same(raws: list[bytes]) -> None:
    together, alone = at_once(raws), one_by_one(raws)
    assert together is not None
    assert len(together) == len(alone)
    for got, wanted in zip(together, alone, strict=True):
        assert (got.signal, got.mode, got.number) == (wanted.signal, wanted.mode, wanted.number)
        assert got.timestamp == wanted.timestamp
        assert np.asarray(got.value).dtype == np.asarray(wanted.value).dtype
        np.testing.assert_array_equal(got.value, wanted.value)


@pytest.mark.parametrize(
    "value",
    [
        lambda n: n / 3,
        lambda n: n + 200,
        lambda n: n + 70_000,
        lambda n: -n - 200,
        lambda n: np.float32(n),
        lambda n: np.uint16(n),
        lambda n: np.arange(10) + n,
        lambda n: (np.arange(6, dtype="<u2") + n).reshape(2, 3),
        lambda n: np.full(3, n + 1j),
        lambda n: [n / 2, n / 3],
    ],
)
@pytest.mark.parametrize("timestamp", [lambda n: 1.7e9 + n, lambda n: None])
def test_values_of_all_kinds_are_found(value: Any, timestamp: Any) -> None:
    assert_same([message(n, value(n), timestamp(n)) for n in range(20)])


@pytest.mark.parametrize(
    ("gaps", "shape", "runs_of"),
    [
        ((0, 0, 0), (None, 200, 300), [3]),
        ((0, 7, 7), (None, 200, 300), [3]),
        ((0, 7, 8), (None, 200, 300), [1, 1, 1]),
        ((0, 7, 7), (None, 300), [1, 1, 1]),
    ],
)
def test_the_values_of_long_messages_stay_where_they_are(
    gaps: tuple[int, ...], shape: tuple[int | None, ...], runs_of: list[int]
) -> None:
    """In one run, if that can be without a copy: each a row, at equal distances."""
    frames = [np.full((200, 300), n, "<u2") for n in range(3)]
    raws = [message(n, frame, 1.7e9 + n, shape) for n, frame in enumerate(frames)]
    length = len(raws[0])
    memory = np.frombuffer(
        b"".join(bytes(n) + raw for n, raw in zip(gaps, raws, strict=True)), "u1"
    )
    starts = np.arange(3) * length + np.cumsum(gaps)
    messages = Messages(memory, starts, length, lambda i: f"{i}-0")
    runs = Alike(STREAM, "dev").runs(messages)
    assert runs is not None
    assert [len(run) for run in runs] == runs_of
    for run in runs:
        assert np.shares_memory(run.values, memory)
        assert not run.values.flags.writeable
    np.testing.assert_array_equal(np.concatenate([run.values for run in runs]), frames)
    ids = [run.messages.entry(i) for run in runs for i in range(len(run)) if run.messages]
    assert ids == ["0-0", "1-0", "2-0"]
    assert_same(raws)


@pytest.mark.parametrize("first", [100, 120, 250, 65_530, 2**32 - 3])
def test_numbers_that_grow_longer_are_read(first: int) -> None:
    raws = [message(first + n, n / 2) for n in range(12)]
    runs = [same for same in equal_lengths(entries(raws)) if len(same) >= 4]
    alike = Alike(STREAM, "dev")
    for same in runs:
        got = alike.runs(same)
        assert got is not None
        at = int(same.entry(0).split("-")[0])
        assert got[0].numbers.tolist() == [first + at + i for i in range(len(same))]


def test_several_signals_in_a_message_are_several_runs() -> None:
    metadata = {"async_update": {"type": "add", "max_shape": [None]}}
    raws = [
        encode(
            Message(
                "DeviceMessage",
                {"signals": {name: {"value": [n / 2, 0.5]} for name in ("dev_a", "dev_b")}},
                {**metadata, "async_indices": {"dev_a": n, "dev_b": n}},
            )
        )
        for n in range(8)
    ]
    runs = Alike(STREAM, "dev").runs(of_one_length(raws))
    assert runs is not None
    assert [run.signal for run in runs] == ["dev_a", "dev_b"]
    assert runs[1].values[:, 0].tolist() == [n / 2 for n in range(8)]


@pytest.mark.parametrize(
    "odd",
    [
        message(3, 1, 1.5),
        message(3, 1.0, None),
        message(3, 1.0, 1.5, (None, 1)),
        message(3, 1.0, 1.5, other=1),
        b"\xc1" * len(message(3, 1.0)),
    ],
)
def test_a_message_that_differs_is_not_taken_for_one_that_is_alike(odd: bytes) -> None:
    raws = [message(n, n / 2) for n in range(8)]
    length = len(raws[0])
    raws[3] = odd.ljust(length, b"\x00")[:length]
    assert Alike(STREAM, "dev").runs(of_one_length(raws)) is None


def test_integers_beyond_63_bits_are_left_to_be_read_singly() -> None:
    assert at_once([message(n, 2**63 + n) for n in range(8)]) is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"type": "add_slice", "max_shape": [None, 5], "index": 1},
        {"type": "replace"},
        {"type": "add", "max_shape": [None, None]},
        {"type": "add", "max_shape": [10]},
    ],
)
def test_other_modes_are_left_to_be_read_singly(metadata: Any) -> None:
    raws = [message(n, [n / 2], async_update=metadata) for n in range(8)]
    assert at_once(raws) is None


values = st.one_of(
    st.floats(allow_nan=False),
    st.integers(-(2**63), 2**64 - 1),
    st.lists(st.floats(allow_nan=False)),
)


@given(st.lists(st.tuples(values, st.integers(0, 300)), min_size=4, max_size=12))
def test_whatever_comes_is_read_as_alone_or_not_at_all(pairs: list[tuple[Any, int]]) -> None:
    raws = [message(number, value) for value, number in pairs]
    alike = Alike(STREAM, "dev")
    for same in equal_lengths(entries(raws)):
        runs = alike.runs(same)
        for run in runs or []:
            wanted = one_by_one([raw for _, raw in same.pairs()])
            assert isinstance(run, Run)
            for update, alone in zip(run.updates(), wanted, strict=True):
                np.testing.assert_array_equal(update.value, alone.value)
            assert [u.number for u in run.updates()] == [u.number for u in wanted]


@given(st.binary(min_size=4, max_size=200))
def test_bytes_that_are_no_message_are_never_alike(raw: bytes) -> None:
    assert Alike(STREAM, "dev").runs(of_one_length([raw] * 5)) is None


@pytest.mark.parametrize("value", [1.25, [1.0, 2.0, 3.0]])
def test_floats_of_32_bits_are_read_singly(value: Any) -> None:
    def packed(n: int) -> bytes:
        wanted = message(n, value)
        single, double = msgpack.Packer(use_single_float=True), msgpack.Packer()
        return wanted.replace(double.pack(value), single.pack(value))

    raws = [packed(n) for n in range(8)]
    assert [update.value for update in one_by_one(raws)] == [value] * 8
    assert Alike(STREAM, "dev").runs(of_one_length(raws)) is None


def test_numbers_that_are_stored_as_smaller_ones_are_read_singly() -> None:
    raws = [message(n, np.full(3, n, np.longdouble), shape=(None, 3)) for n in range(8)]
    assert Alike(STREAM, "dev").runs(of_one_length(raws)) is None


def test_groups_that_are_put_together_are_the_same_messages_with_the_same_ids():
    groups = [[("1-0", b"abc"), ("1-1", b"def")], [("2-0", b"ghi")], [("3-0", b"jkl")]]
    together = Messages.together([Messages.of(group) for group in groups])
    assert together.pairs() == [pair for group in groups for pair in group]
    assert together.evenly
