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
