"""The demo: an embedded Redis, the service in its own process, a simulated scan, the result."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

from rich.console import Console
from rich.live import Live

from zwriter.errors import ServiceError
from zwriter.protocol import FileReference, Publisher, connect, decode, embedded_redis, keys
from zwriter.reader import Scan, listing, open_scan
from zwriter.service import run
from zwriter.settings import load_settings
from zwriter.sim import picture
from zwriter.sim.devices import DEFAULT_SPECS, device
from zwriter.sim.progress import Progress
from zwriter.sim.simulation import Simulation
from zwriter.store.disk import check_folder

TIMEOUT = 60.0
"""seconds that the service may take to start, to begin a store, to finish a scan"""


def run_demo(directory: Path, seconds: float = 10.0) -> None:
    """Show on the terminal how a scan is written, read half-way and finished, all in `directory`.

    Raises UsageError if `directory` cannot be written, ServiceError when the service does not do
    its part in time.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    root, log = directory / "scans", directory / "zwriter.log"
    for folder in (directory, root, directory / "redis"):
        check_folder("the folder", folder)
    console.print("[bold]zwriter demo[/bold]: an embedded Redis, the service, a simulated scan")
    with (
        _sigterm_as_ctrl_c(),
        embedded_redis(directory / "redis") as server,
        _service(server.url, root, log),
    ):
        simulation = Simulation(
            [device(spec) for spec in DEFAULT_SPECS],
            seconds=seconds,
            scan_number=_next_number(root),
        )
        console.print(
            f"scan {simulation.scan_number}: {len(simulation.devices)} devices push for "
            f"{seconds:g} s, {simulation.points} scan points\n"
        )
        with _running(simulation, server.url) as ended:
            scan = _watch(simulation, root, ended, console)
        master = _wait_for_master(server.url, simulation.scan_id)
    scan.refresh()
    picture.print_result(console, scan, master, log)


def _watch(simulation: Simulation, root: Path, ended: threading.Event, console: Console) -> Scan:
    """Show the progress until the scan has ended, and half-way what a reader sees."""
    scan = open_scan(_store_of(simulation, root))
    progress = Progress(simulation)
    looked = False
    with Live(console=console, auto_refresh=False) as live:
        while not ended.wait(0.2):
            scan.refresh()
            progress.update(scan)
            if console.is_terminal:
                live.update(progress.table(), refresh=True)
            elif progress.second_has_passed():
                console.print(progress.line())
            if not looked and time.time() > simulation.start + simulation.seconds / 2:
                looked = True
                picture.print_partial(console, open_scan(scan.path))
    console.print("\nthe scan has ended; the service reads what is left and finishes it")
    return scan


@contextmanager
def _running(simulation: Simulation, url: str) -> Iterator[threading.Event]:
    """Publish the scan from a thread; the event is set when it has ended."""
    ended, stop = threading.Event(), threading.Event()

    def publish() -> None:
        try:
            with Publisher(url) as publisher:
                simulation.run(publisher, stop)
        finally:
            ended.set()

    thread = threading.Thread(target=publish, name="simulation")
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """So that what was started ends, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _service(url: str, root: Path, log: Path) -> Iterator[None]:
    """The service, as `zwriter run` runs it, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_serve, args=(url, root, log, ready), name="zwriter run")
    process.start()
    try:
        deadline = time.monotonic() + TIMEOUT
        while not ready.wait(0.1):
            if not process.is_alive() or time.monotonic() > deadline:
                raise ServiceError(f"the service did not start; {log} says why")
        yield
    finally:
        process.terminate()
        process.join()


def _serve(url: str, root: Path, log: Path, ready: Event) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and then ends us
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        run(load_settings(root=root, redis={"url": url}), stop, ready.set)
    except Exception:
        logging.getLogger(__name__).exception("the service failed")
        raise SystemExit(1) from None


def _next_number(root: Path) -> int:
    return 1 + max((line.get("scan_number") or 0 for line in listing(root)), default=0)


def _store_of(simulation: Simulation, root: Path) -> Path:
    """The scan's store, as soon as the service has begun it."""

    def find() -> Path | None:
        for line in listing(root):
            if simulation.scan_id and line.get("scan_id") == simulation.scan_id:
                return Path(line["path"])
        return None

    return _wait(find, "the service has not begun a store")


def _wait_for_master(url: str, scan_id: str) -> Path:
    """The master file's path, when the service says that it is done."""
    with connect(url) as client:

        def done() -> Path | None:
            raw = client.get(keys.scan_file(scan_id, "master"))
            message = FileReference.of(decode(raw)) if isinstance(raw, bytes) else None
            return Path(message.file_path) if message and message.done else None

        return _wait(done, "the service has not finished the scan")


def _wait(find: Callable[[], Path | None], fault: str) -> Path:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if path := find():
            return path
        time.sleep(0.1)
    raise ServiceError(f"{fault} after {TIMEOUT:g} s")
