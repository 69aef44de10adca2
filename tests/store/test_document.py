"""A document whose number of rows grows is written in place; any other version is a new file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zwriter.store.document import Document
from zwriter.store.zarr_json import GrowingArray, array_json
from zwriter.testing.failpoints import failing


def growing(dimensions: int = 1) -> GrowingArray:
    document = array_json(
        (0, 1024), np.dtype("<f8"), chunk_grid=(64, 1024), codecs=[], generation=0,
        dimension_names=["row", "x"], attributes={"units": "s" * dimensions},
    )  # fmt: skip
    return GrowingArray(document)


def replace(document: Document, text: GrowingArray, rows: int) -> None:
    document.replace(text.text(rows), text.word)


def rows_in(text: bytes) -> int:
    rows: int = json.loads(text)["shape"][0]
    return rows


@given(st.integers(1, 9), st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_of_two_texts_only_an_aligned_word_differs_below_a_hundred_million_rows(
    dimensions: int, numbers: list[int]
) -> None:
    text = growing(dimensions)
    word = text.word
    assert word.start % 8 == 0
    assert word.stop == word.start + 8
    before = text.text(0)
    for rows in numbers:
        now = text.text(rows)
        assert rows_in(now) == rows
        if rows < 10**8:
            assert now[: word.start] == before[: word.start]
            assert now[word.stop :] == before[word.stop :]


def test_a_document_that_grows_stays_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "zarr.json"
    document, text = Document(path), growing()
    files = set()
    for rows in (0, 1, 9, 10, 99_999, 99_999_999):
        replace(document, text, rows)
        files.add(path.stat().st_ino)
        assert rows_in(path.read_bytes()) == rows
        assert [file.name for file in tmp_path.iterdir()] == ["zarr.json"]
    assert len(files) == 1


@pytest.mark.parametrize("rows", [10**8, 10**12])
def test_a_version_that_differs_in_more_is_another_file(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "zarr.json"
    document, text = Document(path), growing()
    replace(document, text, 5)
    with path.open("rb") as reader:
        replace(document, text, rows)
        replace(document, growing(2), rows)
        assert rows_in(reader.read()) == 5
    assert rows_in(path.read_bytes()) == rows


def test_a_document_that_is_gone_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "zarr.json"
    document, text = Document(path), growing()
    replace(document, text, 5)
    path.unlink()
    replace(document, text, 6)
    assert rows_in(path.read_bytes()) == 6


@pytest.mark.parametrize("step", ["document.writing", "document.written"])
def test_after_an_interrupt_it_is_written_as_a_whole(tmp_path: Path, step: str) -> None:
    path = tmp_path / "zarr.json"
    document, text = Document(path), growing()
    replace(document, text, 5)
    was = path.stat().st_ino

    def cut_off() -> None:
        raise KeyboardInterrupt

    with failing(step, cut_off), pytest.raises(KeyboardInterrupt):
        replace(document, text, 6)
    replace(document, text, 6)
    assert rows_in(path.read_bytes()) == 6
    assert path.stat().st_ino != was


def test_another_process_reads_whole_versions_only(tmp_path: Path) -> None:
    """All digits change each time."""
    path = tmp_path / "zarr.json"
    document, text = Document(path), growing()
    replace(document, text, 11_111_111)
    reads = f"""
import json, pathlib
path, seen = pathlib.Path({str(path)!r}), set()
print("ready", flush=True)
for _ in range(50_000):
    seen.add(json.loads(path.read_bytes())["shape"][0])
print(sorted(seen))
"""
    with subprocess.Popen(
        [sys.executable, "-c", reads], stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
        number = 0
        while reader.poll() is None:
            number = (number + 1) % 9
            replace(document, text, 11_111_111 * (number + 1))
        seen = json.loads(reader.stdout.read())
    assert len(seen) > 1
    assert set(seen) <= {11_111_111 * digit for digit in range(1, 10)}
