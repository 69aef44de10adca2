"""The quick form of the fuzzer; `make soak` gives it a million inputs."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import Inputs, corpus
from tests.fuzz.targets import TARGETS, Fuzzed
from zwriter.protocol import DATA, decode

INPUTS = 20_000
ROOT = Path(__file__).parents[2]


def test_each_seed_of_the_corpus_is_a_message_and_small():
    for raw in corpus():
        assert decode(raw, DATA)
        assert len(raw) < 10_000


def test_the_same_seed_gives_the_same_inputs():
    first, second = (Inputs(random.Random(3), corpus()) for _ in range(2))
    assert [first.one() for _ in range(500)] == [second.one() for _ in range(500)]


@pytest.mark.slow
def test_thousands_of_hostile_inputs_crash_nothing(tmp_path: Path):
    command = [sys.executable, "-m", "tests.fuzz.run", "--inputs", str(INPUTS)]
    command += ["--keep", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert result["crashes"] == []
    assert result["inputs"] == INPUTS
    assert run.returncode == 0


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_hostile_inputs_that_hypothesis_finds_crash_nothing(name: str, data: st.DataObject):
    rng = data.draw(st.randoms(use_true_random=False))
    fuzzed = Fuzzed(TARGETS[name])
    for _ in range(3):
        fuzzed.give(Inputs(rng, corpus()).one())
    fuzzed.close()
    assert fuzzed.crashes == []


@pytest.mark.slow
def test_inputs_are_found_by_the_code_that_they_reach(tmp_path: Path):
    pytest.importorskip("atheris")
    from tests.fuzz.run import reach

    assert reach("updates", 300, 1, tmp_path) == (300, "")
