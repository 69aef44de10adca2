"""Scans under attack, one after the other, each with a seed of its own; a line of JSON for each.

    python -m tests.soak.campaign --size full --log soak.jsonl

A log that is there is gone on with: its seed is taken, scans that it has are not done again. What
was not as promised is printed, is in the log, and its folder is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.soak.arena import Arena, Stuck
from tests.soak.attacks import ATTACKS
from tests.soak.load import Pushed
from tests.soak.oracle import Finding, judge, judge_master
from tests.soak.report import machine, report, write
from zwriter import export
from zwriter.testing.broker import broker

# how many scans of each attack, and how many seconds each is under load
SIZES: dict[str, tuple[float, dict[str, int]]] = {
    "full": (
        8.0,
        {
            "undisturbed": 2,
            "kills": 22,
            "failpoint_kills": 22,
            "second_writers": 10,
            "redis_restarts": 7,
            "redis_forgets": 4,
            "connections": 4,
            "trims": 6,
            "publisher_restarts": 5,
            "full_disks": 5,
        },
    ),
    "quick": (4.0, dict.fromkeys(ATTACKS, 1)),
    "short": (2.0, {"kills": 1, "redis_restarts": 1}),
}
LANES = 3  # scans at the same time: they wait much


def run(size: str, seed: int, log: Path, only: str | None = None) -> list[dict[str, Any]]:
    """Do what is not in the log yet; all its lines, but for the first, which says what it is of."""
    if not log.exists():
        log.write_text(json.dumps(_head(size, seed)) + "\n")
    head, *lines = [json.loads(line) for line in log.read_text().splitlines()]
    size, seed = head["size"], head["seed"]
    seconds, plan = SIZES[size]
    scans = [(attack, n) for attack, count in plan.items() for n in range(count)]
    random.Random(seed).shuffle(scans)
    done = {(line["attack"], line["seed"]) for line in lines}
    lock = threading.Lock()

    def one(attack: str, n: int) -> None:
        name = f"{seed}-{attack}-{n}"
        if (attack, name) in done or (only and attack != only):
            return
        line = attacked(attack, name, seconds)
        with lock:
            lines.append(line)
            with log.open("a") as file:
                file.write(json.dumps(line) + "\n")
            mark = "!!" if line["problems"] else "ok"
            print(mark, json.dumps(line), flush=True)

    with ThreadPoolExecutor(LANES) as lanes:
        futures = [lanes.submit(one, *scan) for scan in scans]
        try:
            for future in futures:
                future.result()
        except BaseException:
            lanes.shutdown(wait=False, cancel_futures=True)
            raise
    return lines


def _head(size: str, seed: int) -> dict[str, Any]:
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    return {"size": size, "seed": seed, "machine": machine(), "date": date, "commit": commit}


def attacked(attack: str, seed: str, seconds: float) -> dict[str, Any]:
    """One scan: attacked, finished, judged."""
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"zwriter-soak-{attack}-"))
    finding = Finding()
    with broker() as redis:
        arena = Arena(folder, redis, random.Random(seed), seconds)
        try:
            finding = _judged(arena, ATTACKS[attack])
        except Exception as error:  # noqa: BLE001 - the next scan is attacked all the same
            if not isinstance(error, Stuck | OSError):
                traceback.print_exc()
            finding.problems.append(f"{type(error).__name__}: {error}")
        finally:
            if finding.problems and arena.root.exists() and arena.root.parent != folder:
                shutil.copytree(arena.root, folder / "data", dirs_exist_ok=True)
            arena.close()
    pushes = Pushed.read(Path(arena.load.log)).count()
    if not finding.problems:
        shutil.rmtree(folder)
    return {
        "attack": attack,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "pushes": pushes,
        **asdict(finding),
        "done": dict(arena.done),
        **({"folder": str(folder)} if finding.problems else {}),
    }


def _judged(arena: Arena, attack: Callable[[Arena], None]) -> Finding:
    attack(arena)
    arena.until_written()
    service = arena.service
    code = service.stop() if service is not None and service.alive else 0
    finding = judge(arena.store, arena.load, arena.lossy)
    if code:
        finding.problems.append(f"asked to stop, the service ended with {code}")
    finding.problems += judge_master(arena.store, arena.master)
    for mode in ("reference", "copy"):
        again = (
            arena.folder / f"{mode}.h5" if mode == "copy" else arena.master.with_name("again.h5")
        )
        export(arena.store, again, mode=mode)
        finding.problems += judge_master(arena.store, again)
    return finding


def fuzzed(count: int) -> dict[str, Any]:
    """Messages made to harm, through all that reads them: see tests/fuzz."""
    command = [sys.executable, "-m", "tests.fuzz.run", "--inputs", str(count)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(ended.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        found = {"inputs": 0, "seconds": 0, "crashes": [ended.stderr[-300:] or "it ended early"]}
    text = (
        f"Fuzzing: {found['inputs']:,} inputs in {found['seconds']:.0f} s,"
        f" {len(found['crashes'])} crashes."
    )
    line = {"attack": "fuzz", "seed": "", "seconds": found["seconds"], "text": text}
    return {**line, "problems": found["crashes"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--log", type=Path, default=None)
    parser.add_argument("--only", choices=ATTACKS, default=None)
    parser.add_argument("--fuzz", type=int, default=0, help="this many inputs")
    parser.add_argument("--report", action="store_true", help="write docs/reliability.md")
    options = parser.parse_args()
    log = options.log or Path(tempfile.mkdtemp(prefix="zwriter-soak-")) / "soak.jsonl"
    print(f"seed {options.seed}, log {log}", flush=True)
    began = time.monotonic()
    lines = run(options.size, options.seed, log, options.only)
    if options.fuzz and not any(line["attack"] == "fuzz" for line in lines):
        lines.append(fuzzed(options.fuzz))
        with log.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    text = report(json.loads(log.read_text().partition("\n")[0]), lines)
    write(text) if options.report else print(text)
    bad = [line for line in lines if line["problems"]]
    print(f"{len(lines)} scans, {len(bad)} not as promised, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
