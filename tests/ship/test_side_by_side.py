"""What is done side by side is ended before an error of it is told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from zwriter.ship.bucket import side_by_side


def test_what_is_under_way_when_one_fails_is_ended_first() -> None:
    failed, done = threading.Event(), []

    def work(number: int) -> None:
        if number == 0:
            failed.set()
            raise ValueError("refused")
        failed.wait(60)
        done.append(number)

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ValueError, match="refused"):
            side_by_side(pool, work, range(4), lambda: None)
        assert sorted(done) == [1, 2, 3]
