"""Goal 4: from Redis to the store, against reading alone; and what commits cost (goal 7)."""

from __future__ import annotations

import time
from contextlib import closing
from itertools import count as counter
from pathlib import Path

from tests.bench import ours
from tests.bench.report import Goal, Group, Line, rate, ratio
from tests.bench.service import Service, new_scan_id, running_service, scan_in
from tests.bench.sizes import Sizes
from tests.bench.turns import Rates, fresh, in_turns
from tests.bench.wire import Producer, Wire, preload, xread_alone, xread_by_client
from tests.bench.work import DEVICE, Kind, frames, spectra, vectors
from zwriter.ingest import StreamReader, connect
from zwriter.protocol import redis_server
from zwriter.scan import ScanWriter
from zwriter.service.memory import keep_memory
from zwriter.settings import RedisSettings

_XREAD, _CLIENT = "XREAD alone", "XREAD by redis-py"
_HERE, _RARE, _SERVICE = "in one process", "one commit", "zwriter run"
_QUEUE = RedisSettings().queue_bytes
_SERVICE_FLUSH = 0.1  # seconds: a commit's delay is part of what is measured


def redis_to_store(sizes: Sizes, folder: Path) -> Group:
    """Messages that wait in Redis when reading begins; redis-server runs on the same cores."""
    lines = [
        *_lines(sizes, folder, frames(), sizes.frames, Goal(0.8)),
        *_lines(sizes, folder, spectra(), sizes.spectra, Goal(0.85)),
        *_lines(sizes, folder, vectors(), sizes.vectors, Goal(0.9)),
    ]
    remark = f"""
        Messages wait in Redis, on a unix socket. `{_XREAD}`: hiredis and a socket, nothing is
        decoded. `{_CLIENT}`: the same with the client that zwriter uses. `{_HERE}`:
        `StreamReader`, `ScanWriter.apply`, `commit_due`, until all is committed. `{_SERVICE}`: the
        service, from the scan's open to the commit that holds all rows (commits each
        {_SERVICE_FLUSH} s, since waiting for the last one counts).
    """
    return Group("Redis to store", remark, lines)


def _lines(sizes: Sizes, folder: Path, kind: Kind, count: int, goal: Goal) -> list[Line]:
    rates = _measure(sizes, folder, kind, count)
    alone = f"{_XREAD}: {rate(rates[_XREAD], kind.nbytes)}"
    lines = [
        Line(
            f"{kind.name}, {how}",
            rate(rates[how], kind.nbytes),
            alone,
            ratio(rates[how], rates[_XREAD]),
            wanted,
        )
        for how, wanted in ((_CLIENT, None), (_HERE, goal), (_SERVICE, goal))
    ]
    if sizes.commit_costs:
        mine, rare = rates[_HERE], rates[_RARE]
        compared = f"one commit: {rate(rare, kind.nbytes)}"
        work = f"{kind.name}, with a commit a second"
        lines.append(Line(work, rate(mine, kind.nbytes), compared, ratio(mine, rare), Goal(0.9)))
    return lines


def _measure(sizes: Sizes, folder: Path, kind: Kind, count: int) -> Rates:
    numbers = counter(1)
    with (
        fresh(folder) as place,
        redis_server(place / "redis") as server,
        running_service(server.url, place, _SERVICE_FLUSH) as service,
        Wire(server.url) as wire,
        closing(connect(RedisSettings(url=server.url))) as client,
    ):
        producer = Producer(new_scan_id(), kind)
        preload(wire, producer, count)

        def alone() -> float:
            began = time.perf_counter()
            xread_alone(wire, producer.stream, count, kind.nbytes)
            return count / (time.perf_counter() - began)

        def by_client() -> float:
            began = time.perf_counter()
            xread_by_client(client, producer.stream, count, kind.nbytes)
            return count / (time.perf_counter() - began)

        def served() -> float:
            nonlocal producer
            producer, speed = _served(service, wire, producer, kind, count, next(numbers))
            return speed

        def here(flush_interval: float) -> float:
            return in_this_process(server.url, producer, place, kind, count, flush_interval)

        contenders = {
            _XREAD: alone,
            _CLIENT: by_client,
            _HERE: lambda: here(1.0),
            _SERVICE: served,
        }
        if sizes.commit_costs:
            contenders[_RARE] = lambda: here(60.0)
        return in_turns(contenders, sizes.rounds)


def in_this_process(
    url: str,
    producer: Producer,
    folder: Path,
    kind: Kind,
    count: int,
    flush_interval: float = 1.0,
) -> float:
    """Messages a second of the service's data path, without the service around it."""
    with fresh(folder, count * kind.nbytes) as place:
        keep_memory(_QUEUE)
        client = connect(RedisSettings(url=url))
        began = time.perf_counter()
        writer = ours.writer_in(place, ours.settings(flush_interval=flush_interval))
        reader = StreamReader(client, producer.scan_id, {}, _QUEUE, {DEVICE})
        reader.start()
        while _received(writer, kind) < count:
            batch = reader.get(0.1)
            if batch:
                writer.apply(batch)
            elif not reader.alive:
                raise RuntimeError("reading has ended before all was read")
            writer.commit_due()
        writer.commit()
        seconds = time.perf_counter() - began
        reader.stop()
        writer.close()
        client.close()
        ours.check(writer.path, kind, count)
    return count / seconds


def _received(writer: ScanWriter, kind: Kind) -> int:
    ledger = writer.ledgers.get(DEVICE, {}).get(kind.signal)
    return ledger.received if ledger else 0


def _served(
    service: Service, wire: Wire, producer: Producer, kind: Kind, count: int, number: int
) -> tuple[Producer, float]:
    """The messages become a new scan's, which is opened when they are there."""
    scan_id = new_scan_id()
    renamed = producer.rename(wire, scan_id)
    with scan_in(service, [DEVICE], number, scan_id) as scan:
        seconds = scan.wait_for_rows(DEVICE, kind.signal, count * kind.block) - scan.opened
        scan.finish()
        ours.check(scan.store, kind, count)
        scan.remove()
    return renamed, count / seconds
