"""How far a scan is behind is in the log, from time to time, and more often when it is far."""

from __future__ import annotations

import logging
import time

from zwriter.model import Add, Position, Source, Update
from zwriter.service import lag as lag_module
from zwriter.service.lag import Lag


def update(age: float) -> Update:
    position = Position("stream", f"{int((time.time() - age) * 1000)}-0")
    return Update("dev", "sig", Add((None,)), 1.0, None, 0, Source(b"", position))


def test_it_is_told_if_something_was_written(caplog, monkeypatch):
    monkeypatch.setattr(lag_module, "_INTERVAL", 0.0)
    caplog.set_level(logging.INFO)
    lag = Lag("scan 1")
    lag.tell(0)
    assert not caplog.records
    lag.took([update(3.0)])
    lag.tell(5_000_000)
    lag.tell(5_000_000)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.message.startswith("scan 1: lag 3.")
    assert record.message.endswith("5 MB wait")


def test_a_long_one_is_a_warning_and_told_sooner(caplog, monkeypatch):
    monkeypatch.setattr(lag_module, "_INTERVAL_IF_LATE", 0.0)
    lag = Lag("scan 1")
    lag.took([update(1.0)])
    lag.tell(0)
    assert not caplog.records
    lag.took([update(100.0)])
    lag.tell(0)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
