"""The table of all scans, of a folder and of a bucket; DuckDB and pandas read it."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import obstore
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.reader.test_scan import write_all_kinds
from zwriter.errors import StoreError, UsageError
from zwriter.objects import place
from zwriter.reader import catalog, open_scan
from zwriter.scan import ScanWriter
from zwriter.settings import StoreSettings
from zwriter.testing.mirror import mirror

QUICK = StoreSettings(flush_interval=60, durability="none")


def write(path: Path, number: int, rows: int = 3, **options: Any) -> None:
    options = {"settings": QUICK, "master": None} | options
    with ScanWriter(path, scan_id=f"id{number}", scan_number=number, **options) as writer:
        for i in range(rows):
            writer.add("eiger", "image", np.ones((4, 3), np.uint16), 1.7e9 + i)


def rows_of(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out).to_pylist()


@pytest.fixture
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catalog") / "scans.parquet"


def test_there_is_a_row_a_scan_running_ones_too(tmp_path: Path, out: Path, where):
    write(tmp_path / "deeper" / "S2.zarr", 2)
    with ScanWriter(tmp_path / "S1.zarr", scan_number=1, settings=QUICK, master=None) as writer:
        writer.add("mcs", "counts", 5)
        writer.commit()
        assert catalog(where(tmp_path), out) == (2, 2, 0)
        live, finished = rows_of(out)
        summary = open_scan(where(tmp_path / "deeper" / "S2.zarr")).summary()

    assert [row["scan_number"] for row in (live, finished)] == [1, 2]
    assert [row["finished"] for row in (live, finished)] == [False, True]
    assert [row["verdict"] for row in (live, finished)] == [None, "COMPLETE"]
    assert [signal["rows"] for signal in live["signals"]] == [1]
    for name in ("scan_id", "status", "path"):
        assert finished[name] == summary[name]
    assert finished["path"] == str(where(tmp_path / "deeper" / "S2.zarr"))
    assert finished["start_time"].timestamp() == pytest.approx(summary["start_time"], abs=1e-5)
    assert finished["start_time"].utcoffset().total_seconds() == 0
    assert finished["bytes"] == 3 * 4 * 3 * 2
    assert finished["signals"] == [
        {
            "device": "eiger",
            "signal": "image",
            "layout": "rows",
            "shape": [3, 4, 3],
            "dtype": "uint16",
            "rows": 3,
            "missing": 0,
            "quarantined": 0,
        }
    ]


def test_signals_of_every_layout_are_as_show_tells_them(tmp_path: Path, out: Path):
    with ScanWriter(tmp_path / "S1.zarr", settings=QUICK, master=None) as writer:
        write_all_kinds(writer, 0, 20)
    catalog(tmp_path, out)
    (row,) = rows_of(out)
    shown = open_scan(tmp_path / "S1.zarr").summary()["devices"]
    assert row["signals"]
    for signal in row["signals"]:
        facts = shown[signal["device"]].pop(signal["signal"])
        named = {k: v for k, v in signal.items() if k not in ("device", "signal")}
        assert named == {name: facts[name] for name in named}
    assert not any(shown.values())


def test_finished_scans_are_not_read_again_and_others_are(tmp_path: Path, out: Path, where):
    for number in (1, 2, 3):
        write(tmp_path / f"S{number}.zarr", number)
    with ScanWriter(tmp_path / "S4.zarr", scan_number=4, settings=QUICK, master=None) as writer:
        writer.add("mcs", "counts", 5)
        writer.commit()
        assert catalog(where(tmp_path), out) == (4, 4, 0)
        first = rows_of(out)
    shutil.rmtree(tmp_path / "S2.zarr")
    write(tmp_path / "S5.zarr", 5)

    assert catalog(where(tmp_path), out) == (4, 2, 0)
    rows = rows_of(out)
    assert [row["scan_number"] for row in rows] == [1, 3, 4, 5]
    assert rows[0] == first[0]
    assert rows[2]["finished"]
    assert catalog(where(tmp_path), out) == (4, 0, 0)
    assert rows_of(out) == rows


def test_a_master_file_is_found_even_if_it_comes_after_the_scan_is_finished(
    tmp_path: Path, out: Path, where
):
    write(tmp_path / "S1.zarr", 1)
    write(tmp_path / "a" / "S2.zarr", 2)
    catalog(where(tmp_path), out)
    assert [row["master"] for row in rows_of(out)] == [None, None]
    (tmp_path / "S1_master.h5").touch()
    (tmp_path / "S1_master_again.h5").touch()
    (tmp_path / "a" / "S2_master_low.h5").touch()
    (tmp_path / "a" / "S22_master.h5").touch()
    catalog(where(tmp_path), out)
    names = ("S1_master.h5", "a/S2_master_low.h5")
    assert [row["master"] for row in rows_of(out)] == [str(where(tmp_path / n)) for n in names]


def of_no_column(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Root documents with values that the table cannot take."""
    for name, value in (("scan_number", 2**70), ("scan_number", "one"), ("start_time", 1e300)):
        damaged = copy.deepcopy(root)
        damaged["attributes"]["zwriter"][name] = value
        yield damaged


