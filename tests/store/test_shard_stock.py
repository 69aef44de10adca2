"""What a shard knows of its chunks is what its index says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zwriter.store.shard import ShardFile
from zwriter.store.shard_index import FIRST_CHUNK, MISSING


@given(puts=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=12))
def test_whole_and_partial_chunks_are_those_of_the_index(
    tmp_path_factory, puts: list[tuple[int, bool]]
) -> None:
    path: Path = tmp_path_factory.mktemp("shard") / "0"
    shard = ShardFile(path, 5, 1000, create=True)
    for n, (number, whole) in enumerate(puts):
        shard.put(number, (b"x" * (10 + n), b"crc!"), whole=whole)
    found = shard.index[shard.index[:, 0] < shard.reach]
    assert shard.whole == (int(found.sum(axis=1).max(initial=FIRST_CHUNK)), len(found))
    versions = (shard.index[:, 0] != MISSING) & (shard.index[:, 0] >= shard.reach)
    assert list(shard.partial()) == np.flatnonzero(versions).tolist()
    shard.close()


@given(
    committed=st.integers(0, 3),
    lives=st.lists(st.integers(0, 4), min_size=1, max_size=5),
)
def test_what_was_published_and_never_committed_takes_no_room(
    tmp_path_factory, committed: int, lives: list[int]
) -> None:
    """Each life goes back to the commit, and ends after it has published some chunks more."""
    path: Path = tmp_path_factory.mktemp("shard") / "0"
    chunk, half = (b"x" * 1000, b"crc!"), (b"y" * 500, b"half")
    shard = ShardFile(path, 4, 1004, create=True)
    for number in range(committed):
        shard.put(number, chunk, whole=True)
    shard.put(committed, half, whole=False)
    shard.publish()
    state = committed + 1, shard.partial(), shard.whole[0]
    for more in lives:
        shard.close()
        shard = ShardFile(path, 4, 1004, create=False)
        shard.restore(*state)
        for number in range(committed, min(committed + more, 4)):
            shard.put(number, chunk, whole=True)
        shard.publish()
    shard.close()
    shard = ShardFile(path, 4, 1004, create=False)
    shard.restore(*state)
    found = [shard.read(number) for number in range(committed + 1)]
    assert found == [*[b"".join(chunk)] * committed, b"".join(half)]
    shard.close()
