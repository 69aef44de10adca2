"""Commands on scans, on a disk or in a bucket: ls, show, tail, catalog, export, verify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zwriter.cli.app import app, print_json
from zwriter.cli.configuration import Config, StorageOptions, settings_of, storage_options

if TYPE_CHECKING:
    from zwriter.reader import Scan

ScanUrl = Annotated[
    str, typer.Argument(metavar="SCAN", help="The folder BASE.zarr, or its s3:// URL.")
]
Json = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command(rich_help_panel="Look")
def ls(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="Folder with scans, or its s3:// URL.")
    ] = ".",
    as_json: Json = False,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """List the scans below a folder, finished and running ones.

    Exit code 4: something there is damaged, or cannot be read; its line says so.
    """
    from zwriter.errors import StoreError
    from zwriter.reader import listing

    lines = listing(directory, storage_options=storage_options(config, storage_option))
    wrong = [line for line in lines if "error" in line]
    if as_json:
        print_json(lines)
    elif not lines:
        typer.echo(f"no scans below {directory}")
    else:
        _print(_listed(lines))
        if any(line.get("abandoned") for line in lines):
            typer.echo("dead: nobody is known to write them; `zwriter show PATH` says more")
        for line in wrong:
            typer.echo(f"{line['path']}: {line['error']}")
    if wrong:
        raise typer.Exit(StoreError.exit_code)


def _listed(lines: list[dict[str, Any]]) -> Any:
    table = _table("scan", "status", "verdict", "started", "devices", "rows", "missing", "path")
    for line in lines:
        if "error" in line:
            problem = "damaged" if line["readable"] else "cannot be read"
            path = _plain(line["path"])
            table.add_row("?", "", f"[red]{problem}[/red]", "", "", "", "", path)
            continue
        table.add_row(
            _number(line["scan_number"]),
            line["status"] or "",
            line["verdict"] or ("[red]dead[/red]" if line["abandoned"] else "[cyan]live[/cyan]"),
            _local_time(line["start_time"]),
            *(_plain(line[name]) for name in ("devices", "rows", "missing", "path")),
        )
    return table


@app.command(rich_help_panel="Look")
def show(
    scan: ScanUrl,
    as_json: Json = False,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """Show a scan: its status, its verdict, and what is known of each signal.

    With --json: scan_id, scan_number, status, verdict (null until it is finished) and, in devices,
    each signal's shape, dtype, expected, received, written, missing, short, cut and quarantined
    updates; in abandoned, that its writer is dead, and what to do about it (null where that is not
    known: it is on a disk, on the machine of the writer); in lag, how many seconds old each
    device's newest message was when it was committed (null if none came since the commit before);
    in gaps, what is known to be missing and why messages are in quarantine.
    """
    from zwriter import open_scan

    opened = open_scan(scan, storage_options=storage_options(config, storage_option))
    facts, gaps = opened.summary(), opened.gaps()
    if as_json:
        print_json(facts | {"gaps": gaps})
        return
    typer.echo(f"scan {_number(facts['scan_number'])}  {facts['scan_id']}")
    typer.echo(f"status {facts['status']}, verdict {facts['verdict'] or _no_verdict(facts)}")
    counts = ("expected", "received", "written", "missing", "short", "cut", "quarantined")
    table = _table("device", "signal", "shape", "dtype", *counts)
    for device, signals in facts["devices"].items():
        for signal, known in signals.items():
            table.add_row(
                _plain(device),
                _plain(signal),
                _shape(known),
                known["dtype"] or "",
                *("" if known[name] is None else str(known[name]) for name in counts),
            )
    _print(table)
    for line in gaps:
        typer.echo(line)


@app.command(rich_help_panel="Look")
def tail(
    scan: ScanUrl,
    as_json: Json = False,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """Follow a running scan: one line each time something new is there, until it is finished.

    With --json each line is an object: status, verdict, and updates written of each device.

    Exit code 1: its writer is dead, as far as that is known; see `zwriter show`.
    """
    from zwriter import open_scan

    told = None
    opened = open_scan(scan, storage_options=storage_options(config, storage_option))
    for now in _followed(opened):
        facts = now.summary()
        written = {
            device: sum(signal["written"] or 0 for signal in signals.values())
            for device, signals in facts["devices"].items()
        }
        known = {"status": facts["status"], "verdict": facts["verdict"], "written": written}
        if known == told:
            continue  # a commit of what a line does not show
        told = known
        if as_json:
            print_json(known, indent=None)
        else:
            counts = "  ".join(f"{device} {count}" for device, count in written.items())
            typer.echo(f"{facts['verdict'] or facts['status'] or 'no status yet'}  {counts}")


def _followed(scan: Scan) -> Iterator[Scan]:
    """`scan.follow()`. Raises ZwriterError once its writer is dead; a service may be back then."""
    from zwriter.errors import ZwriterError

    while True:
        yield from scan.follow()
        if scan.finished:
            return
        if dead := scan.abandoned:
            raise ZwriterError(f"{scan.path}: {dead}")


@app.command(rich_help_panel="Look")
def catalog(
    root: Annotated[
        str, typer.Argument(metavar="ROOT", help="Folder with scans, or its s3:// URL.")
    ],
    out: Annotated[
        str, typer.Argument(metavar="OUT.parquet", help="The table to write, or its s3:// URL.")
    ],
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """Write a Parquet table of all scans below a folder, for pandas, DuckDB and others.

    If the table is there, it is brought up to date: scans that it has as finished are not read
    again. docs/object-store.md tells its columns.

    Needs pyarrow (`pip install pyarrow`); exit code 2 without it, 4: something there is damaged, or
    cannot be read; the column `error` says so.
    """
    from zwriter.errors import StoreError
    from zwriter.reader import catalog as write_catalog

    done = write_catalog(root, out, storage_options=storage_options(config, storage_option))
    typer.echo(f"{out}: scans {done.scans}, read anew {done.read}")
    if done.wrong:
        typer.echo(f"{done.wrong} damaged, or cannot be read: the column `error` says which")
        raise typer.Exit(StoreError.exit_code)


@app.command(rich_help_panel="Keep")
def export(
    scan: ScanUrl,
    out: Annotated[
        str, typer.Argument(metavar="OUT.h5", help="The file to write, or its s3:// URL.")
    ],
    mode: Annotated[
        Literal["auto", "copy", "reference", "link"] | None,
        typer.Option(help="Default: as the settings say.", show_default=False),
    ] = None,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """Write a scan's HDF5/NeXus master file, again or elsewhere. What is there is replaced if it is
    such a file, and nothing else.

    **reference** links to the arrays where they are: keep the store beside it. **copy** makes a
    file that stands alone. **auto** copies what is small and links the rest. **link** is what
    **reference** is on a disk, for a scan in a bucket: the file has the URLs of the arrays, and
    links that work once the scan's folder is mirrored to a disk.

    To read compressed data h5py needs `import hdf5plugin`.
    """
    from zwriter import export as write_master

    settings = settings_of(config, {}, storage_option)
    options = dict(settings.storage)
    write_master(scan, out, mode=mode, settings=settings.master, storage_options=options)
    typer.echo(out)


@app.command(rich_help_panel="Keep")
def verify(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A BASE.zarr, a master file, or a folder of them, or an s3:// URL of one.",
        ),
    ],
    as_json: Json = False,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """Read all that a scan or a master file holds and say whether it is whole.

    Exit code 0: complete; 3: undamaged, with gaps, aborted or still running; 4: damaged, or cannot
    be read.
    """
    from zwriter import verify as verify_scan

    report = verify_scan(path, storage_options=storage_options(config, storage_option))
    if as_json:
        print_json(report.to_json())
    else:
        for line in (*report.problems, *report.gaps):
            typer.echo(line)
        typer.echo(f"{path}: {report.verdict or 'no verdict'}, {_problems(len(report.problems))}")
    raise typer.Exit(report.exit_code)


def _problems(count: int) -> str:
    return "no problems" if not count else f"but {count} problem{'s' * (count > 1)}"


def _no_verdict(facts: dict[str, Any]) -> str:
    if facts["abandoned"]:
        return f"- ({facts['abandoned']})"
    lag = max((lag for lag in facts["lag"].values() if lag is not None), default=None)
    # of a bucket it is not known whether the writer is alive
    runs = "it is not finished" if "://" in facts["path"] else "it still runs"
    return f"- ({runs})" if lag is None else f"- ({runs}, lag {lag:.1f} s)"


def _number(scan_number: int | None) -> str:
    return "?" if scan_number is None else str(scan_number)


def _plain(value: object) -> str:
    """As it is in a table: rich takes what is in brackets for markup."""
    from rich.markup import escape

    return escape(str(value))


def _shape(known: dict[str, Any]) -> str:
    if known["dtype"] is None:
        return "nothing"
    if known["ragged"]:
        return f"{known['rows']} ragged"
    return "x".join(map(str, known["shape"])) or "scalar"


def _local_time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    with suppress(OverflowError, ValueError, OSError, TypeError):
        return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(seconds)


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def _print(table: Any) -> None:
    from rich.console import Console

    # never cut: a narrow terminal folds long lines itself, and a pipe has no width
    Console(width=1000).print(table)
