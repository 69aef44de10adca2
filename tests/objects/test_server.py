"""The S3 server of the tests does what zwriter relies on, whichever it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest
from obstore.exceptions import AlreadyExistsError

pytestmark = pytest.mark.s3


def test_of_many_who_create_an_object_one_succeeds(storage, bucket, s3):
    """At once, but on moto: it looks first and creates then, so two may succeed."""
    writer = storage.writer(bucket)

    def create(number: int) -> int:
        try:
            obstore.put(writer, "commits/1", str(number).encode(), mode="create")
        except AlreadyExistsError:
            return 0
        return 1

    with ThreadPoolExecutor(1 if s3.kind == "moto" else 8) as pool:
        assert sum(pool.map(create, range(16))) == 1


def test_what_was_written_is_listed_and_read_at_once(storage, bucket):
    writer = storage.writer(bucket)
    for number in range(20):
        obstore.put(writer, f"x/{number}", bytes(number))
        names = {entry["path"] for page in obstore.list(writer, "x") for entry in page}
        assert names == {f"x/{n}" for n in range(number + 1)}
        assert len(obstore.get(writer, f"x/{number}").bytes()) == number


def test_part_of_an_object_can_be_read(storage, bucket):
    writer = storage.writer(bucket)
    obstore.put(writer, "x", bytes(range(100)))
    assert bytes(obstore.get_range(writer, "x", start=10, end=20)) == bytes(range(10, 20))
