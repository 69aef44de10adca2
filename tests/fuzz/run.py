"""Gives inputs to what reads them, and prints one line of JSON: how many, how long, what crashed.

    python -m tests.fuzz.run --inputs 1000000 --seed 7 --keep crashes/

Inputs are made at random, the same for the same seed. `--reach N` gives N more that are found by
what code they reach, where atheris is installed. Exit code 1 if anything crashed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.inputs import CORPUS, Inputs, corpus
from tests.fuzz.targets import TARGETS, Fuzzed

MEMORY = 4 * 1024**3  # bytes of address space: what takes more is a crash, not a machine that swaps

# how many of the inputs a target gets, of each 100: by what one costs
SHARES = {"decode": 30, "updates": 20, "status": 10, "replay": 10, "apply": 15, "together": 15}


def fuzz(inputs: int, seed: int) -> dict[str, Fuzzed]:
    """Give `inputs` random inputs to all targets, each its share."""
    found = {}
    for name, share in SHARES.items():
        source = Inputs(random.Random(f"{seed} {name}"), corpus())
        found[name] = fuzzed = Fuzzed(TARGETS[name])
        for _ in range(inputs * share // 100):
            fuzzed.give(source.one())
        fuzzed.close()
    return found


def reach(name: str, inputs: int, seed: int, keep: Path) -> tuple[int, str]:
    """Give a target inputs by libFuzzer, in a process of its own; (how many, what crashed)."""
    with tempfile.TemporaryDirectory() as folder:
        seeds = shutil.copytree(CORPUS, Path(folder, "seeds"))
        options = [f"-runs={inputs}", f"-seed={seed}", "-max_len=8192", "-rss_limit_mb=8192"]
        options += ["-timeout=60", f"-artifact_prefix={keep}/{name}-", str(seeds)]
        command = [sys.executable, "-m", "tests.fuzz.reach", name, *options]
        own = os.environ | {"TMPDIR": folder}  # libFuzzer ends the process: it leaves all it has
        ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, env=own)
    done = re.search(r"Done (\d+) runs", ended.stderr)
    if ended.returncode == 0 and done:
        return int(done[1]), ""
    lines = [line for line in ended.stderr.splitlines() if "Error" in line]
    return 0, f"{name}: {(lines or ['it died'])[0][:300]}"


def summary(found: dict[str, Fuzzed], seconds: float, **more: Any) -> dict[str, Any]:
    """What a run found, in a form that JSON can hold."""
    return {
        "inputs": sum(fuzzed.inputs for fuzzed in found.values()),
        "seconds": round(seconds, 1),
        "targets": {name: fuzzed.inputs for name, fuzzed in found.items()},
        "slowest_seconds": round(max(fuzzed.slowest for fuzzed in found.values()), 3),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "crashes": [f"{name}: {text}" for name, f in found.items() for _, text in f.crashes],
        **more,
    }


def write_crashes(found: dict[str, Fuzzed], folder: Path) -> None:
    """Write the inputs that crashed something."""
    for name, fuzzed in found.items():
        for number, (raw, text) in enumerate(fuzzed.crashes):
            (folder / f"{name}-{number}.msgpack").write_bytes(raw)
            (folder / f"{name}-{number}.txt").write_text(text + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--reach", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("fuzz-crashes"))
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    began, more = time.perf_counter(), {"seed": arguments.seed, "reached": 0}
    arguments.keep.mkdir(parents=True, exist_ok=True)
    crashes = []
    if arguments.reach and importlib.util.find_spec("atheris"):
        for name, share in SHARES.items():
            count = arguments.reach * share // 100
            done, crash = reach(name, count, arguments.seed, arguments.keep)
            more["reached"] += done
            crashes += [crash] if crash else []
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found = fuzz(arguments.inputs, arguments.seed)
    result = summary(found, time.perf_counter() - began, **more)
    result["inputs"] += more["reached"]
    result["crashes"] += crashes
    if result["crashes"]:
        write_crashes(found, arguments.keep)
    else:
        shutil.rmtree(arguments.keep)
    print(json.dumps(result))
    return 1 if result["crashes"] else 0


if __name__ == "__main__":
    sys.exit(main())
