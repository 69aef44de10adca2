"""Shards that are full are sent as they come, and once, whether a commit waits for them or not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ship.test_rates import Stream, stream
from zwriter.settings import SignalSettings, StoreSettings
from zwriter.ship.ahead import SIDE_BY_SIDE, SentAhead

FRAME = np.zeros((512, 512), "u2")  # 512 KiB: two are a shard
SETTINGS = StoreSettings(
    default=SignalSettings(codec="none", shard_bytes=2 * FRAME.nbytes, chunk_bytes=FRAME.nbytes),
    flush_interval=60,
    durability="none",
)
Put = Callable[[str, Any], None]


def shards_of(cam: Stream, monkeypatch: pytest.MonkeyPatch, put: Callable[[Put, str, Any], None]):
    """How often each shard is put, each by `put`."""
    seen, real = Counter[str](), cam.bucket.put

    def counted(key: str, data: Any) -> None:
        if "/value/c/" in key:
            seen[key.rsplit("/value/c/")[1]] += 1
            put(real, key, data)
        else:
            real(key, data)

    monkeypatch.setattr(cam.bucket, "put", counted)
    return seen


def add(cam: Stream, shards: int) -> None:
    for _ in range(2 * shards):
        cam.scan.add("cam", "image", FRAME)
    cam.scan.commit()


def test_a_shard_that_is_full_is_sent_while_another_is_on_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)
    with stream(tmp_path, SETTINGS, threads=2) as cam:
        seen = shards_of(cam, monkeypatch, lambda put, key, data: (both.wait(60), put(key, data)))
        add(cam, 1)
        cam.shipment.ship_sealed()
        add(cam, 1)
        cam.shipment.ship_sealed()
        cam.shipment.ship(all_of_it=True)
        assert cam.rows("image") == 4
    assert seen == {"0/0/0": 1, "1/0/0": 1}


def test_one_that_could_not_be_sent_is_sent_with_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stream(tmp_path, SETTINGS) as cam:

        def once_refused(put: Put, key: str, data: Any) -> None:
            if seen.total() == 1:
                raise OSError("refused")
            put(key, data)

        seen = shards_of(cam, monkeypatch, once_refused)
        add(cam, 1)
        for _ in range(5):
            cam.shipment.ship_sealed()  # which does not try it again and again
        cam.shipment.ship(all_of_it=True)
        assert cam.rows("image") == 2
    assert seen == {"0/0/0": 2}


def test_as_many_are_on_their_way_as_there_is_room_for_and_news_tells_of_more() -> None:
    go, news = threading.Event(), threading.Event()
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        ahead = SentAhead(pool, news.set)
        for number in range(SIDE_BY_SIDE):
            assert ahead.has_room
            ahead.begin(str(number), lambda: go.wait(60) and None)
        assert not ahead.has_room
        assert not news.is_set()
        go.set()
        ahead.end_all()
        assert news.wait(60)
        assert ahead.has_room


def test_what_was_begun_is_begun_again_only_after_a_look() -> None:
    calls = []
    with ThreadPoolExecutor(1) as pool:
        ahead = SentAhead(pool, lambda: None)
        for _ in range(3):
            ahead.begin("key", lambda: calls.append(1))
            ahead.end("key")
        assert len(calls) == 1
        ahead.look()
        ahead.begin("key", lambda: calls.append(1))
        ahead.end("key")
    assert len(calls) == 2
