"""A document that is replaced again and again: of two files one is it, and the other is next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zwriter.store import document, exchange
from zwriter.store.disk import temporary_of
from zwriter.store.document import Document
from zwriter.testing.failpoints import failing


def cut_off() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "READING", 0.0)


@pytest.fixture(params=["exchanged", "not known here", "only renamed"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems that exchange names, do not, and say that they do."""

    def rename(_: int, new: bytes, __: int, path: bytes, ___: object) -> int:
        Path(new.decode()).rename(path.decode())
        return 0

    if request.param == "not known here":
        monkeypatch.setattr(exchange, "_renameat2", None)
    elif request.param == "only renamed":
        monkeypatch.setattr(exchange, "_renameat2", rename)
    return str(request.param)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("reading", [0.0, 60.0])
def test_each_version_takes_the_place_of_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: float
) -> None:
    monkeypatch.setattr(document, "READING", reading)
    path = tmp_path / "zarr.json"
    replaced = Document(path)
    for text in (b"a long one", b"one", b"a longer one than all", b"", b"another", b"the last"):
        replaced.replace(text)
        assert path.read_bytes() == text
        assert len(list(tmp_path.iterdir())) <= 2
    replaced.tidy()
    assert [file.name for file in tmp_path.iterdir()] == ["zarr.json"]


@pytest.mark.usefixtures("nobody_reads")
def test_no_file_is_made_once_there_are_two(tmp_path: Path) -> None:
    path = tmp_path / "zarr.json"
    replaced = Document(path)
    files = []
    for number in range(6):
        replaced.replace(b"%d" % number)
        files.append(path.stat().st_ino)
    assert files == files[:2] * 3


def test_who_has_just_opened_it_reads_it_whatever_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "zarr.json"
    replaced = Document(path)
    for number in range(10):
        replaced.replace(b"%d" % number)
        with path.open("rb") as reader:
            replaced.replace(b"another")
            replaced.replace(b"and one more")
            assert reader.read() == b"%d" % number


@pytest.mark.usefixtures("nobody_reads")
def test_a_version_that_a_backup_has_linked_is_not_written_over(tmp_path: Path) -> None:
    path, backup = tmp_path / "zarr.json", tmp_path / "backup"
    replaced = Document(path)
    replaced.replace(b"first")
    os.link(path, backup)
    for text in (b"second", b"third", b"fourth"):
        replaced.replace(text)
        assert path.read_bytes() == text
    assert backup.read_bytes() == b"first"


@pytest.mark.parametrize("step", ["file.renaming", "file.exchanged"])
@pytest.mark.usefixtures("nobody_reads")
def test_a_version_is_not_written_over_after_an_interrupt(tmp_path: Path, step: str) -> None:
    """It is not known which of the two is which, or since when."""
    path = tmp_path / "zarr.json"
    replaced = Document(path)
    for text in (b"first", b"second", b"third"):
        replaced.replace(text)
    with failing(step, cut_off), pytest.raises(KeyboardInterrupt):
        replaced.replace(b"fourth")
    with path.open("rb") as shown, Path(temporary_of(path)).open("rb") as other:
        was = shown.read(), other.read()
        replaced.replace(b"fifth")
        shown.seek(0)
        other.seek(0)
        assert (shown.read(), other.read()) == was
    assert path.read_bytes() == b"fifth"


@pytest.mark.usefixtures("nobody_reads")
def test_another_file_in_its_place_is_not_written_over(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "zarr.json", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    replaced = Document(path)
    for text in (b"first", b"second"):
        replaced.replace(text)
    Path(temporary_of(path)).unlink()
    Path(temporary_of(path)).symlink_to(elsewhere)
    replaced.replace(b"third")
    assert path.read_bytes() == b"third"
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == b"not ours"
