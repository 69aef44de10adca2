"""All scans below a folder as one Parquet table, to look for them with SQL or pandas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zwriter.errors import StoreError, UsageError
from zwriter.model import Ledger
from zwriter.objects import AnyPath, contents, each, place
from zwriter.reader.facts import committed_facts, facts
from zwriter.reader.listing import Found, ScanDocuments, find_scans, masters_of, scan_documents
from zwriter.store.array_state import dtype_from_json
from zwriter.store.disk import replace_file
from zwriter.store.layout import DEVICES

if TYPE_CHECKING:
    import pyarrow as pa


class Cataloged(NamedTuple):
    """How many scans a table has, how many of them were read for it, and how many are damaged, or
    could not be read."""

    scans: int
    read: int
    wrong: int


def catalog(
    root: str | AnyPath, out: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None
) -> Cataloged:
    """Write the Parquet table `out`, a row a scan store below the folder `root`.

    What `out` says of scans that were finished is taken over, except for their master files: a
    finished store does not change. Other scans are read, scans that are gone leave the table.
    root, out: on a disk or `s3://bucket/...`; storage_options: of the object store.

    Columns: scan_id, scan_number, start_time and end_time (UTC), status, verdict (null while it
    runs), finished, path and master (URLs or absolute paths; master is null where there is none),
    bytes (sum over signals: the size in memory of `value`, which is more than it takes on a disk;
    of strings without their text), signals: {device, signal, layout, shape, dtype, rows, missing,
    quarantined}. `shape` is that of `value`. What is read at scan points is there once the scan is
    finished, with missing and quarantined null: not known from documents. What looks like a store
    and is none, or is damaged, has a row that says so in `error`.

    Raises UsageError if pyarrow is not installed, `root` is no folder of scans or `out` is
    something else; OSError if a folder below `root` cannot be read, and so nobody knows what is in
    it; StoreError if `out` cannot be written.
    """
    check_pyarrow()
    import pyarrow as pa

    folder, file = (_absolute(place(path, storage_options)) for path in (root, out))
    if folder.suffix == ".zarr":
        raise UsageError(f"{root} is one scan; give the folder it is in")
    found = {str(scan.path): scan for scan in find_scans(folder)}
    if not found and not folder.is_dir():
        raise UsageError(f"{root} is no folder")
    known = _still_finished(_table(file), found)
    unknown = [found[path] for path in found.keys() - set(known["path"].to_pylist())]
    rows = [row for row in each(folder, _row, unknown) if row]
    table = pa.concat_tables([known, _table_of(rows, known.schema)]).sort_by("path")
    masters = [_master(found[path]) for path in table["path"].to_pylist()]
    column = table.schema.get_field_index("master")
    table = table.set_column(column, "master", pa.array(masters, pa.string()))
    _write(table, file)
    return Cataloged(len(table), len(rows), len(table) - table["error"].null_count)


def catalog_scan(
    store: AnyPath, out: str | AnyPath, *, storage_options: Mapping[str, Any] | None = None
) -> None:
    """Bring the row of one scan in the table `out` up to date; the others stay as they are.

    Who writes the same table from elsewhere at this moment may lose it: `catalog` finds it again.
    Raises as `catalog` does.
    """
    check_pyarrow()
    import pyarrow as pa
    import pyarrow.compute as pc

    store, file = _absolute(store), _absolute(place(out, storage_options))
    names = (name for name, is_folder in contents(store.parent).items() if not is_folder)
    scan = Found(store, masters_of(names).get(store.stem))
    table = _table(file)
    others = table.filter(pc.not_equal(table["path"], str(store)))
    rows = [{**row, "master": _master(scan)}] if (row := _row(scan)) else []
    _write(pa.concat_tables([others, _table_of(rows, table.schema)]).sort_by("path"), file)


def check_pyarrow() -> None:
    """Raises UsageError if it is not installed."""
    if find_spec("pyarrow") is None:
        raise UsageError("a catalog needs pyarrow: pip install pyarrow")


def _schema() -> pa.Schema:
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    texts = dict.fromkeys(("device", "signal", "layout"), pa.string())
    counts = dict.fromkeys(("rows", "missing", "quarantined"), pa.int64())
    signal = pa.struct({**texts, "shape": pa.list_(pa.int64()), "dtype": pa.string(), **counts})
    return pa.schema(
        {
            "scan_id": pa.string(),
            "scan_number": pa.int64(),
            "start_time": time,
            "end_time": time,
            "status": pa.string(),
            "verdict": pa.string(),
            "finished": pa.bool_(),
            "path": pa.string(),
            "master": pa.string(),
            "bytes": pa.int64(),
            "signals": pa.list_(signal),
            "error": pa.string(),
        }
    )


def _still_finished(table: pa.Table, found: Mapping[str, Found]) -> pa.Table:
    """What a table says of scans that were finished and are still there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    still_there = pc.is_in(table["path"], pa.array(found, pa.string()))
    return table.filter(pc.and_(table["finished"], still_there))


