"""Framed logs: what was appended whole is read back, whatever happened at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zwriter.errors import StoreError
from zwriter.store.framed import FramedLog, read_frames


def write(path: Path, *payloads: bytes) -> Path:
    with FramedLog(path) as log:
        for payload in payloads:
            log.append(payload)
        log.sync()
    return path


def test_records_are_read_in_the_order_in_which_they_were_appended(tmp_path: Path) -> None:
    path = write(tmp_path / "log", b"one", b"two")
    write(path, b"three")
    assert list(read_frames(path)) == [b"one", b"two", b"three"]


@given(cut=st.integers(1, 8 + 50))
def test_a_record_that_was_cut_off_does_not_exist(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = write(tmp_path_factory.mktemp("log") / "log", b"kept", b"x" * 50)
    path.write_bytes(path.read_bytes()[:-cut])
    assert list(read_frames(path)) == [b"kept"]
    write(path, b"next")
    assert list(read_frames(path)) == [b"kept", b"next"]


def test_zeros_that_a_power_cut_left_are_no_record(tmp_path: Path) -> None:
    path = write(tmp_path / "log", b"kept")
    path.write_bytes(path.read_bytes() + bytes(100))
    assert list(read_frames(path)) == [b"kept"]
    write(path, b"next")
    assert list(read_frames(path)) == [b"kept", b"next"]


def test_damage_in_the_middle_is_told_and_nothing_is_cut_away(tmp_path: Path) -> None:
    path = write(tmp_path / "log", b"first", b"second")
    data = bytearray(path.read_bytes())
    data[8] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="the record at byte 0 is damaged"):
        list(read_frames(path))
    with pytest.raises(StoreError, match="damaged"):
        FramedLog(path)
    assert path.read_bytes() == data


def test_a_log_is_read_while_it_is_written(tmp_path: Path) -> None:
    with FramedLog(tmp_path / "log") as log:
        for count in range(3):
            assert len(list(read_frames(tmp_path / "log"))) == count
            log.append(b"record")


def test_a_link_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "somebodys").write_bytes(b"precious")
    (tmp_path / "log").symlink_to(tmp_path / "somebodys")
    with pytest.raises(OSError, match="symbolic links"):
        FramedLog(tmp_path / "log")
    assert (tmp_path / "somebodys").read_bytes() == b"precious"


def test_an_empty_record_is_refused(tmp_path: Path) -> None:
    with FramedLog(tmp_path / "log") as log, pytest.raises(ValueError, match="at least one byte"):
        log.append(b"")
