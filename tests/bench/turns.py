"""Measuring in turns: what is compared is measured in the same minute, again and again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

Rates = dict[str, list[float]]
_BLOCK = 4 * 2**20


def in_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Rates:
    """What each contender returns in `rounds` turns, after one that is not counted."""
    rates: Rates = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, measure in contenders.items():
            value = measure()
            if turn:
                rates[name].append(value)
    return rates


@contextmanager
def fresh(folder: Path, written: int = 0) -> Iterator[Path]:
    """A folder below `folder` for one measurement, which begins with nothing waiting to be written,
    and with memory for the `written` bytes; at the end the folder is removed."""
    path = Path(tempfile.mkdtemp(dir=folder))
    os.sync()
    _warm_page_cache(path / "warm", written * 5 // 4)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _warm_page_cache(file: Path, nbytes: int) -> None:
    """Have a virtual machine get memory for a file from its host now: what was not used for some
    seconds is given back, and then takes up to twenty times as long as writing to it does."""
    block = bytes(_BLOCK)
    with file.open("wb", buffering=0) as written:
        for _ in range(nbytes // _BLOCK):
            written.write(block)
    file.unlink()
