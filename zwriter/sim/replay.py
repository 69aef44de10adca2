"""Playing captured Redis traffic again.

A capture is a gzip of msgpack objects. The first is what Redis held at the beginning,
`{format, snapshot: {key: [type, pttl, value]}}`; then `[time in seconds, [command, args...]]` each.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import redis

from zwriter.errors import UsageError

FORMAT = "bec-capture-1"
_BEC_DATA = "/bec-data"
_COMMANDS = frozenset(
    {
        *("SET", "PUBLISH", "XADD", "XTRIM", "RPUSH", "LPUSH", "LTRIM"),
        *("DEL", "EXPIRE", "HSET", "SADD", "ZADD"),
    }
)
"""What a capture may do here; it comes from somebody else."""


def replay(
    capture: Path, client: redis.Redis, *, speed: float = 1.0, data_root: Path | None = None
) -> int:
    """Send the capture's snapshot and commands to Redis; how many commands these were.

    speed: 1 as it was, 10 ten times faster, infinity as fast as Redis takes it
    data_root: replaces `/bec-data`, where BEC wrote, in all paths in messages
    Raises UsageError for what is no capture.
    """
    objects = _objects(capture)
    header = next(objects, None)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise UsageError(f"{capture} is no capture of the format {FORMAT}")
    try:
        _restore(header["snapshot"], client, data_root)
        return _play(objects, client, speed, data_root)
    except (LookupError, TypeError, ValueError, AttributeError, redis.DataError) as error:
        raise UsageError(f"{capture} is damaged ({error!r}); copy it again") from error


def _play(
    commands: Iterator[Any], client: redis.Redis, speed: float, data_root: Path | None
) -> int:
    count, first, began = 0, None, time.monotonic()
    for captured, command in commands:
        first = captured if first is None else first
        time.sleep(max(0.0, began + (captured - first) / speed - time.monotonic()))
        _send(client, [_moved(argument, data_root) for argument in command])
        count += 1
    return count


def _objects(capture: Path) -> Iterator[Any]:
    try:
        with gzip.open(capture) as file:
            yield from msgpack.Unpacker(
                file, raw=False, strict_map_key=False, max_buffer_size=2**31 - 1
            )
    except (OSError, EOFError, ValueError, msgpack.UnpackException) as error:
        raise UsageError(f"{capture} cannot be read as a capture: {error}") from error


def _send(client: redis.Redis, command: list[Any]) -> None:
    name = _text(command[0]).upper()
    if name not in _COMMANDS:
        raise UsageError(f"the capture has the command {name!r:.50}, which is not replayed")
    client.execute_command(*command)


def _restore(snapshot: dict[Any, Any], client: redis.Redis, data_root: Path | None) -> None:
    for key, (kind, pttl, value) in snapshot.items():
        match _text(kind):
            case "string":
                client.set(key, _moved(value, data_root))
            case "stream":
                for entry, fields in value:
                    moved = {name: _moved(field, data_root) for name, field in fields.items()}
                    client.execute_command("XADD", key, entry, *_flat(moved))
            case "list":
                client.rpush(key, *(_moved(item, data_root) for item in value))
            case "set":
                client.sadd(key, *value)
            case "hash":
                client.hset(key, mapping={k: _moved(v, data_root) for k, v in value.items()})
            case other:
                raise UsageError(f"the capture's key {_text(key)!r:.100} is of the type {other!r}")
        if pttl > 0:
            client.pexpire(key, pttl)


def _flat(fields: dict[Any, Any]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]


def _text(value: bytes | str) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def _moved(argument: Any, data_root: Path | None) -> Any:
    """The argument with BEC's data folder replaced; strings are counted, so it is packed anew."""
    if data_root is None or not isinstance(argument, bytes) or _BEC_DATA.encode() not in argument:
        return argument
    try:
        message = msgpack.unpackb(argument, raw=False, strict_map_key=False)
    except ValueError:
        return argument
    return msgpack.packb(_replaced(message, str(data_root)))


def _replaced(value: Any, data_root: str) -> Any:
    match value:
        case str():
            return value.replace(_BEC_DATA, data_root)
        case list():
            return [_replaced(item, data_root) for item in value]
        case dict():
            return {key: _replaced(item, data_root) for key, item in value.items()}
        case _:
            return value
