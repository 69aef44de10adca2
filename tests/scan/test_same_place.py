"""Two scans that begin at the same place at the same moment, as two services may have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from zwriter.errors import PlaceTaken, UsageError
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.testing.failpoints import at_pass, failing


def begin(path: Path, scan_id: str) -> ScanWriter | PlaceTaken:
    try:
        return ScanWriter(path, scan_id=scan_id, master=None)
    except PlaceTaken as error:
        return error


@pytest.mark.parametrize(
    ("step", "first"),
    [("epoch.claiming", "other"), ("epoch.claimed", "one")],
    ids=["before it is claimed", "before anything else is there"],
)
def test_one_has_it_and_the_other_is_told(tmp_path: Path, step: str, first: str) -> None:
    path = tmp_path / "S1.zarr"
    begun: dict[str, ScanWriter | PlaceTaken] = {}
    with failing(step, at_pass(lambda: begun.update(other=begin(path, "other")), 1)):
        begun["one"] = begin(path, "one")
    own, told = begun.pop(first), begun.popitem()[1]
    assert f"has another scan, {first}: choose another path" in str(told)
    assert isinstance(own, ScanWriter)
    with own:
        own.add("mcs", "counts", 1)
    assert verify(path).problems == []
    scan = open_scan(path)
    assert scan.scan_id == first
    assert scan.devices["mcs"]["counts"].value[:].tolist() == [1]


def test_what_a_link_beside_a_store_leads_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "file").touch()
    (tmp_path / "S1.zwriter").symlink_to(tmp_path / "somebodys")
    with pytest.raises(UsageError, match="is a link"):
        ScanWriter(tmp_path / "S1.zarr", master=None)
    assert [entry.name for entry in (tmp_path / "somebodys").iterdir()] == ["file"]
