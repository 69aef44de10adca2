"""A document takes the place of another in one step, and who reads the other one still can."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from zwriter.store import exchange
from zwriter.store.disk import link_in_place, replace_file, temporary_of
from zwriter.testing.failpoints import failing


def cut_off() -> None:
    raise KeyboardInterrupt


@pytest.fixture(params=["exchanged", "not known here", "only renamed"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that exchange names, do not, and say that they do."""

    def rename(_: int, new: bytes, __: int, path: bytes, ___: object) -> int:
        Path(new.decode()).rename(path.decode())
        return 0

    if request.param == "not known here":
        monkeypatch.setattr(exchange, "_renameat2", None)
    elif request.param == "only renamed":
        monkeypatch.setattr(exchange, "_renameat2", rename)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("sync", [False, True])
def test_a_document_takes_the_place_of_another(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "zarr.json"
    for text in (b"a long one", b"one", b"another"):
        replace_file(path, text, sync=sync)
        assert path.read_bytes() == text
        assert [file.name for file in tmp_path.iterdir()] == ["zarr.json"]


@pytest.mark.usefixtures("system")
def test_a_file_is_put_in_the_place_of_another_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "shown" / "zarr.json"
    path.parent.mkdir()
    for number, text in enumerate((b"a long one", b"one", b"another")):
        file = tmp_path / str(number)
        file.write_bytes(text)
        Path(temporary_of(path)).write_bytes(b"of a writer that died")
        for _ in range(2):  # the second time it is there already
            link_in_place(file, path)
            assert path.samefile(file)
            assert [file.name for file in path.parent.iterdir()] == ["zarr.json"]
    assert (tmp_path / "1").read_bytes() == b"one"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM])
def test_a_copy_is_there_where_folders_cannot_share_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "1").write_bytes(b"one")
    link_in_place(tmp_path / "1", tmp_path / "zarr.json")
    assert (tmp_path / "zarr.json").read_bytes() == b"one"


def test_who_has_a_document_open_reads_it_whatever_comes_after_it(tmp_path: Path) -> None:
    path = tmp_path / "zarr.json"
    replace_file(path, b"first")
    with path.open("rb") as reader:
        with failing("file.exchanged", cut_off), pytest.raises(KeyboardInterrupt):
            replace_file(path, b"second")
        assert Path(temporary_of(path)).read_bytes() == b"first"
        replace_file(path, b"third")
        assert reader.read() == b"first"
    assert path.read_bytes() == b"third"
    assert [file.name for file in tmp_path.iterdir()] == ["zarr.json"]
