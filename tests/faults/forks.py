"""Processes that write a scan and may be killed, without the second that each needs to start.

Run as a program it waits for orders, one JSON object a line, and forks for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
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
        """`workload.write` in a process of its own; what it said, and its exit `status`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"path": str(path), **order}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        self._process.communicate()


def serve() -> None:
    """Fork for each order."""
    from tests.faults import workload

    for line in sys.stdin:
        order, answers = json.loads(line), os.pipe()
        child = os.fork()
        if child == 0:
            try:
                passes = follow(order, workload)
                os.write(answers[1], json.dumps(passes).encode())
            finally:
                os._exit(1 if sys.exc_info()[0] else 0)
        os.close(answers[1])
        with os.fdopen(answers[0]) as said:
            passes = said.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "passes": json.loads(passes or "{}")}), flush=True)


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
    from zwriter.store import epochs, takeover
    from zwriter.testing.failpoints import watched

    path, settings = Path(order["path"]), workload.settings(order["durability"])
    record = Path(order["record"]) if "record" in order else None

    def note(what: str, positions: dict[str, str]) -> None:
        if record is not None:
            (record / what).write_text(json.dumps(positions))

    try:
        if order.get("plain"):
            takeover._renameat2 = None
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
