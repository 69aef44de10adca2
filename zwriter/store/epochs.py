"""Who writes a scan: epochs, of which the last counts.

Each epoch is a file beside the store, created if absent, which its writer keeps locked as long as
it lives. So a successor knows whether the writers before it are dead, and whether their machine
has run without a break since then; see docs/decisions/0005-durability.md for what follows.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from zwriter.errors import Fenced, PlaceTaken
from zwriter.failpoint import failpoint
from zwriter.store.disk import flush, make_folder, sync_folder, write_all

_BOOT = Path("/proc/sys/kernel/random/boot_id")
EPOCHS = "epochs"


class Epoch:
    """Our time as the writer of a scan; the writer before us is fenced from now on.

    scan_id: of the scan, if it is known; if not, nobody who is alive is fenced. same_boot: all that
    was written before us, here, since the machine was started, can be read; alone: and nobody who
    wrote it is alive. synced: what was sealed before us is on the disk. Raises Fenced when another
    successor was quicker, PlaceTaken if the writer before us has another scan there, or, without a
    scan_id, is alive.
    """

    def __init__(self, side: Path, durability: str, scan_id: str | None) -> None:
        self._folder = side / EPOCHS
        make_folder(self._folder, sync=durability != "none")
        numbers = sorted(_numbers(self._folder))
        before = [_Claim(self._folder / str(number)) for number in numbers]
        _refuse_another(side, before, scan_id)  # it may have begun just now, and say nothing else
        self.number = max(numbers, default=0) + 1
        failpoint("epoch.claiming")
        self._fd = self._claim(durability, scan_id)
        failpoint("epoch.claimed")
        fresh = not numbers and not any((side / "commits").glob("*"))
        known = bool(numbers) and all(claim.boot == boot_id() for claim in before)
        self.same_boot = fresh or known
        self.alone = self.same_boot and all(claim.dead for claim in before)
        self.synced = self.same_boot or (
            bool(before) and all(claim.durability in ("commit", "seal") for claim in before)
        )

    def _claim(self, durability: str, scan_id: str | None) -> int:
        temporary = self._folder / f".{uuid4().hex}"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with suppress(OSError):  # where there are no locks, nobody is known to be dead
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            writer = {"boot": boot_id(), "host": socket.gethostname(), "pid": os.getpid()}
            claim = writer | {"durability": durability, "scan_id": scan_id}
            write_all(fd, [json.dumps(claim).encode()], 0)
            if durability != "none":
                flush(fd)
            (self._folder / str(self.number)).hardlink_to(temporary)
        except FileExistsError:
            os.close(fd)
            quicker = _Claim(self._folder / str(self.number))
            _refuse_another(self._folder.parent, [quicker], scan_id)
            raise Fenced(f"{self._folder.parent}: another writer takes it over too") from None
        except BaseException:
            os.close(fd)
            raise
        finally:
            with suppress(OSError):
                temporary.unlink()
        if durability != "none":
            sync_folder(self._folder)
        return fd

    def check(self) -> None:
        """Raises Fenced if another writer has taken over."""
        if max(_numbers(self._folder), default=0) != self.number:
            raise Fenced(f"{self._folder.parent}: another writer has taken the scan over")

    def settle(self) -> None:
        """Nothing is left that a writer before us could still change: forget them."""
        for number in _numbers(self._folder):
            if number < self.number:
                (self._folder / str(number)).unlink(missing_ok=True)

    def distrust(self) -> None:
        """Let a successor know that what we wrote may be lost, though the machine goes on."""
        os.ftruncate(self._fd, 0)

    def close(self) -> None:
        """Let a successor know that we are gone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def living_writer(side: Path) -> str | None:
    """Who has the scan, "process 12 on beamline-7"; None if all who wrote it are dead."""
    for number in sorted(_numbers(side / EPOCHS), reverse=True):
        path = side / EPOCHS / str(number)
        claim = _Claim(path)
        if not claim.dead and path.exists():
            return claim.writer
    return None


def died_here(side: Path) -> bool:
    """Whether all who wrote a scan are known to be dead: they were processes of this machine."""
    claims = []
    with suppress(OSError):  # what may not be read says nothing
        claims = [_Claim(side / EPOCHS / str(number)) for number in _numbers(side / EPOCHS)]
    here = socket.gethostname()
    return bool(claims) and all(claim.dead and claim.host == here for claim in claims)


def claimed_id(side: Path) -> str | None:
    """The scan_id that the last one who gave one has given; None if nobody has."""
    numbers = sorted(_numbers(side / EPOCHS))
    return _last_id([_Claim(side / EPOCHS / str(number)) for number in numbers])


def _last_id(claims: list[_Claim]) -> str | None:
    return next((claim.scan_id for claim in reversed(claims) if claim.scan_id), None)


def _refuse_another(side: Path, claims: list[_Claim], scan_id: str | None) -> None:
    known = _last_id(claims)
    if scan_id and known not in (None, scan_id):
        raise PlaceTaken(f"{side} has another scan, {known}: choose another path")
    if scan_id is None and (alive := [claim for claim in claims if claim.alive]):
        raise PlaceTaken(f"{side} has a scan of {alive[-1].writer}: choose another path")


def _numbers(folder: Path) -> list[int]:
    try:
        return [int(entry.name) for entry in os.scandir(folder) if entry.name.isdigit()]
    except FileNotFoundError:
        return []


class _Claim:
    """What a writer's epoch says of it; of one that cannot be read, nothing is known."""

    def __init__(self, path: Path) -> None:
        self.dead = self.alive = False  # neither is known where there are no locks
        document: Any = None
        with suppress(OSError, ValueError):
            document = json.loads(path.read_bytes())
        known = document if isinstance(document, dict) else {}
        self.boot: str | None = known.get("boot") or None
        self.durability: str | None = known.get("durability")
        self.host: str | None = known.get("host")
        self.scan_id: str | None = known.get("scan_id")
        self.writer = f"process {known.get('pid', '?')} on {self.host or '?'}"
        with suppress(OSError), path.open("rb") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
                self.dead = True
            except BlockingIOError:
                self.alive = True


def boot_id() -> str:
    """Tells this run of this machine from any other; empty where there is no such thing."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
