"""Processes that write a scan and may be killed, without the second that each needs to start.

Run as a program it waits for orders, one JSON object a line, and forks for each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Forks:
    """A process that forks writers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write(self, path: Path, **order: Any) -> dict[str, Any]:
        """`workload.write` in a process of its own: its exit `status`, how often each failpoint was
        passed, or the `error` that ended it."""
        return self._ask({"path": str(path), **order})

    @contextmanager
    def stopped(self, path: Path, **order: Any) -> Iterator[Callable[[], dict[str, Any]]]:
        """`write`, which stops at a failpoint. Call what is given to let it go on to its end."""
        pid = self._ask({"path": str(path), **order})["stopped"]
        try:
            yield lambda: self._ask({"pid": pid, "signal": signal.SIGCONT})
        finally:
            self._ask({"pid": pid, "signal": signal.SIGKILL})

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


def serve() -> None:
    """Fork for each order, or wake or kill one that has stopped."""
    from tests.faults import workload

    living: dict[int, int] = {}  # pid -> where it says what it has to say
    for line in sys.stdin:
        order = json.loads(line)
        if "path" in order:
            child = fork(order, workload, living)
        elif (child := order["pid"]) in living:
            os.kill(child, order["signal"])
        answer: dict[str, Any] = {}
        if child in living:
            status = os.waitpid(child, os.WUNTRACED)[1]
            if os.WIFSTOPPED(status):
                answer = {"stopped": child}
            else:
                with os.fdopen(living.pop(child)) as said:
                    answer = json.loads(said.read() or "{}")
                answer["status"] = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)


def fork(order: dict[str, Any], workload: Any, living: dict[int, int]) -> int:
    """The pid of a process that follows the order."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        passes: dict[str, int] = {}
        try:
            passes = follow(order, workload)
        finally:
            error = sys.exc_info()[1]
            answer = {"error": repr(error)} if error else {"passes": passes}
            os.write(writes, json.dumps(answer).encode())
            os._exit(1 if error else 0)
    os.close(writes)
    living[child] = reads
    return child


def follow(order: dict[str, Any], workload: Any) -> dict[str, int]:
    """Write the scan; how often each failpoint was passed.

    failpoints: as in the environment; durability, counts: see workload; rival: another writer has
    the scan open all the time; plain: the file system cannot exchange folders in one step;
    finalize: the scan is not written, but finished as it is; record: where what is synced goes (see
    power); boot: tells this run of the machine from any other.
    """
    import traceback

    from tests.faults.power import recording
    from zwriter import failpoint
    from zwriter.scan import ScanWriter
    from zwriter.service.finalize import finalize
    from zwriter.settings import Settings
    from zwriter.store import epochs, exchange
    from zwriter.testing.failpoints import watched

    path, settings = Path(order["path"]), workload.settings(order["durability"])
    record = Path(order["record"]) if "record" in order else None

    def note(what: str, positions: dict[str, str]) -> None:
        if record is not None:
            (record / what).write_text(json.dumps(positions))

    try:
        if order.get("plain"):
            exchange._renameat2 = None
        if "boot" in order:
            epochs.boot_id = lambda: str(order["boot"])
        with recording(path.parent, record) if record else nullcontext():
            if order.get("rival"):
                rival = ScanWriter(path, scan_id=workload.SCAN_ID, settings=settings)
                workload.control_messages(rival, 1)
                workload.send(rival, "vectors", 3)
                workload.send(rival, "words", 3)
                rival.commit()
            failpoint.activate(order.get("failpoints", ""))
            with watched() as passes:
                if order.get("finalize"):
                    finalize(path, Settings(store=settings))
                else:
                    workload.write(path, settings, order["counts"], note)
    except BaseException:
        traceback.print_exc()
        raise
    return dict(passes)


if __name__ == "__main__":
    serve()
