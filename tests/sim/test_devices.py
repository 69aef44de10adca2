from __future__ import annotations

import numpy as np
import pytest

from zwriter.errors import UsageError
from zwriter.model import Add, AddSlice, Replace
from zwriter.sim.devices import DEFAULT_SPECS, KINDS, Device, device
from zwriter.sim.expected import expected


def test_a_spec_names_shape_dtype_rate_and_block():
    assert device("pco:frames:64x48:u1:2.5Hz:x4") == Device("pco", "frames", (64, 48), "u1", 2.5, 4)


def test_a_kind_alone_is_a_device_with_that_kinds_defaults():
    assert device("ragged") == Device("ragged", "ragged", (500,), "f8", 10, 1)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "nonsense",
        "eiger:nonsense",
        "eiger:frames:512",
        "eiger:frames:512x512:v9",
        "eiger:frames:0Hz",
        "eiger:frames:0x4",
        "a/b:frames",
        "..:frames",
        ":frames",
    ],
)
def test_a_spec_that_is_none_says_what_one_is(spec: str):
    with pytest.raises(UsageError, match=r"^[^\n]+$"):
        device(spec)


def test_the_default_devices_exercise_every_row_of_the_table_of_update_modes():
    devices = [device(spec) for spec in DEFAULT_SPECS]
    assert {d.kind for d in devices} == set(KINDS)
    assert len({d.name for d in devices}) == len(devices)
    modes = [d.push(0).mode for d in devices]
    shapes = {tuple("N" if n else None for n in m.max_shape) for m in modes if isinstance(m, Add)}
    assert shapes == {(None,), (None, "N"), (None, "N", "N"), (None, None)}
    slices = {
        tuple("N" if n else None for n in m.max_shape) for m in modes if isinstance(m, AddSlice)
    }
    assert slices == {(None, "N"), ("N", "N"), (None, None)}
    assert Replace() in modes
    assert any(len(d.push(0).readings) > 1 for d in devices)


@pytest.mark.parametrize("spec", DEFAULT_SPECS)
def test_the_same_push_is_the_same_each_time(spec: str):
    once, again = device(spec).push(7, 1e9), device(spec).push(7, 1e9)
    assert once.mode == again.mode
    for signal, reading in once.readings.items():
        np.testing.assert_array_equal(reading["value"], again.readings[signal]["value"])


def test_scalars_come_as_samples_each_with_its_timestamp():
    adc = expected(device("adc:scalars:x1000:10Hz"), 3, start=100.0)["adc_value"]
    assert adc.value.shape == adc.timestamp.shape == (3000,)
    np.testing.assert_allclose(adc.timestamp, 100 + np.arange(3000) / 10000)


def test_a_single_scalar_is_a_plain_python_number():
    reading = device("temperature:scalars:x1").push(4).readings["temperature_value"]
    assert type(reading["value"]) is float


def test_blocks_of_frames_join_to_rows_that_carry_their_number():
    image = expected(device("pco:frames:8x6:u2:x4:5Hz"), 3)["pco_image"]
    assert image.value.shape == (12, 8, 6)
    assert image.value[:, 0, 0].tolist() == list(range(12))


def test_ragged_rows_keep_their_lengths():
    rows = expected(device("digitizer:ragged:100"), 4)["digitizer_events"].value
    assert [len(row) for row in rows] == [1, 38, 75, 12]


def test_a_bounded_map_is_filled_row_by_row_in_turn_and_then_stops():
    xmap = device("xmap:slices:2x7:x3:10Hz")
    assert xmap.pushes(seconds=60) == 6
    one_each = expected(xmap, 2)["xmap_map"].value
    assert np.isnan(one_each[:, 3:]).all()
    assert not np.isnan(one_each[:, :3]).any()
    full = expected(xmap, 6)["xmap_map"].value
    assert full.shape == (2, 7)
    assert not np.isnan(full).any()


def test_unbounded_slices_open_new_rows_as_they_fill():
    fly = device("fly:slices:100:x50")
    assert expected(fly, 8)["fly_map"].value.shape == (4, 100)
    assert expected(fly, 9)["fly_map"].value.shape == (5, 100)


def test_pieces_of_a_ragged_row_are_joined_in_order():
    tof = device("tof:pieces:300")
    rows = expected(tof, 16)["tof_trace"].value
    assert len(rows) == 4
    pieces = [tof.push(n).readings["tof_trace"]["value"] for n in (1, 5, 9, 13)]
    np.testing.assert_array_equal(rows[1], np.concatenate(pieces))


def test_of_what_is_replaced_the_last_remains():
    live = device("live:replace:100")
    average = expected(live, 5)["live_average"].value
    np.testing.assert_array_equal(average, live.push(4).readings["live_average"]["value"])


def test_a_dynamic_device_pushes_some_of_its_signals_each_time():
    dynamic = device("dynamic:x1")
    assert {tuple(dynamic.push(n).readings) for n in range(3)} == {
        ("dynamic_data_ch1", "dynamic_data_ch2"),
        ("dynamic_data_ch0", "dynamic_data_ch1"),
        ("dynamic_data_ch0", "dynamic_data_ch2"),
    }
