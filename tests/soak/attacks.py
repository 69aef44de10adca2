"""What is done to a scan while it is written. Each attack is a function of an Arena."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import zwriter
from tests.soak.arena import Arena, tmpfs
from zwriter.protocol import keys
from zwriter.testing.proxy import proxy
from zwriter.testing.waiting import until

Attack = Callable[[Arena], None]
_SOURCES = Path(zwriter.__file__).parent
FAILPOINTS = sorted(
    {
        name
        for source in _SOURCES.rglob("*.py")
        for name in re.findall(r'failpoint\("([a-z_.]+)"\)', source.read_text())
    }
)


def undisturbed(arena: Arena) -> None:
    """Nothing: what the others are compared with."""
    arena.start_service()
    arena.start_load()
    _until_loaded(arena)


def kills(arena: Arena) -> None:
    """kill -9 at any moment, also while it starts and while it finishes the scan."""
    _start_both(arena)
    while arena.loading or arena.rng.random() < 0.7:
        arena.pause(0.1, 1.5)
        if arena.written:
            break
        _kill(arena, "kill -9")


def failpoint_kills(arena: Arena) -> None:
    """The process dies at a step of its own: between any two writes that belong together."""
    arena.start_load()
    arena.start_service(_kill_at(arena))
    while arena.loading or arena.rng.random() < 0.8:
        arena.pause(0.5, 2.0)
        if arena.written:
            break
        if arena.service.alive:
            _kill(arena, "kill -9", _kill_at(arena))
        else:
            arena.done["killed at a failpoint"] += 1
            arena.start_service(_kill_at(arena))


def second_writers(arena: Arena) -> None:
    """SIGSTOP, a second service takes over, SIGCONT: the first one must find itself replaced."""
    _start_both(arena)
    while arena.loading and arena.seconds_left > 2:
        arena.pause(0.3, 1.0)
        old = arena.service
        old.process.send_signal(signal.SIGSTOP)
        new = arena.another_service()
        until(lambda new=new: new.said("zwriter is ready") or not new.alive, "the second writer")
        arena.pause(0.2, 1.0)
        old.process.send_signal(signal.SIGCONT)
        arena.done["SIGSTOP, second writer, SIGCONT"] += 1
        # one that was stopped while it started takes the scan over in its turn
        until(lambda old=old, new=new: old.fenced or new.fenced or arena.written, "one to give way")
        loser, arena.service = (new, old) if new.fenced else (old, new)
        loser.kill()


def redis_restarts(arena: Arena) -> None:
    """Redis is killed or stopped and comes back with all that it had."""
    _start_both(arena)
    while arena.loading:
        arena.pause(0.5, 2.5)
        how = arena.rng.choice(["kill -9", "SIGTERM"])
        arena.broker.kill() if how == "kill -9" else arena.broker.terminate()
        time.sleep(arena.rng.uniform(0, 1.0))
        arena.broker.start()
        arena.done[f"Redis {how}, restart"] += 1
        if arena.rng.random() < 0.3:
            _kill(arena, "kill -9")


def redis_forgets(arena: Arena) -> None:
    """Redis is killed and comes back with nothing."""
    _start_both(arena)
    arena.lossy = True
    while arena.seconds_left > 3:
        arena.pause(1.0, 2.5)
        arena.broker.kill()
        arena.broker.forget()
        arena.broker.start()
        arena.done["Redis kill -9, restart without its data"] += 1
    _until_loaded(arena)


def connections(arena: Arena) -> None:
    """The network between service and Redis is cut, closed for a while, and slow."""
    network = arena.stack.enter_context(proxy(arena.broker.url))
    arena.service_url = network.url
    _start_both(arena)
    while arena.loading:
        arena.pause(0.1, 0.7)
        match arena.rng.choice(["cut", "cut", "closed", "slow"]):
            case "cut":
                network.cut()
                arena.done["connections cut"] += 1
            case "closed":
                network.open = False
                network.cut()
                time.sleep(arena.rng.uniform(0.1, 1.5))
                network.open = True
                arena.done["network closed for a while"] += 1
            case "slow":
                network.delay = arena.rng.uniform(0.01, 0.2)
                arena.pause(0.3, 1.0)
                network.delay = 0.0
                arena.done["network slow for a while"] += 1


def trims(arena: Arena) -> None:
    """Streams are cut or removed before they are read, with the service there and away."""
    _start_both(arena)
    arena.lossy = True
    while arena.seconds_left > 2:
        arena.pause(0.3, 1.0)
        away = arena.rng.random() < 0.7
        if away:
            arena.service.kill()
            arena.done["kill -9"] += 1
            arena.pause(0.2, 0.8)
        with arena.broker.client as client:
            names = client.keys(keys.async_signal(arena.load.scan_id, "*", "*"))
            for name in arena.rng.sample(names, min(3, len(names))):
                if arena.rng.random() < 0.2:
                    client.delete(name)
                    arena.done["stream removed"] += 1
                else:
                    client.xtrim(name, maxlen=arena.rng.randint(0, 5), approximate=False)
                    arena.done["stream trimmed"] += 1
        if away:
            arena.start_service()
    _until_loaded(arena)


def publisher_restarts(arena: Arena) -> None:
    """The publisher is killed and begins anew, its counters at 0."""
    _start_both(arena)
    for _ in range(arena.rng.randint(1, 2)):
        arena.pause(1.0, 2.0)
        if not arena.loading:
            break
        arena.kill_load()
        arena.start_load()
        arena.done["publisher kill -9, restart"] += 1
        if arena.rng.random() < 0.5:
            _kill(arena, "kill -9")
    _until_loaded(arena)


def full_disks(arena: Arena) -> None:
    """The disk is full for a while, again and again."""
    disk = arena.folder / "disk"
    arena.stack.enter_context(tmpfs(disk, 48))
    arena.root = disk / "data"
    _start_both(arena)
    while arena.loading:
        arena.pause(0.3, 1.0)
        ballast = disk / "ballast"
        _fill(ballast)
        arena.done["disk full, freed after a while"] += 1
        arena.pause(0.5, 1.5)
        _kill(arena, "kill -9") if arena.rng.random() < 0.2 else None
        arena.pause(0.2, 0.5)
        ballast.unlink()
    if not arena.service.alive:
        arena.done["service ended on a full disk"] += 1


def _start_both(arena: Arena) -> None:
    arena.start_service()
    arena.start_load()
    arena.wait_for_load()


def _until_loaded(arena: Arena) -> None:
    while arena.loading:
        time.sleep(0.05)


def _kill(arena: Arena, what: str, failpoints: str = "") -> None:
    if arena.service.alive:
        arena.service.kill()
        arena.done[what] += 1
    elif arena.service.failpoints:
        arena.done["killed at a failpoint"] += 1
    time.sleep(arena.rng.choice([0, 0, 0.5]))
    arena.start_service(failpoints)


def _kill_at(arena: Arena) -> str:
    chosen = arena.rng.sample(FAILPOINTS, 4)
    return ",".join(f"{name}=kill@{arena.rng.choice([1, 1, 2, 5, 20])}" for name in chosen)


def _fill(path: Path) -> None:
    """Take all the room there is, but for a few kB at most."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for size in (1 << 20, 1 << 14, 1 << 12):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError:
                continue
    finally:
        os.close(fd)


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        undisturbed,
        kills,
        failpoint_kills,
        second_writers,
        redis_restarts,
        redis_forgets,
        connections,
        trims,
        publisher_restarts,
        full_disks,
    )
}
