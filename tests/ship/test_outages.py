"""Whatever the object store does, the scan goes on; when it is back, all is there, once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.service.disturbed import push
from tests.ship.lake import Lake, finishing
from zwriter.testing.s3_errors import AWS_STATUS
from zwriter.testing.s3_faults import S3Faults
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]

Fault = Callable[[S3Faults], object]
CODES = AWS_STATUS.keys() - {"ConditionalRequestConflict"}  # of which clients learn by themselves


def gone(network: S3Faults) -> None:
    network.open = False


def slow(network: S3Faults) -> None:
    network.delay, network.bytes_per_second = 0.02, 1e6


def conflict(network: S3Faults) -> None:
    network.answer("ConditionalRequestConflict", times=3, method="PUT", key="*/commits/*")


def refusing(code: str, times: int | None) -> Fault:
    return lambda network: network.answer(code, times=times)


LASTING: dict[str, Fault] = {
    "gone": gone,
    "slow": slow,
    "answers are lost": lambda network: network.lose_answers(),
    "uploads are cut": lambda network: network.cut_uploads(after=50),
    "downloads are cut": lambda network: network.cut_downloads(after=5),
} | {f"{code} always": refusing(code, None) for code in sorted(CODES)}
PASSING: dict[str, Fault] = {
    "answers are held": lambda network: network.hold(),
    "some answers are lost": lambda network: network.lose_answers(times=9),
    "some uploads are cut": lambda network: network.cut_uploads(after=50, times=9),
    "some commits conflict": conflict,
} | {f"{code} sometimes": refusing(code, 9) for code in sorted(CODES)}


FAULTS = LASTING | PASSING


def some(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", [FAULTS[name] for name in names], ids=names)


@pytest.mark.slow
@some(*FAULTS)
def test_in_the_middle_of_a_scan(lake: Lake, fault: Fault) -> None:
    with lake.writer() as scan:
        push(scan, range(20))
        scan.flush()
        met = len(lake.network.log)
        fault(lake.network)
        for n in range(20, 40):
            push(scan, [n])
            scan.commit()
        lake.until_met(met)
        push(scan, range(40, 50))
        scan.commit()
        lake.network.heal()
        push(scan, range(50, 60))
    lake.check(60)


@pytest.mark.slow
@some("gone", "answers are lost", "answers are held", "AccessDenied always", "SlowDown always")
def test_from_before_the_start(lake: Lake, fault: Fault) -> None:
    fault(lake.network)
    with lake.writer() as scan:
        push(scan, range(30))
        scan.commit()
        lake.until_met(3)
        lake.network.heal()
        push(scan, range(30, 60))
    lake.check(60)


@pytest.mark.slow
@some("gone", "answers are lost", "uploads are cut", "ExpiredToken always", "answers are held")
def test_at_the_end_which_waits_until_it_is_over(lake: Lake, fault: Fault) -> None:
    with lake.writer() as scan:
        push(scan, range(60))
        scan.flush()
        scan.status("closed")
        met = len(lake.network.log)
        fault(lake.network)
        finished = finishing(scan)
        lake.until_met(met)
        lake.network.heal()
        finished.result()
    lake.check(60)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["*", "*/image/value/c/*"], ids=["of all", "of one array"])
def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(lake: Lake, key: str) -> None:
    with lake.writer() as scan:
        push(scan, range(20))
        scan.flush()
        lake.network.answer("InternalError", key=key)
        for n in range(20, 40):
            push(scan, [n])
            scan.commit()
        until(lambda: [r.status for r in lake.network.log].count(500) > 10, "many errors")
        lake.network.heal()
        push(scan, range(40, 60))
    begin, over = lake.told
    assert begin.startswith(f"{lake.url} waits in the spool, the scan goes on: ")
    assert over == f"{lake.url} is sent again"
    lake.check(60)


GIVE_KEYS = """
import json, sys, datetime
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
key, secret = open(sys.argv[1]).read().split()
said = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret}
print(json.dumps(said | {"Expiration": soon.isoformat()}))
"""


@pytest.fixture
def keys(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that a program gives our keys from; they expire so soon that it is asked again and
    again. Nothing else says who we are."""
    server, file, program = lake.network.server, tmp_path / "keys", tmp_path / "give_keys.py"
    file.write_text(f"{server.access_key_id} {server.secret_access_key}")
    program.write_text(GIVE_KEYS)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {sys.executable} {program} {file}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setattr("zwriter.objects.clients.CREDENTIALS_LAST", timedelta(0))
    return file


@pytest.mark.slow
def test_keys_that_cannot_be_renewed_for_a_while(lake: Lake, keys: Path) -> None:
    with lake.writer(lake.shipment(keys=False)) as scan:
        push(scan, range(10))
        scan.flush()
        keys.rename(keys.with_suffix(".away"))
        push(scan, range(10, 20))
        scan.commit()
        until(lambda: lake.told, "an outage")
        keys.with_suffix(".away").rename(keys)
        push(scan, range(20, 30))
    assert "cannot be renewed" in lake.told[0]
    lake.check(30)
