from __future__ import annotations

import pytest

from zwriter.errors import BadMessage
from zwriter.protocol import RedisServer, keys, safe_name


@pytest.mark.parametrize("name", ["samx", "eiger 2", "größe", "a.b", "x" * 240])
def test_names_of_devices_and_signals_are_safe(name: str):
    assert safe_name(name)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a..b", "a/b", "a\\b", "a\0", "a\nb", "\ud800", "x" * 256, "é" * 128],
)
def test_what_could_leave_its_folder_or_is_no_file_name_is_not_safe(name: str):
    assert not safe_name(name)


@pytest.mark.parametrize("name", ["zarr.json", "__x", None, 5, ["a"], b"a"])
def test_what_zarr_keeps_for_itself_or_is_no_text_is_not_safe(name: object):
    assert not safe_name(name)


def test_both_kinds_of_async_streams_tell_whose_they_are():
    signal = keys.async_signal("s1", "eiger", "eiger_image")
    assert keys.parse_async_stream(signal) == ("s1", "eiger", "eiger_image")
    assert keys.parse_async_stream(signal.encode()) == ("s1", "eiger", "eiger_image")
    assert keys.parse_async_stream(keys.async_readback("s1", "wave")) == ("s1", "wave", "")


@pytest.mark.parametrize(
    "key",
    [
        "",
        "info/devices/async_signal_index/s/d/n",
        "info/devices/async_signal/s/d",
        "info/devices/async_signal/s/d/n/m",
        "info/devices/async_signal/s/../n",
        b"info/devices/async_signal/s/d/\xff",
    ],
)
def test_other_keys_are_no_async_streams(key: str | bytes):
    with pytest.raises(BadMessage):
        keys.parse_async_stream(key)


def test_keys_tell_the_device_or_file_they_are_for():
    assert keys.parse_read_configuration(keys.read_configuration("samx")) == "samx"
    assert keys.parse_scan_file(keys.scan_file("s1", "eiger")) == ("s1", "eiger")
    with pytest.raises(BadMessage):
        keys.parse_scan_file(keys.scan_info("s1"))


def test_patterns_match_the_streams_of_their_scan_only(own_redis: RedisServer):
    strange = "s*[1]?^"
    with own_redis.client() as client:
        for scan in (strange, "s1", "sx[1]y^"):
            for key in (keys.async_signal(scan, "d", "n"), keys.async_readback(scan, "d")):
                client.xadd(key, {"data": b""})
        for pattern, kind in zip(
            keys.async_stream_patterns(strange), ("async_signal", "async_readback"), strict=True
        ):
            (key,) = client.scan_iter(pattern, count=1000)
            assert key.startswith(f"info/devices/{kind}/{strange}/d".encode())
