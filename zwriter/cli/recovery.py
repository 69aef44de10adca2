"""Commands for what a dead writer left: finalize, recover, prune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zwriter.cli.app import app, print_json
from zwriter.cli.configuration import Config, StorageOptions, settings_of
from zwriter.cli.scans import Json, ScanUrl


@app.command(rich_help_panel="Keep")
def finalize(scan: ScanUrl, config: Config = None, storage_option: StorageOptions = None) -> None:
    """Finish a scan whose writer is dead, and write its master file.

    The scan keeps what was committed. Redis is not read: where it still has the scan, start
    `zwriter run`, which goes on with it. So the scan is never COMPLETE, and ABORTED if its end was
    not heard. Of a scan that is finished, the master file is written again. Can be repeated.

    A scan for a bucket goes on from the spool, if this machine has begun it, else from the bucket.

    Exit code 0: complete; 3: with gaps or aborted; 4: damaged, or the disk refuses; 5: its writer
    is alive; 6: the object store cannot be reached.
    """
    from zwriter.model import Verdict
    from zwriter.service.finalize import finalize as finalize_scan

    verdict, master = finalize_scan(scan, settings_of(config, {}, storage_option))
    typer.echo(f"{verdict}, {master}")
    raise typer.Exit(0 if verdict is Verdict.COMPLETE else 3)


@app.command(rich_help_panel="Keep")
def recover(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Folder with scans.")],
    repair: Annotated[bool, typer.Option("--repair", help="Do what is listed.")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """List what a dead machine left below a folder; with --repair, mend it.

    Scans that are not finished are finished as `zwriter finalize` does it: if Redis still has them,
    start `zwriter run` first. Master files that are missing are written, and what was being written
    is removed. What a living writer has is left alone.

    With --json: path, state, problem and remedy of each, and, with --repair, done or error.

    Exit code 0: nothing is left to be repaired; 1: something is.
    """
    from zwriter.errors import UsageError
    from zwriter.objects import is_url, place
    from zwriter.service.recover import Outcome, leftovers
    from zwriter.service.recover import repair as repair_all

    if is_url(directory):
        raise UsageError(
            f"{directory}: give a folder; in a bucket `zwriter run` goes on with what was left,"
            " `zwriter finalize` ends a scan, `zwriter prune` lists the rest"
        )
    settings = settings_of(config, {})
    found = leftovers(Path(str(place(directory))), settings)
    outcomes = repair_all(found, settings) if repair else map(Outcome, found)
    lines, left = [], 0
    for outcome in outcomes:
        leftover = outcome.leftover
        left += not (outcome.done or leftover.harmless)
        line = {"path": str(leftover.path), "state": leftover.state}
        line |= {"problem": leftover.problem, "remedy": leftover.remedy}
        if repair:
            line |= {"done": outcome.done, "error": outcome.error}
        lines.append(line)
        if not as_json:
            typer.echo(f"{leftover.path}: {leftover.state}: {leftover.problem}")
            if told := outcome.done or outcome.error or leftover.remedy:
                typer.echo(f"    {told if repair else f'with --repair: {told}'}")
    if as_json:
        print_json(lines)
    else:
        typer.echo(f"{directory}: {left} to be repaired")
    raise typer.Exit(1 if left else 0)


@app.command(rich_help_panel="Keep")
def prune(
    root: Annotated[str, typer.Argument(metavar="URL", help="s3://bucket/prefix with scans.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove what nobody needs.")] = False,
    days: Annotated[
        float, typer.Option(min=0, help="Age from which uploads, and what was put aside, count.")
    ] = 1,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """List what scans for a bucket have left behind; with --remove, remove what nobody needs.

    That is, in the spool of this machine, scans that the bucket has whole, and what was put aside
    when a scan went on from the bucket; in the bucket, uploads that were begun and not ended. Scans
    in the spool that wait for the bucket are listed, and stay.
    """
    from zwriter.service.prune import remainders

    go = stay = 0
    for found in remainders(settings_of(config, {"root": root}, storage_option), days):
        go += not found.needed
        stay += found.needed
        now = found.what
        if remove and not found.needed:
            found.remove()
            now = "removed"
        typer.echo(f"{found.place}: {now} ({found.seconds / 3600:.1f} h)")
    told = "nothing to remove"
    if go:
        told = f"{go} removed" if remove else f"{go} that can go; --remove removes them"
    young = f"; uploads and what was put aside count after {days:g} d (--days)" if days else ""
    typer.echo(f"{root}: {told}{f'; {stay} that stay' if stay else ''}{young}")
