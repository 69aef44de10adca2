"""Rows that grow piece by piece, gone on with by another machine: no piece is there twice."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.ship.lake import Lake
from zwriter.model import AddSlice, Position, Source, Update, Verdict
from zwriter.reader import open_scan, verify
from zwriter.scan import ScanWriter
from zwriter.settings import SignalSettings
from zwriter.testing.failpoints import failing
from zwriter.testing.waiting import until

pytestmark = [pytest.mark.s3, pytest.mark.outage]

ROWS, WIDTH, EACH = 24, 12, 3
PIECES = ROWS * WIDTH // EACH
MODE = AddSlice((None, WIDTH), 0)
# a chunk of values is two rows, a shard three chunks; all lengths are in one chunk
SETTINGS = SignalSettings(chunk_bytes=2 * WIDTH * 8, shard_bytes=6 * WIDTH * 8)


def piece(number: int) -> np.ndarray:
    return np.arange(number * EACH, (number + 1) * EACH)


def push(scan: ScanWriter, begin: int, end: int, rows_at_once: int) -> None:
    """Pieces as Redis has them, of so many rows in turns."""
    for n in range(begin, end):
        block, inside = divmod(n, rows_at_once * WIDTH // EACH)
        mode = AddSlice(MODE.max_shape, block * rows_at_once + inside % rows_at_once)
        source = Source(b"raw", Position("stream", f"{n}-0"))
        scan.apply([Update("det", "rows", mode, piece(n), float(n), n, source)])


def go_on(scan: ScanWriter, rows_at_once: int) -> None:
    """Give what follows in Redis."""
    last = scan.positions.get("stream", "-1-0")
    push(scan, int(last.rpartition("-")[0]) + 1, PIECES, rows_at_once)


def check(lake: Lake, rows_at_once: int) -> None:
    scan = open_scan(lake.url)
    signal, shape = scan.devices["det"]["rows"], (-1, WIDTH // EACH, rows_at_once, EACH)
    pieces = np.arange(ROWS * WIDTH).reshape(shape).swapaxes(1, 2)
    np.testing.assert_array_equal(signal.value[:], pieces.reshape(ROWS, WIDTH))
    assert signal.arrays["length"][:].tolist() == [WIDTH] * ROWS
    assert signal.timestamp is not None
    assert signal.timestamp[:].tolist() == list(range(PIECES))
    assert signal.ledger.written == PIECES
    assert scan.verdict is Verdict.COMPLETE
    assert verify(lake.url).problems == []


def lose_network(lake: Lake) -> None:
    lake.network.open = False


@pytest.mark.parametrize("failpoint", ["ship.shards_sent", "ship.documents_sent"])
@pytest.mark.parametrize("rows_at_once", [2, ROWS], ids=["one by one", "all in turns"])
@pytest.mark.parametrize("end", [PIECES // 2, PIECES], ids=["half", "all"])
def test_what_was_sent_without_a_commit_is_taken_again_once(
    lake: Lake, failpoint: str, rows_at_once: int, end: int
) -> None:
    first = lake.writer(default=SETTINGS)
    push(first, 0, 30, rows_at_once)
    first.flush()
    with failing(failpoint, lambda: lose_network(lake)):
        push(first, 30, end, rows_at_once)
        first.commit()
        until(lambda: lake.told, "an outage")
        first.close()
    lake.network.open = True
    with lake.writer(lake.shipment("second"), default=SETTINGS) as second:
        go_on(second, rows_at_once)
    check(lake, rows_at_once)


@pytest.mark.parametrize("failpoint", ["ship.shards_sent", "ship.documents_sent"])
@pytest.mark.parametrize("begin", [30, PIECES - 1])
def test_what_was_sealed_without_a_commit_is_taken_again_once(
    lake: Lake, failpoint: str, begin: int
) -> None:
    stop = threading.Event()
    shipment = lake.shipment(stop=stop)
    shipment.interval = 60.0  # then what finishing seals is sent at once
    first = lake.writer(shipment, default=SETTINGS)
    push(first, 0, begin, 2)
    first.flush()
    with failing(failpoint, lambda: lose_network(lake)):
        push(first, begin, PIECES, 2)
        lake.stop_while_finishing(first, stop)
        first.close()
    lake.network.open = True
    with lake.writer(lake.shipment("second"), default=SETTINGS) as second:
        go_on(second, 2)
    check(lake, 2)


def test_shards_of_strings_that_are_all_missing_are_sent(lake: Lake) -> None:
    tiny = SignalSettings(chunk_bytes=256, shard_bytes=512)
    with lake.writer(default=tiny) as scan:
        scan.add_slice("det", "names", 0, ["a"], max_shape=(None, 2))
        scan.commit()
        scan.add_slice("det", "names", 100, ["z"], max_shape=(None, 2))
    assert verify(lake.url).problems == []
    rows = open_scan(lake.url).devices["det"]["names"].rows
    assert [list(rows[n]) for n in (0, 50, 100)] == [["a"], [], ["z"]]
