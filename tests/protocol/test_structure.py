"""Messages are measured before anything is made of them."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zwriter.errors import BadMessage
from zwriter.protocol.structure import check_structure

ANY = 2**40
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(codec="utf-8"), max_size=300)
    | st.binary(max_size=300)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=40) | st.dictionaries(st.text("ab", max_size=3), inner, max_size=4)
    ),
    max_leaves=30,
)


def measured(value: Any) -> tuple[int, int, int]:
    """(depth, containers, items in them) of a value, by another way."""
    if not isinstance(value, list | dict):
        return 0, 0, 0
    inner = value if isinstance(value, list) else [part for pair in value.items() for part in pair]
    parts = [measured(item) for item in inner]
    depths, containers, items = zip(*parts, strict=True) if parts else ((0,), (0,), (0,))
    return 1 + max(depths), 1 + sum(containers), len(inner) + sum(items)


@given(values)
def test_a_message_passes_if_it_is_just_within_its_limits_and_no_other(value: Any):
    raw = msgpack.packb(value)
    exact = dict(zip(("depth", "containers", "items"), measured(value), strict=True))
    check_structure(raw, **exact)
    for name, limit in exact.items():
        if limit:
            with pytest.raises(BadMessage):
                check_structure(raw, **{**exact, name: limit - 1})


@pytest.mark.parametrize("value", [[0.5] * 1000, list(range(100)), [b"x" * 300] * 20, ["a"] * 50])
def test_long_lists_are_counted_whole(value: list[Any]):
    raw = msgpack.packb([value, value])
    check_structure(raw, depth=2, containers=3, items=2 + 2 * len(value))
    with pytest.raises(BadMessage, match="too many"):
        check_structure(raw, depth=2, containers=3, items=1 + 2 * len(value))


@given(st.binary(max_size=300))
def test_random_bytes_are_measured_without_another_error(raw: bytes):
    with suppress(BadMessage):
        check_structure(raw, depth=8, containers=100, items=300)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\xdd\x00\x10\x00\x00" * 200_000,  # each list states a million items
        b"\xdf\xff\xff\xff\xff" * 200_000,
        b"\x91" * 1_000_000,
        b"\xdd\x00\x0f\x42\x40" + b"\x80" * 1_000_000,  # a million empty maps
    ],
    ids=["lists in lists", "maps in maps", "deep", "empty maps"],
)
def test_a_bomb_is_refused_before_it_takes_memory(bomb: bytes):
    tracemalloc.start()
    try:
        with pytest.raises(BadMessage):
            check_structure(bomb, depth=64, containers=1000, items=ANY)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
