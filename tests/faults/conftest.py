from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults import workload
from tests.faults.forks import Forks
from tests.faults.steps import order_for


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """Writes scans in processes that may be killed."""
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> dict[str, Any]:
    """What an undisturbed writer leaves."""
    path = tmp_path_factory.mktemp("calm") / "S1.zarr"
    assert forks.write(path, **order_for("", "none"))["status"] == 0
    return workload.contents(path)
