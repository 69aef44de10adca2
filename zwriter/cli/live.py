"""Commands that talk to Redis: run, demo, simulate, replay."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from zwriter.cli.app import app
from zwriter.cli.configuration import Config, StorageOptions, settings_of
from zwriter.errors import UsageError

RedisUrl = Annotated[
    str,
    typer.Option(
        "--redis", metavar="URL", help="redis://host:6379/0, rediss://... or unix:///path"
    ),
]


@app.command(rich_help_panel="Write")
def run(
    redis: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Redis to read from. Default: redis://localhost:6379/0.",
            show_default=False,
        ),
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder for scans, or s3://bucket/prefix. Default: data.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    storage_option: StorageOptions = None,
) -> None:
    """Write every scan that is published in a Redis, until SIGINT or SIGTERM.

    A scan goes where its file_components say if that lies below the root, otherwise to
    `<root>/S00000-00999/S00001/S00001.zarr`. After a crash or a kill the open scans are resumed.
    Settings come from --config, then ZWRITER__* of the environment, then the options here.

    **Example**: `zwriter run --redis redis://localhost:6379/0 --root /data/scans`

    **Example**: `zwriter run --root s3://lake/proposal-1234 --storage-option endpoint=https://s3.example.org`
    """
    from zwriter.service import run as run_service

    overrides: dict[str, Any] = {}
    if redis is not None:
        overrides["redis"] = {"url": redis}
    if root is not None:
        overrides["root"] = root
    settings = settings_of(config, overrides, storage_option)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    for chatty in ("botocore", "aiobotocore"):  # where credentials were found, each time
        logging.getLogger(chatty).setLevel(logging.WARNING)
    run_service(settings, _stop_on_signals(), lambda: typer.echo("zwriter is ready", err=True))


@app.command(rich_help_panel="Try")
def demo(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where all is written.")] = Path(
        "demo-data"
    ),
    seconds: Annotated[float, typer.Option(min=1, help="How long the scan takes.")] = 10.0,
) -> None:
    """Show it all on this machine: an embedded Redis, the service, a simulated scan, the result."""
    from zwriter.sim.demo import run_demo

    run_demo(directory, seconds)


@app.command(rich_help_panel="Try")
def simulate(
    redis: RedisUrl,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="SPEC", help="A device; again for more.", show_default=False),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="How long the scan takes.")] = 10.0,
    scan_number: Annotated[
        int | None, typer.Option(min=0, help="Default: the next one.", show_default=False)
    ] = None,
) -> None:
    """Publish a simulated scan of devices that push at their own pace, without any beamline.

    **SPEC** is `[NAME:]KIND[:FIELD]...`, where a FIELD is a row's shape (512x512), a dtype (u2),
    pushes a second (50Hz), or rows in one push (x100).

    **KIND** is scalars, vectors, spectra, frames, ragged, slices, pieces, replace, multi or
    dynamic; without --device there is one of each.

    **Example**: `zwriter simulate --redis redis://localhost:6379/0
    --device eiger:frames:512x512:u2:50Hz --device adc:scalars:x1000:10Hz --seconds 30`
    """
    from zwriter.protocol import Publisher, asking, connect
    from zwriter.sim.devices import DEFAULT_SPECS
    from zwriter.sim.devices import device as device_of
    from zwriter.sim.simulation import Simulation, next_scan_number

    devices = [device_of(spec) for spec in device or DEFAULT_SPECS]
    with asking(redis), connect(redis) as client:
        number = next_scan_number(client) if scan_number is None else scan_number
        simulation = Simulation(devices, seconds=seconds, scan_number=number)
        simulation.run(Publisher(client), _stop_on_signals())
    pushed = sum(simulation.pushed.values())
    typer.echo(f"scan {number} ({simulation.scan_id}): {pushed} updates")


@app.command(rich_help_panel="Try")
def replay(
    capture: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="A .msgpack.gz file.")
    ],
    redis: RedisUrl,
    speed: Annotated[
        float, typer.Option(help="1: as it was; 10: ten times faster; inf: at once.")
    ] = 1.0,
    data_root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Replaces /bec-data in messages.", show_default=False),
    ] = None,
) -> None:
    """Send captured Redis traffic again, as it came.

    **Example**: `zwriter replay scan.msgpack.gz --redis redis://localhost:6379/0 --speed 10
    --data-root /data/scans`
    """
    from zwriter.protocol import asking, connect
    from zwriter.sim.replay import replay as replay_capture

    if not speed > 0:
        raise UsageError(f"--speed {speed}: it must be above 0")
    with asking(redis), connect(redis) as client:
        count = replay_capture(capture, client, speed=speed, data_root=data_root)
    typer.echo(f"{count} commands")


def _stop_on_signals() -> threading.Event:
    """An event that SIGINT or SIGTERM sets; a second one ends the process at once."""
    stop = threading.Event()

    def ask(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    return stop
