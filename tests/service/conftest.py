from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from zwriter.ingest import connect
from zwriter.ingest.commands import Commands
from zwriter.objects import AnyPath, ObjectPath, place
from zwriter.protocol import RedisServer
from zwriter.protocol.publisher import Publisher
from zwriter.reader import Scan, open_scan
from zwriter.service import run
from zwriter.settings import RedisSettings, Settings
from zwriter.ship import Spool
from zwriter.testing.broker import Broker
from zwriter.testing.broker import broker as broker_of
from zwriter.testing.scans import names_in
from zwriter.testing.waiting import until


def _is_alone(store: AnyPath) -> bool:
    """Whether the store is there, and nothing beside it that only serves while it is open."""
    there = names_in(store.parent)
    return store.name in there and f"{store.stem}.zwriter" not in there


class Beamline:
    """A Redis, a publisher, and a service that can be started and stopped."""

    def __init__(
        self,
        url: str,
        root: Path | str,
        spool: Path | None = None,
        storage: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self.root = place(root, storage)
        self.settings = Settings(
            root=root,
            redis={"url": url, "drain_timeout": 1.0},
            store={"flush_interval": 0.1, "durability": "none"},
            spool={"folder": spool} if spool else {},
            storage=storage or {},
        )
        self.publisher = Publisher(url)
        self.client: Commands = connect(RedisSettings(url=url))

    @contextlib.contextmanager
    def service(self) -> Iterator[None]:
        """A running service; it stops when the block is left."""
        stop, ready, errors = threading.Event(), threading.Event(), []

        def target() -> None:
            try:
                run(self.settings, stop, ready.set)
            except BaseException as error:
                errors.append(error)
                raise

        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        try:
            until(lambda: ready.is_set() or errors, "the service")
            yield
        finally:
            stop.set()
            thread.join(120)
        assert not thread.is_alive()
        assert not errors

    def store(self, number: int) -> AnyPath:
        name = f"S{number:05d}"
        return self.root / "S00000-00999" / name / f"{name}.zarr"

    def live(self, number: int, rows: int = 0) -> Scan:
        """The scan, once it has a store, and so many rows of mcs/counts in it."""
        store = self.store(number)
        until((store / "zarr.json").exists, f"{store} to be there")
        scan = open_scan(store)

        def has_rows() -> bool:
            scan.refresh()
            counts = scan.summary()["devices"].get("mcs", {}).get("counts", {})
            return rows == 0 or counts.get("rows", 0) >= rows

        until(has_rows, f"{rows} rows")
        return scan

    def written(self, number: int | AnyPath) -> Scan:
        """The scan, once its store is finished and all is told about it."""
        store = self.store(number) if isinstance(number, int) else number
        until(lambda: _is_alone(store), f"{store} to be finished")
        if isinstance(store, ObjectPath):
            spool = Spool(self.settings.spool, store)
            until(lambda: not spool.store.exists(), f"{store} to leave the spool")
        return open_scan(store)

    def finished(self, number: int) -> Scan:
        """The scan in a bucket, once it has its master file and is no more in a spool."""
        store = self.store(number)
        master = store.with_name(f"{store.stem}_master.h5")
        until(lambda: master.exists() and _is_alone(store), f"{store} to be finished")
        return open_scan(store)

    def redis(self, *command: object) -> object:
        """One command, as it is."""
        return self.client.execute_command(*command)

    def close(self) -> None:
        self.publisher.close()
        self.client.close()


@pytest.fixture(scope="session")
def beamline_at() -> Callable[[str, Path], contextlib.closing[Beamline]]:
    """A beamline at the Redis of a URL, for a `with` block."""
    return lambda url, folder: contextlib.closing(Beamline(url, folder / "data"))


@pytest.fixture(scope="session")
def beamline_in() -> Callable[..., contextlib.closing[Beamline]]:
    """A beamline whose root may be a URL, with a spool, for a `with` block."""
    return lambda *where: contextlib.closing(Beamline(*where))


@pytest.fixture
def beamline_on_disk(own_redis: RedisServer, tmp_path: Path) -> Iterator[Beamline]:
    with contextlib.closing(Beamline(own_redis.url, tmp_path / "data")) as beamline:
        yield beamline


@pytest.fixture
def beamline(beamline_on_disk: Beamline) -> Beamline:
    return beamline_on_disk


@pytest.fixture(params=["disk", pytest.param("bucket", marks=[pytest.mark.s3, pytest.mark.slow])])
def beamline_anywhere(
    request: pytest.FixtureRequest, own_redis: RedisServer, tmp_path: Path
) -> Iterator[Beamline]:
    """A beamline whose scans go to a disk, or to a bucket."""
    root: Path | str = tmp_path / "data"
    if request.param == "bucket":
        root = f"s3://{request.getfixturevalue('bucket')}/data"
    with contextlib.closing(Beamline(own_redis.url, root, tmp_path / "spool")) as beamline:
        yield beamline


@pytest.fixture
def broker() -> Iterator[Broker]:
    with broker_of() as broker:
        yield broker
