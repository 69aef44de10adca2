from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.forks import Forks


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Writes scans in processes that may be killed."""
    forks = Forks()
    yield forks
    forks.close()