def test_what_is_damaged_has_a_row_that_says_so_and_is_looked_at_again(
    tmp_path: Path, out: Path, where
):
    write(tmp_path / "S1.zarr", 1)
    document = tmp_path / "S1.zarr" / "zarr.json"
    whole = document.read_text()
    nodes = (broken := json.loads(whole))["consolidated_metadata"]["metadata"]
    device = nodes["entry/collection/devices/eiger"]["attributes"]["zwriter"]
    device["signals"]["image"]["arrays"]["value"]["dtype"] = "nonsense"
    for text in ("{", json.dumps(broken), "{}", *map(json.dumps, of_no_column(json.loads(whole)))):
        document.write_text(text)
        assert catalog(where(tmp_path), out).wrong == 1
        (row,) = rows_of(out)
        assert ("S1.zarr" in row["path"], row["scan_id"], row["finished"]) == (True, None, False)
        assert row["error"]
    document.write_text(whole)
    catalog(where(tmp_path), out)
    assert [(row["scan_id"], row["error"]) for row in rows_of(out)] == [("id1", None)]


def test_duckdb_and_pandas_read_it(tmp_path: Path, out: Path):
    for number in (1, 2):
        write(tmp_path / f"S{number}.zarr", number, rows=number)
    catalog(tmp_path, out)
    query = f"""
        select scan_number, signal.signal, signal.rows, year(start_time) > 2020
        from (select *, unnest(signals) as signal from '{out}')
        where verdict = 'COMPLETE' and signal.shape[3] = 3 order by scan_number"""
    assert duckdb.sql(query).fetchall() == [(1, "image", 1, True), (2, "image", 2, True)]
    frame = pd.read_parquet(out)
    assert frame.scan_number.tolist() == [1, 2]
    assert str(frame.start_time.dtype) == "datetime64[us, UTC]"
    assert [signals[0]["rows"] for signals in frame.signals] == [1, 2]


@pytest.mark.s3
def test_the_table_may_be_in_the_bucket(tmp_path: Path, s3, bucket, requests_for_whole_objects):
    write(tmp_path / "S1.zarr", 1)
    url = mirror(tmp_path, s3, bucket)
    table = f"{url}/tables/scans.parquet"
    assert catalog(url, table) == (1, 1, 0)
    requests_for_whole_objects.clear()
    assert catalog(url, table) == (1, 0, 0)
    assert requests_for_whole_objects == [
        ("get", "tables/scans.parquet"),
        ("put", "tables/scans.parquet"),
    ]
    assert duckdb.read_parquet(place_locally(table, tmp_path)).fetchall()[0][0] == "id1"


def place_locally(url: str, folder: Path) -> str:
    (folder / "copy.parquet").write_bytes(place(url).read_bytes())
    return str(folder / "copy.parquet")


@pytest.fixture
def requests_for_whole_objects(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is read and written: operation and key."""
    asked, get, put = [], obstore.get, obstore.put
    monkeypatch.setattr(obstore, "get", lambda *a: (asked.append(("get", a[1])), get(*a))[1])
    monkeypatch.setattr(
        obstore, "put", lambda *a, **k: (asked.append(("put", a[1])), put(*a, **k))[1]
    )
    return asked


def test_a_folder_without_scans_is_an_empty_table(tmp_path: Path, out: Path):
    assert catalog(tmp_path, out) == (0, 0, 0)
    assert duckdb.sql(f"select count(*) from '{out}'").fetchall() == [(0,)]


def test_what_cannot_be_used_is_told_and_nothing_is_overwritten(tmp_path: Path, out: Path):
    write(tmp_path / "S1.zarr", 1)
    with pytest.raises(UsageError, match="is no folder"):
        catalog(tmp_path / "nowhere", out)
    with pytest.raises(UsageError, match="is one scan"):
        catalog(tmp_path / "S1.zarr", out)
    with pytest.raises(UsageError, match="cannot be read"):
        catalog(tmp_path, tmp_path)
    out.write_text("a letter")
    with pytest.raises(UsageError, match="no catalog of this zwriter"):
        catalog(tmp_path, out)
    assert out.read_text() == "a letter"
    pd.DataFrame({"a": [1]}).to_parquet(out)
    with pytest.raises(UsageError, match="no catalog of this zwriter"):
        catalog(tmp_path, out)
    with pytest.raises((UsageError, StoreError)):
        catalog(tmp_path, tmp_path / "S1.zarr" / "zarr.json" / "scans.parquet")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, out: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install pyarrow"):
        catalog(tmp_path, out)
