"""The codec against the real bec-lib 4.3.2, which runs in an environment of its own."""

from __future__ import annotations

import enum
import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from zwriter.protocol import BECStatus, Message, decode, encode

BEC_SIDE = Path(__file__).with_name("bec_side.py")
CHECKOUT = Path(__file__).parents[2]
CASES = runpy.run_path(str(BEC_SIDE))["cases"](
    lambda kind, metadata, **fields: Message(kind, fields, metadata), BECStatus.RUNNING
)
# bec_lib marks its pydantic models in a message; it reads plain maps in their place just as well
WITH_MODELS = {"index", "states", "deployment", "history", "alarm"}


@pytest.fixture(scope="module")
def bec() -> dict[str, list[bytes]]:
    """For each case: the bytes that bec_lib makes, and what it makes of ours having read them."""
    python = Path(os.environ.get("ZWRITER_BEC_PYTHON", CHECKOUT / ".venv-bec/bin/python"))
    if not python.exists():
        pytest.skip("no bec-lib: `make test` builds .venv-bec, or set ZWRITER_BEC_PYTHON")
    ours = msgpack.packb({name: encode(message) for name, message in CASES.items()})
    done = subprocess.run([python, BEC_SIDE], input=ours, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return msgpack.unpackb(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_what_bec_lib_writes_is_read_here(bec: dict[str, list[bytes]], name: str):
    assert plain(decode(bec[name][0])) == plain(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_here_bec_lib_reads_as_its_own(bec: dict[str, list[bytes]], name: str):
    own, read = bec[name]
    assert read == own


@pytest.mark.parametrize("name", [name for name in CASES if name not in WITH_MODELS])
def test_the_bytes_are_those_of_bec_lib(bec: dict[str, list[bytes]], name: str):
    assert encode(CASES[name]) == bec[name][0]


def plain(value: Any) -> Any:
    """What can be compared with ==, NaN and array types included, and BEC cannot tell apart."""
    match value:
        case Message():
            return value.type, plain(value.data), plain(value.metadata)
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [plain(item) for item in value]
        case enum.Enum():
            return plain(value.value)
        case np.ndarray():
            return value.dtype, value.shape, value.tobytes()
        case float():
            return repr(float(value))
        case np.generic():
            return value.dtype, value.tobytes()
        case _:
            return type(value), value
