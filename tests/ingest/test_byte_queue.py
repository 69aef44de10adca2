from __future__ import annotations

import threading

from zwriter.ingest import ByteQueue


def test_items_come_out_as_they_went_in():
    queue = ByteQueue[str](100)
    for item in "abc":
        queue.put(item, 10)
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == ["a", "b", "c", None]


def test_what_does_not_fit_is_not_taken():
    queue = ByteQueue[str](100)
    assert queue.offer("a", 60)
    assert not queue.offer("b", 60)
    assert queue.nbytes == 60
    assert queue.get() == "a"
    assert queue.offer("b", 60)


def test_an_item_larger_than_the_limit_passes_alone():
    queue = ByteQueue[str](100)
    assert queue.offer("huge", 1000)
    assert not queue.offer("b", 1)


def test_who_puts_waits_for_room():
    queue = ByteQueue[int](10)
    queue.put(0, 10)
    thread = threading.Thread(target=lambda: [queue.put(i, 10) for i in range(1, 50)], daemon=True)
    thread.start()
    assert [queue.get(60) for _ in range(50)] == list(range(50))
    thread.join(60)


def test_closing_lets_everybody_go_and_what_is_in_it_can_be_taken():
    queue = ByteQueue[int](10)
    queue.put(0, 10)
    results = []
    thread = threading.Thread(target=lambda: results.append(queue.put(1, 10)), daemon=True)
    thread.start()
    queue.close()
    thread.join(60)
    assert results == [False]
    assert queue.get() == 0
    assert queue.get(60) is None


def test_who_gets_may_wait_for_more_and_gets_the_oldest_once_it_is_enough():
    queue = ByteQueue[str](100)
    queue.put("a", 30)
    assert queue.get(enough=50) is None
    queue.put("b", 30)
    assert queue.get(enough=50) == "a"
    assert queue.get(enough=50) is None
    assert queue.get() == "b"


def test_nobody_waits_for_more_where_there_is_no_room_for_it():
    queue = ByteQueue[str](100)
    queue.put("a", 30)
    thread = threading.Thread(target=lambda: queue.put("large", 80), daemon=True)
    thread.start()
    assert queue.get(60, enough=100) == "a"
    thread.join(60)
    assert queue.get(60, enough=80) == "large"


def test_closing_lets_who_waits_for_more_go():
    queue = ByteQueue[str](100)
    queue.put("a", 30)
    queue.close()
    assert queue.get(60, enough=50) == "a"
