"""The shortest campaign: two scans, real processes. `make soak-quick` and `make soak` do more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.campaign import run


@pytest.mark.slow
def test_a_scan_whose_writer_is_killed_and_one_whose_redis_is_restarted_are_as_promised(
    tmp_path: Path,
) -> None:
    lines = run("short", 1, tmp_path / "log")
    assert [line["problems"] for line in lines] == [[], []]
