from __future__ import annotations

import pytest

from zwriter.objects.clients import ObjectStorage
from zwriter.settings import StorageSettings


@pytest.fixture
def storage(bucket: str) -> ObjectStorage:
    """The object store that the environment says."""
    return ObjectStorage(StorageSettings())
