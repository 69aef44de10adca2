"""One target under atheris: inputs are found by what code they reach. Started by `run.py`.

    python -m tests.fuzz.reach decode -runs=10000 corpus/

The rest of the command line is libFuzzer's.
"""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["zwriter"]):
    from tests.fuzz.targets import TARGETS, Fuzzed


def main() -> None:
    name, *options = sys.argv[1:]
    logging.disable(logging.WARNING)
    fuzzed = Fuzzed(TARGETS[name])

    def give(raw: bytes) -> None:
        fuzzed.give(raw)
        if fuzzed.crashes:
            raise AssertionError(fuzzed.crashes[0][1])

    atheris.Setup([name, *options], give)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
