from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import msgpack
import pytest
import redis

from zwriter.errors import UsageError
from zwriter.protocol import Message, decode, encode
from zwriter.sim.replay import replay


def capture(path: Path, snapshot: dict[bytes, Any], *commands: list[Any]) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(msgpack.packb({"format": "bec-capture-1", "snapshot": snapshot}))
        for n, command in enumerate(commands):
            file.write(msgpack.packb([1000.0 + n / 100, command]))
    return path


def test_redis_holds_what_it_held_and_what_came_after(tmp_path: Path, client: redis.Redis):
    path = capture(
        tmp_path / "c.gz",
        {
            b"a": [b"string", -1, b"1"],
            b"b": [b"stream", 60000, [[b"5-1", {b"data": b"x"}], [b"6-0", {b"data": b"y"}]]],
            b"c": [b"list", -1, [b"p", b"q"]],
            b"d": [b"hash", -1, {b"f": b"v"}],
            b"e": [b"set", -1, [b"m"]],
        },
        [b"SET", b"a", b"2", b"EX", b"100"],
        [b"XADD", b"b", b"*", b"data", b"z"],
        [b"DEL", b"d"],
    )
    assert replay(path, client, speed=math.inf) == 3
    assert client.get("a") == b"2"
    assert 0 < client.ttl("a") <= 100
    assert 0 < client.pttl("b") <= 60000
    assert [fields for _, fields in client.xrange("b")] == [
        {b"data": v} for v in (b"x", b"y", b"z")
    ]
    assert client.lrange("c", 0, -1) == [b"p", b"q"]
    assert client.smembers("e") == {b"m"}
    assert not client.exists("d")


def test_the_data_folder_is_replaced_in_messages_of_any_length(tmp_path: Path, client: redis.Redis):
    message = Message(
        "FileMessage", {"file_path": "/bec-data/S1/S1_master.h5", "done": True, "n": [1, 2.5, b"x"]}
    )
    path = capture(tmp_path / "c.gz", {b"f": [b"string", -1, encode(message)]})
    root = tmp_path / ("long" * 20)
    replay(path, client, data_root=root)
    moved = decode(client.get("f"))
    assert moved.data == message.data | {"file_path": f"{root}/S1/S1_master.h5"}


def test_without_a_data_root_messages_are_sent_byte_for_byte(tmp_path: Path, client: redis.Redis):
    path = capture(tmp_path / "c.gz", {b"f": [b"string", -1, b"/bec-data and \xc1 rubbish"]})
    replay(path, client)
    assert client.get("f") == b"/bec-data and \xc1 rubbish"


def test_what_is_no_capture_is_refused_in_one_line(tmp_path: Path, client: redis.Redis):
    plain = tmp_path / "plain"
    plain.write_bytes(b"nothing of the sort")
    other = tmp_path / "other.gz"
    with gzip.open(other, "wb") as file:
        file.write(msgpack.packb({"format": "another"}))
    for path in (plain, other, tmp_path / "absent"):
        with pytest.raises(UsageError, match=r"^[^\n]+$"):
            replay(path, client)


@pytest.mark.parametrize(
    "objects",
    [
        [{"format": "bec-capture-1"}],
        [{"format": "bec-capture-1", "snapshot": {b"a": [b"string"]}}],
        [{"format": "bec-capture-1", "snapshot": {b"a": [b"list", -1, 5]}}],
        [{"format": "bec-capture-1", "snapshot": {}}, [1000.0]],
        [{"format": "bec-capture-1", "snapshot": {}}, 5],
        [{"format": "bec-capture-1", "snapshot": {}}, [1000.0, []]],
        [{"format": "bec-capture-1", "snapshot": {}}, [1000.0, [5]]],
        [{"format": "bec-capture-1", "snapshot": {}}, [1000.0, [b"SET", b"a", {}]]],
        [{"format": "bec-capture-1", "snapshot": {}}, [b"then", [b"SET", b"a", b"1"]]],
    ],
)
def test_a_capture_that_is_damaged_is_refused_in_one_line(
    tmp_path: Path, client: redis.Redis, objects: list[Any]
):
    path = tmp_path / "c.gz"
    with gzip.open(path, "wb") as file:
        file.writelines(map(msgpack.packb, objects))
    with pytest.raises(UsageError, match=r"^[^\n]+ is damaged \([^\n]+$"):
        replay(path, client)


def test_a_capture_may_not_run_just_any_command(tmp_path: Path, client: redis.Redis):
    client.set("kept", "1")
    path = capture(tmp_path / "c.gz", {}, [b"FLUSHALL"])
    with pytest.raises(UsageError, match="FLUSHALL"):
        replay(path, client)
    assert client.get("kept") == b"1"
