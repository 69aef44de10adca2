"""A document takes the place of another in one step, and who reads the other one still can."""

from __future__ import annotations

from pathlib import Path

import pytest

from zwriter.store import exchange
from zwriter.store.disk import replace_file, temporary_of
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
