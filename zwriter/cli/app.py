"""The app itself: what it is called, what it ends with, how errors are told."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from zwriter import __version__
from zwriter.errors import StoreError, ZwriterError

HELP = """Writes a beamline's scans from Redis to Zarr v3 stores, which can be read while they grow,
and to HDF5/NeXus master files.

**Exit codes**

- 0: done; a scan that is complete
- 1: failed; something is left to be repaired
- 2: wrong usage: an option, a path, a setting
- 3: a scan with gaps
- 4: a store or a file that is damaged, cannot be read, or is none
- 5: another writer has the scan
- 6: Redis or the object store cannot be reached, or refuses
"""


class _Commands(TyperGroup):
    """Commands whose errors are one line on stderr and the exit code that the error has."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ZwriterError as error:
            typer.echo(f"zwriter: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except MemoryError as error:  # of what a damaged store says, perhaps
            typer.echo(f"zwriter: there is not enough memory: {error}", err=True)
            raise typer.Exit(1) from error
        except BrokenPipeError:  # who reads what we print has had enough: typer's business
            raise
        except OSError as error:
            typer.echo(f"zwriter: {_of_file(error)}", err=True)
            raise typer.Exit(StoreError.exit_code) from error


def _of_file(error: OSError) -> str:
    told = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"{told}; check its permissions" if isinstance(error, PermissionError) else told


app = typer.Typer(
    name="zwriter",
    cls=_Commands,
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(help=HELP)
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which this is.")
    ] = False,
) -> None:
    """Without a command there is nothing to do."""


def print_json(value: Any, indent: int | None = 2) -> None:
    """For programs to read."""
    typer.echo(json.dumps(value, indent=indent, ensure_ascii=False))
