from __future__ import annotations

from pathlib import Path

import pytest

from tests.ship.lake import Lake
from zwriter.testing.s3_faults import S3Faults


@pytest.fixture
def lake(
    tmp_path: Path, s3_network: S3Faults, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> Lake:
    """An empty bucket; writers try again soon, say so at once, and wait for few seconds."""
    monkeypatch.setattr("zwriter.ship.outage._LONGEST_PAUSE", 0.2)
    monkeypatch.setattr("zwriter.ship.outage._TELL", 0.0)
    patience = {"connect_timeout": "5s", "timeout": "5s"}
    monkeypatch.setattr("zwriter.objects.clients._OF_LITTLE", patience)
    return Lake(s3_network, bucket, tmp_path)
