"""What the demo shows: the partial scan, the master file's tree, the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from zwriter.reader import Scan

_LONG = 40
"""a group with more members than that is shown as their number"""


def print_partial(console: Console, scan: Scan) -> None:
    """What `open_scan` finds in a scan that is still being written."""
    console.rule("half-way: open_scan() on the running scan", align="left")
    console.print(f"status {scan.status}, verdict {scan.verdict}, {len(scan.devices)} devices")
    table = Table(box=None)
    for heading in ("device", "signal", "layout", "shape", "dtype", "newest"):
        table.add_column(heading)
    for name, signals in scan.devices.items():
        for key, signal in signals.items():
            shape = "x".join(map(str, signal.value.shape))
            table.add_row(
                name, key, signal.layout, shape, str(signal.value.dtype), _newest(signal.rows)
            )
    console.print(table)
    console.rule("and it goes on", align="left")


def _newest(rows: Any) -> str:
    """The last row, shortened."""
    if not len(rows):
        return ""
    row = rows[len(rows) - 1]
    if row.ndim == 0:
        return f"{row[()]:g}"
    items = ", ".join(f"{item:g}" for item in row.ravel()[:4])
    return f"[{items}{', ...' if row.size > 4 else ''}]"


def tree(path: Path) -> Tree:
    """The groups, datasets and links of an HDF5 file."""
    with h5py.File(path) as file:
        root = Tree(path.name)
        _grow(root, file)
    return root


def _grow(branch: Tree, group: h5py.Group) -> None:
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            branch.add(f"{name} {_what(group.get(name))} [cyan]-> {link.filename}[/cyan]")
        elif isinstance(link, h5py.SoftLink):
            branch.add(f"{name} [cyan]-> {link.path}[/cyan]")
        elif not isinstance(group[name], h5py.Group):
            branch.add(f"{name} {_what(group[name])}")
        elif len(group[name]) > _LONG:
            branch.add(f"[bold]{name}[/bold] ({len(group[name])} members)")
        else:
            _grow(branch.add(f"[bold]{name}[/bold]"), group[name])


def _what(dataset: h5py.Dataset | None) -> str:
    if dataset is None:
        return "[red](broken)[/red]"
    return f"[dim]{'x'.join(map(str, dataset.shape)) or 'scalar'} {dataset.dtype}[/dim]"


def print_result(console: Console, scan: Scan, master: Path, log: Path) -> None:
    """The verdict, and where everything lies."""
    colour = "green" if scan.verdict == "COMPLETE" else "red"
    console.print(f"\nverdict [bold {colour}]{scan.verdict}[/bold {colour}]")
    console.print(f"store   {scan.path}\nmaster  {master}\nlog     {log}")
    console.print(
        f"""
To look further:
  zwriter show {scan.path}
  zwriter verify {scan.path}
  python -c "import zwriter; print(zwriter.open_scan({json.dumps(str(scan.path))}).devices)"
""",
        soft_wrap=True,
    )