def _table(file: AnyPath) -> pa.Table:
    """The table that is there; an empty one if there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    try:
        table = pq.read_table(pa.BufferReader(file.read_bytes()))
    except FileNotFoundError:
        return schema.empty_table()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    except pa.ArrowInvalid:
        table = None
    if table is None or not table.schema.equals(schema):
        raise UsageError(f"{file} is no catalog of this zwriter; remove it or give another name")
    return table


def _table_of(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as they are; of one with a value that its column cannot take, only that."""
    import pyarrow as pa

    try:
        return pa.Table.from_pylist(rows, schema)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        if len(rows) > 1:
            return pa.concat_tables(_table_of([row], schema) for row in rows)
        (row,) = rows
        told = {"finished": False, "error": f"its documents are damaged ({error})"}
        known = {name: row.get(name) for name in ("path", "master")}
        return pa.Table.from_pylist([known | told], schema)


def _row(scan: Found) -> dict[str, Any] | None:
    """None where there is no root document (yet): not a store."""
    path = str(scan.path)
    try:
        documents = scan_documents(scan.path)
        if documents is None:
            return None
        signals = [*_committed(documents), *_points(documents)]
    except (StoreError, OSError) as error:
        return {"path": path, "finished": False, "error": str(error)}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        told = f"its documents are damaged ({error!r})"
        return {"path": path, "finished": False, "error": told}
    root = documents.root
    names = ("scan_id", "scan_number", "status", "verdict")
    return {
        **{name: root.get(name) for name in names},
        **{name: _microseconds(root.get(name)) for name in ("start_time", "end_time")},
        "finished": bool(root.get("finished")),
        "path": path,
        "bytes": sum(signal["bytes"] for signal in signals),
        "signals": signals,
    }


def _committed(documents: ScanDocuments) -> list[dict[str, Any]]:
    return [
        {"device": device, "signal": name, **committed_facts(signal)}
        for device, commit in documents.commits().items()
        if commit
        for name, signal in commit.signals.items()
    ]


def _points(documents: ScanDocuments) -> list[dict[str, Any]]:
    """What was read at scan points, as arrays of a finished scan."""
    signals = []
    for node, group in documents.nodes.items():
        folder, _, name = node.rpartition("/")
        own = group.get("attributes", {}).get("zwriter", {})
        value = documents.nodes.get(f"{node}/value")
        if not folder.startswith(f"{DEVICES}/") or own.get("layout") != "points" or not value:
            continue
        shape, kind = tuple(value["shape"]), value["data_type"]
        if record := value.get("attributes", {}).get("zwriter", {}).get("record"):
            shape, kind = shape[:-1], record
        known = facts("points", shape, dtype_from_json(kind), shape[0], Ledger(), ragged=False)
        known |= {"missing": None, "quarantined": None}
        signals.append({"device": folder.removeprefix(f"{DEVICES}/"), "signal": name, **known})
    return signals


def _microseconds(seconds: float | None) -> int | None:
    return round(seconds * 1e6) if seconds is not None and math.isfinite(seconds) else None


def _master(scan: Found) -> str | None:
    path = str(scan.path)
    return f"{path.removesuffix(scan.path.name)}{scan.master}" if scan.master else None


def _absolute(path: AnyPath) -> AnyPath:
    return path.absolute() if isinstance(path, Path) else path


def _write(table: pa.Table, file: AnyPath) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    if not isinstance(file, Path):
        file.write_bytes(data)
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, data, sync=True)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error}") from error
