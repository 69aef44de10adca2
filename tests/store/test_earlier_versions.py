"""Arrays that a version before this one has begun are continued as it made them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zwriter.store.appended import AppendArray
from zwriter.store.codecs import ChunkCodec
from zwriter.store.sealed import index_of, reading

DIMENSIONS = ["row", "x"]


@pytest.mark.parametrize("shape", [(40,), (150_000,)])
def test_chunks_that_were_written_one_right_behind_the_other_go_on_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]
) -> None:
    rows = np.random.default_rng(1).integers(0, 2**16, (40, *shape), "<u2")
    codec = ChunkCodec(rows.dtype, "none", 0)
    with monkeypatch.context() as patch:
        patch.setattr("zwriter.store.sharded.MOST_FREE", 0)
        array = AppendArray(tmp_path, codec, shape, 4 * rows[0].nbytes)
        for number in range(6):
            array.append(rows[number : number + 1])
            array.flush()
            array.publish(DIMENSIONS, {})
        state = array.state()
        array.close()
    assert state.pop("free") == 0
    array = AppendArray.restored(tmp_path, state, None)
    assert array.state()["open"] == state["open"]
    assert array.state()["ends"] == state["ends"]
    for number in range(6, 40):
        array.append(rows[number : number + 1])
        array.flush()
        array.publish(DIMENSIONS, {})
    array.seal()
    stored = np.concatenate([array.read_chunk(number) for number in range(10)])
    np.testing.assert_array_equal(stored, rows)
    array.close()
    with reading(tmp_path / "c/0/0") as fd:
        index = index_of(fd, 255)[:10].astype(int)
    assert (index[1:, 0] == index[:-1].sum(axis=1)).all()
