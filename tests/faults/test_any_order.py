"""Sent, committed, killed, stalled, taken over, trimmed, reset, finished: in any order, nothing is
lost that Redis still held, nothing is there twice, and what is lost is named."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.faults import workload
from tests.faults.workload import MODES, SCAN_ID, contents, stream_of, update
from tests.scan.adding import Impatient
from zwriter import failpoint
from zwriter.errors import ZwriterError
from zwriter.failpoint import at_pass
from zwriter.model import ScanState
from zwriter.scan import ScanWriter
from zwriter.testing.failpoints import watched

pytestmark = pytest.mark.slow

EXAMPLES = 2000 if "ZWRITER_SOAK" in os.environ else 40
POINTS = 3


class Killed(BaseException):
    """Stands for kill -9: nothing that catches errors catches this."""


def open_writer(path: Path) -> ScanWriter:
    return ScanWriter(
        path,
        scan_id=SCAN_ID,
        scan_number=1,
        settings=workload.settings(),
        master=None,
        patience=Impatient(),
    )


def let_go(writer: ScanWriter) -> None:
    """Close what the kernel closes when a process dies, and do nothing else."""
    for device in writer._store.devices.values():
        device.close()
    writer._store._closing.close()


class Stalled:
    """A writer that stops in the middle of something, as by SIGSTOP, until it is woken."""

    def __init__(self, work: Callable[[], Any], name: str, number: int) -> None:
        self._stopped, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._action = at_pass(self._stop, number)
        failpoint.active[name] = self._of_thread
        self._thread.start()
        while self._thread.is_alive() and not self._stopped.wait(0.001):
            pass
        del failpoint.active[name]

    @property
    def still(self) -> bool:
        """Whether it stopped, and did not get to the end."""
        return self._stopped.is_set()

    def _of_thread(self) -> None:
        if threading.current_thread() is self._thread:
            self._action()

    def _stop(self) -> None:
        self._stopped.set()
        self._go_on.wait()

    def _run(self, work: Callable[[], Any]) -> None:
        ignoring_errors(work)

    def wake(self) -> None:
        self._go_on.set()
        self._thread.join(120)
        assert not self._thread.is_alive()


def ignoring_errors(work: Callable[[], Any]) -> None:
    """What a writer that was replaced does; whatever it runs into, its successor is not harmed."""
    with contextlib.suppress(ZwriterError, OSError):
        work()


def failpoints_passed() -> list[str]:
    """Those that a scan passes which is taken over in the middle."""
    with tempfile.TemporaryDirectory() as folder, watched() as passes:
        path = Path(folder) / "S1.zarr"
        rival = open_writer(path)
        workload.send(rival, "scalars", 5)
        rival.commit()
        workload.write(path, workload.settings(), [5])
        let_go(rival)
    return sorted(name for name in passes if not name.startswith("master."))


FAILPOINTS = st.sampled_from(failpoints_passed())
PASSES = st.integers(1, 12)
OPERATIONS = st.sampled_from(["read", "commit", "points", "finish"])


class AnyOrder(RuleBasedStateMachine):
    """`sent` is what Redis got of each stream, `trimmed` up to where it has forgotten it."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "S1.zarr"
        self.sent = dict.fromkeys(MODES, 0)
        self.trimmed = dict.fromkeys(MODES, 0)
        self.lost: dict[str, set[int]] = {signal: set() for signal in MODES}
        self.replaced: list[ScanWriter] = []
        self.stalled: list[Stalled] = []
        self.writer = open_writer(self.path)
        workload.control_messages(self.writer, 0)

    @property
    def done(self) -> bool:
        return self.writer.finished

    # --- what happens ---

    @rule(signal=st.sampled_from(list(MODES)), count=st.integers(1, 40))
    def push(self, signal: str, count: int) -> None:
        if not self.done:
            self.sent[signal] += count * (20 if signal == "scalars" else 1)

    @rule(signal=st.sampled_from(list(MODES)), share=st.floats(0, 1))
    def trim(self, signal: str, share: float) -> None:
        self.trimmed[signal] = max(self.trimmed[signal], int(self.sent[signal] * share))

    @rule()
    def reset(self) -> None:
        """Redis is replaced by one that has nothing."""
        self.trimmed = dict(self.sent)

    @rule(operation=OPERATIONS.filter(lambda operation: operation != "finish"))
    def go_on(self, operation: str) -> None:
        self.survive(lambda: self.operate(self.writer, operation))

    @rule()
    def publish(self) -> None:
        def ahead_of_the_commit() -> None:
            for device in self.writer._store.devices.values():
                device.publish()
            self.writer._store.write_points()

        if not self.done:
            self.survive(ahead_of_the_commit)

    @rule(name=FAILPOINTS, number=PASSES)
    def kill_at(self, name: str, number: int) -> None:
        """From the next step on."""

        def kill() -> None:
            del failpoint.active[name]
            raise Killed

        failpoint.active[name] = at_pass(kill, number)

    @rule(alive=st.booleans())
    def restart(self, alive: bool) -> None:
        if not self.done:
            self.replace(alive=alive)

    @rule(name=FAILPOINTS, number=PASSES, operation=OPERATIONS)
    def stall(self, name: str, number: int, operation: str) -> None:
        """The writer stops in the middle of an operation; a successor takes over."""
        failpoint.active.clear()
        writer = self.writer
        if operation == "finish":
            self.operate(writer, "end")
        stalled = Stalled(lambda: self.operate(writer, operation), name, number)
        if stalled.still:
            self.stalled.append(stalled)
            self.replace(alive=True)

    @precondition(lambda self: self.stalled)
    @rule()
    def wake(self) -> None:
        self.stalled.pop(0).wake()

    @precondition(lambda self: self.replaced and not self.stalled)
    @rule(operation=OPERATIONS, which=st.integers(0, 9))
    def one_that_was_replaced_goes_on(self, operation: str, which: int) -> None:
        failpoint.active.clear()
        writer = self.replaced[which % len(self.replaced)]
        ignoring_errors(lambda: self.operate(writer, operation))
        ignoring_errors(writer.commit)

    # --- how ---

    def operate(self, writer: ScanWriter, operation: str) -> None:
        """Something that a writer does, be it ours or one that was replaced."""
        if writer.finished:
            return
        if operation in ("read", "end"):
            for signal in MODES:
                self.read(writer, signal)
        if operation == "end":
            self.announce(writer)
        if operation in ("points", "end"):
            state = "closed" if operation == "end" else "open"
            workload.control_messages(writer, POINTS, state)
        if operation == "commit":
            writer.commit()
        if operation == "finish":
            writer.finish(ScanState.CLOSED)

    def read(self, writer: ScanWriter, signal: str) -> None:
        """What Redis still holds of a stream, behind what the writer has."""
        first = workload.read_up_to(writer, stream_of(signal))
        there = max(first, self.trimmed[signal])
        writer.apply([update(signal, n) for n in range(there, self.sent[signal])])
        if writer is self.writer:
            self.lost[signal] = {n for n in self.lost[signal] if n < first}
            if there < self.sent[signal]:
                self.lost[signal].update(range(first, there))

    def announce(self, writer: ScanWriter) -> None:
        """What the index lists, which are never trimmed, say that there was."""
        for signal, count in self.sent.items():
            if count:
                writer.expect(workload.device_of(signal), signal, count)

    def survive(self, work: Callable[[], Any]) -> None:
        try:
            work()
        except Killed:
            self.replace(alive=False)

    def replace(self, *, alive: bool) -> None:
        """A successor opens the scan."""
        if alive:
            self.replaced.append(self.writer)
        else:
            let_go(self.writer)
        while True:
            try:
                self.writer = open_writer(self.path)
                workload.control_messages(self.writer, 0)
            except Killed:
                continue
            return

    def finish(self) -> None:
        while True:
            try:
                self.operate(self.writer, "end")
                self.writer.finish(ScanState.CLOSED)
                self.writer.close()
            except Killed:
                if self.path.with_suffix(".zwriter").exists():
                    self.replace(alive=False)
                    continue
            return

    def teardown(self) -> None:
        try:
            self.finish()
            failpoint.active.clear()
            for stalled in self.stalled:
                stalled.wake()
            for writer in self.replaced:
                ignoring_errors(writer.commit)
                let_go(writer)
            self.compare()
        finally:
            failpoint.active.clear()
            for stalled in self.stalled:
                stalled.wake()
            shutil.rmtree(self.folder)

    def compare(self) -> None:
        assert [entry.name for entry in self.folder.iterdir()] == ["S1.zarr"]
        calm_path = self.folder / "calm" / "S1.zarr"
        calm_path.parent.mkdir()
        calm = open_writer(calm_path)
        workload.control_messages(calm, POINTS)
        for signal, count in self.sent.items():
            lost = self.lost[signal]
            lost.update(range(workload.read_up_to(self.writer, stream_of(signal)), count))
            calm.apply([update(signal, n) for n in range(count) if n not in lost])
        self.announce(calm)
        workload.control_messages(calm, POINTS, "closed")
        calm.finish(ScanState.CLOSED)
        calm.close()
        got, expected = contents(self.path), contents(calm_path)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name] == value, name
        for device, signals in calm.ledgers.items():
            for signal, ledger in signals.items():
                assert ledger.received == ledger.written + ledger.quarantined
                if signal in self.sent:
                    gone = self.lost[signal]
                    assert self.sent[signal] == ledger.received + len(gone), (device, signal)
                    assert ledger.missing == len(gone)
                    if not ledger.received:
                        continue  # without a single number, ranges of numbers are not known
                    named = [range(a, b + 1) for a, b in ledger.missing_ranges]
                    assert {n for numbers in named for n in numbers} == gone


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
