"""What the demo shows: the partial scan, the master file's tree, the result."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from shlex import quote
from typing import Any

import h5py
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from zwriter.reader import Scan


def print_partial(console: Console, scan: Scan) -> None:
    """What `open_scan` finds in a scan that is still being written."""
    console.rule("half-way: open_scan() on the running scan", align="left")
    console.print(
        f"status {scan.status}, {'finished' if scan.finished else 'not finished'}, "
        f"{len(scan.devices)} devices"
    )
    table = Table("device", "signal", "layout", "shape", "dtype", "newest row", box=None)
    for name, signals in scan.devices.items():
        for key, signal in signals.items():
            dtype = str(signal.value.dtype)
            table.add_row(
                name, key, signal.layout, _shape(signal.value), dtype, _newest(signal.rows)
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


def _tree(path: Path) -> Tree:
    """The groups, datasets and links of an HDF5 file; a group of few datasets is one line."""
    with h5py.File(path) as file:
        root = Tree(path.name)
        _grow(root, file)
    return root


def _grow(branch: Tree, group: h5py.Group) -> None:
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            branch.add(f"{name} [cyan]-> {link.path}[/cyan]")
        elif not _is_group(group, name):
            branch.add(_dataset(group, name))
        elif _is_signal(group[name]):
            datasets = ", ".join(_dataset(group[name], member) for member in group[name])
            branch.add(f"[bold]{name}[/bold]: {datasets}")
        else:
            _grow(branch.add(f"[bold]{name}[/bold]"), group[name])


def _is_group(group: h5py.Group, name: str) -> bool:
    hard = isinstance(group.get(name, getlink=True), h5py.HardLink)
    return hard and isinstance(group[name], h5py.Group)


def _is_signal(group: h5py.Group) -> bool:
    return "value" in group and not any(_is_group(group, name) for name in group)


def _dataset(group: h5py.Group, name: str) -> str:
    link, dataset = group.get(name, getlink=True), group.get(name)
    target = f" [cyan]-> {link.filename}[/cyan]" if isinstance(link, h5py.ExternalLink) else ""
    if dataset is None:
        return f"{name}{target} [red]which cannot be read[/red]"
    return f"{name} [dim]{_what(dataset)}[/dim]{target}"


def _shape(array: Any) -> str:
    return "x".join(map(str, array.shape))


def _what(dataset: h5py.Dataset) -> str:
    return " ".join(part for part in (_shape(dataset), _dtype(dataset)) if part)


def _dtype(dataset: h5py.Dataset) -> str:
    if h5py.check_string_dtype(dataset.dtype):
        return "string"
    if rows := h5py.check_vlen_dtype(dataset.dtype):
        return f"ragged {rows}"
    if dataset.dtype.names:
        return f"of {', '.join(dataset.dtype.names)}"
    return str(dataset.dtype)


def print_result(console: Console, scan: Scan, master: Path, log: Path) -> None:
    """The master file's tree, the verdict, where everything lies, and how to look further."""
    console.print(f"\n[bold]The master file[/bold] {escape(str(master))}", soft_wrap=True)
    console.print(_tree(master))
    colour = "green" if scan.verdict == "COMPLETE" else "red"
    programs = _from_here(Path(sys.executable).parent)
    store = _from_here(Path(str(scan.path)))
    look = f"import zwriter; print(zwriter.open_scan({json.dumps(str(store))}).devices)"
    console.print(f"\n[bold]Verdict [{colour}]{scan.verdict}[/{colour}][/bold]")
    console.print(
        f"""\
store   {scan.path}
master  {master}
log     {log}

To look further:
  {quote(str(programs / "zwriter"))} show {quote(str(store))}
  {quote(str(programs / "zwriter"))} verify {quote(str(store))}
  {quote(str(programs / "python"))} -c {quote(look)}
""",
        soft_wrap=True,
        markup=False,
    )


def _from_here(path: Path) -> Path:
    here = Path.cwd()
    return path.absolute().relative_to(here) if path.absolute().is_relative_to(here) else path
