"""Objects that are read ahead: in order, many at once, and never more than there is room for."""

from __future__ import annotations

from threading import Event, Lock

import pytest

from zwriter.objects import ReadAhead, ahead, place, reading
from zwriter.objects.paths import ObjectPath


def test_results_come_in_order_whichever_is_done_first():
    done = [Event() for _ in range(3)]

    def job(number: int) -> int:
        if number < 2:
            assert done[number + 1].wait(30)
        done[number].set()
        return number

    assert list(ahead((1, lambda n=n: job(n)) for n in range(3))) == [0, 1, 2]


def test_what_is_begun_and_not_used_up_has_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "LIMIT", 30)
    lock, begun = Lock(), 0

    def job() -> int:
        nonlocal begun
        with lock:
            begun += 1
        return begun

    for taken, _ in enumerate(ahead([(10, job)] * 20)):
        assert begun <= taken + 3


def test_what_is_larger_than_the_limit_is_read_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "LIMIT", 30)
    assert list(ahead([(100, lambda: "large"), (100, lambda: "larger")])) == ["large", "larger"]


def test_an_error_comes_at_its_place():
    def fail() -> int:
        raise OSError("gone")

    results = ahead([(1, lambda: 1), (1, fail), (1, lambda: 3)])
    assert next(results) == 1
    with pytest.raises(OSError, match="gone"):
        next(results)


@pytest.mark.s3
def test_objects_are_read_forwards_one_after_the_other(
    bucket: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reading, "PIECE", 7)
    data = {f"s3://{bucket}/a/{n}": bytes(range(n)) for n in (0, 5, 7, 30, 100)}
    paths = []
    for url, content in data.items():
        path = place(url)
        assert isinstance(path, ObjectPath)
        path.write_bytes(content)
        paths.append(path)
    sizes = paths[0].parent.sizes()
    assert sizes == {url: len(content) for url, content in data.items()}

    whole = ReadAhead(paths, sizes)
    assert [whole.open(path).read() for path in paths] == list(data.values())

    parts = ReadAhead([paths[4], paths[3], paths[4].with_name("not there")], sizes)
    with parts.open(paths[4]) as file:
        file.seek(3)
        assert file.read(20) == bytes(range(3, 23))
        file.seek(60)
        assert file.read(1) == bytes([60])
        with pytest.raises(ValueError, match="read already"):
            file.seek(10)
    with parts.open(paths[3]) as file:
        assert file.read(1000) == bytes(range(30))
        assert file.read(1) == b""
    with pytest.raises(FileNotFoundError, match="not there is missing"):
        parts.open(paths[4].with_name("not there"))
