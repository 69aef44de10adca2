"""Measuring in turns: what is compared is measured in the same minute, again and again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.machine import touch_memory

Rates = dict[str, list[float]]


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int, touched: int = 0) -> Rates:
    """What each contender returns in `rounds` turns, after one that is not counted. Each begins
    with `touched` bytes of free memory that the machine has already got from its host."""
    rates: Rates = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, measure in contenders.items():
            if touched:
                touch_memory(touched)
            value = measure()
            if turn:
                rates[name].append(value)
    return rates


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A folder below `folder` for one measurement. It begins with nothing waiting to be written
    and is removed at the end."""
    os.sync()
    path = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path)
