"""BEC's own AsyncWriter, in bec-server's environment; a program that `bec.py` runs.

    python bec_writer.py SOCKET FOLDER

For each line `scan_id device signal rows` on stdin it writes that scan's stream, which waits in
Redis, and answers with the seconds that took until the file was closed.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import redis
from bec_lib.redis_connector import RedisConnector
from bec_server.file_writer.async_writer import AsyncWriter


def seconds_to_write(
    connector: RedisConnector, file: Path, scan_id: str, device: str, signal: str, rows: int
) -> float:
    info = {"describe": {"signal_info": {"saved": True}}, "storage_name": signal}
    writer = AsyncWriter(str(file), scan_id, 1, connector, [], [(device, signal, info)])
    began = time.perf_counter()
    writer.initialize_stream_keys()
    value = f"{writer.BASE_PATH}/{device}/{signal}/value"
    while writer.file_handle is None or writer.file_handle[value].shape[0] < rows:
        writer.poll_and_write_data()
    writer.file_handle.close()
    return time.perf_counter() - began


def main(socket: str, folder: Path) -> None:
    def over_socket(*, host: str, port: int, **options: Any) -> redis.Redis:
        return redis.Redis(unix_socket_path=socket, **options)

    connector = RedisConnector("localhost:0", redis_cls=over_socket)
    file = folder / "bec.h5"
    for line in sys.stdin:
        scan_id, device, signal, rows = line.split()
        print(
            "seconds",
            seconds_to_write(connector, file, scan_id, device, signal, int(rows)),
            flush=True,
        )
        file.with_suffix(".tmp").unlink()
    connector.shutdown()


main(sys.argv[1], Path(sys.argv[2]))
