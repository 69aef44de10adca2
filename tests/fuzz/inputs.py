"""Inputs for the fuzzer: messages made to harm, and damaged forms of real ones.

All comes from a `random.Random`: the same seed gives the same inputs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

CORPUS = Path(__file__).with_name("corpus")

_NUMBERS = [0, 1, -1, 7, 255, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]
_FLOATS = [0.0, -1.0, 1e308, float("nan"), float("inf"), float("-inf"), 1.7e9, 1e18]
_NAMES = ["sig", "other", "sig_sync", "value", "c", "..", "../../x", "a/b", "a\0b", "", ".", "__x"]
_NAMES += [
    "zarr.json",
    "é",
    "e\u0301",
    "\u202egnp",
    "\ufeff",
    "x" * 240,
    "x" * 255,
    "y" * 4096,
    "💥",
]
_KEYS: list[Any] = [*_NAMES, 5, None, True, 1.5, b"sig"]
_DTYPES = ["<f8", ">u2", "|b1", "<c16", "<U3", "|S4", "|V8", "<M8[s]", "|O", "<f2", "<f16", "i4,f4"]
_DTYPES += ["|V0", "<U0", "<U99999999999", "<i16", "", "__import__('os')"]
_FIELDS = [
    [["x", "<f4"], ["n", "<i2"]],
    [["x", "<f4", [3]]],
    [["x", [["y", "<f4"]]]],
    [["x", "<f4"], ["x", "<f4"]],
    [["", "|V4"], ["x", "<f4"]],
    [["x", "<f4", [0]]],
    [[f"f{n}", "<f4"] for n in range(300)],
    [["n" * 3000, "<i8"]],
    [["a\0b", "<i8"]],
    [],
]
_STATES = ["open", "paused", "closed", "aborted", "halted", "user_completed", "begun", "", 5, None]


def tagged(encoder: str, kind: str, data: Any) -> dict[str, Any]:
    return {"__bec_codec__": {"encoder_name": encoder, "type_name": kind, "data": data}}


class Inputs:
    """An endless supply. `corpus`: what is damaged, one message each."""

    def __init__(self, rng: random.Random, corpus: list[bytes]) -> None:
        self._rng = rng
        self._corpus = corpus

    def __iter__(self) -> Iterator[bytes]:
        while True:
            yield self.one()

    def one(self) -> bytes:
        """A real message, damaged, or one that was made, as it is or damaged."""
        chance = self._rng.random()
        if chance < 0.35:
            return self.damaged(self._rng.choice(self._corpus))
        raw = self.made()
        return self.damaged(raw) if chance < 0.55 else raw

    # --- bytes ---

    def damaged(self, raw: bytes) -> bytes:
        data = bytearray(raw)
        for _ in range(self._rng.choice((1, 1, 1, 2, 4))):
            self._rng.choice(self._DAMAGES)(self, data)
        return bytes(data[:100_000])

    def _place(self, data: bytearray) -> int:
        return self._rng.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def _head(self, data: bytearray) -> None:
        """What states a length: of lists, maps, texts, bytes, extensions."""
        at = self._place(data)
        length = self._rng.choice((0, 1, 2**16, 2**24, 2**31, 2**32 - 1)).to_bytes(4, "big")
        data[at : at + 5] = bytes([self._rng.choice((0xC6, 0xC9, 0xDB, 0xDD, 0xDF))]) + length

    def _cut(self, data: bytearray) -> None:
        at = self._place(data)
        del data[at : at + self._rng.choice((1, 1, 2, 8, len(data)))]

    def _repeat(self, data: bytearray) -> None:
        at = self._place(data)
        part = data[at : at + self._rng.randrange(1, 40)]
        data[at:at] = part * self._rng.choice((1, 2, 50))

    def _nest(self, data: bytearray) -> None:
        at = self._place(data)
        data[at:at] = self._rng.choice((b"\x91", b"\x81\xa1a")) * self._rng.choice((3, 60, 700))

    def _splice(self, data: bytearray) -> None:
        other = self._rng.choice(self._corpus)
        at, start = self._place(data), self._rng.randrange(len(other))
        data[at:] = other[start:]

    _DAMAGES: tuple[Callable[[Inputs, bytearray], None], ...] = (
        _flip, _flip, _flip, _head, _cut, _repeat, _nest, _splice,
    )  # fmt: skip

    # --- messages ---

    def made(self) -> bytes:
        data = self._rng.choice(self._MESSAGES)(self)
        for _ in range(self._rng.choice((0, 0, 1))):
            fields = data["__bec_codec__"]["data"]
            if isinstance(fields, dict) and fields:
                fields[self._rng.choice(list(fields))] = self.value(2)
        raw: bytes = msgpack.packb(data)
        return raw

    def _device(self) -> Any:
        signals = {
            self._rng.choice(_KEYS if self._odd() else ["sig", "other"]): self._reading()
            for _ in range(self._rng.choice((1, 1, 1, 2, 5)))
        }
        metadata: dict[str, Any] = {"async_update": self._update()}
        if self._rng.random() < 0.3:
            numbers = (
                [*_NUMBERS, self._rng.randrange(5000), 1.5, None, "1", True]
                if self._odd()
                else range(20)
            )
            metadata["async_indices"] = {name: self._rng.choice(numbers) for name in signals}
        return self._message("DeviceMessage", metadata, signals=signals)

    def _status(self) -> Any:
        number = self._rng.choice([*_NUMBERS, None, "5", True]) if self._odd() else 1
        base = self._rng.choice(["../../etc/x", "/etc/x", "x\0y", "/" * 5000, 5, None, "/fuzz/S1"])
        info = {
            "file_components": self._rng.choice([[base, "h5"], [base], [], base]),
            "scan_report_devices": self._few(),
            "readout_priority": self._rng.choice([{"monitored": self._few()}, self.value(1)]),
            "request_inputs": self._rng.choice([{"arg_bundle": self._few()}, self.value(2)]),
            "scan_name": self._rng.choice(["line_scan", self.value(0)]),
            "user_metadata": {"a/b/c": self.value(2), "title": self.value(1)},
            self._rng.choice(_KEYS): self.value(2),
        }
        return self._message(
            "ScanStatusMessage",
            scan_id=self._rng.choice(_NAMES) if self._odd() else "s1",
            status=self._rng.choice(_STATES),
            reason=self._rng.choice([None, "user", self.value(0)]),
            scan_number=number,
            num_points=self._rng.choice(_NUMBERS),
            readout_priority={"monitored": self._few(), "async": ["dev"]},
            scan_parameters={"system_config": {"file_suffix": self._rng.choice(_NAMES)}},
            user_metadata=self._rng.choice([None, {}, {"x": self.value(2)}]),
            info=info,
            timestamp=self._rng.choice([*_FLOATS, None, "now", 5]),
        )

    def _point(self) -> Any:
        number = self._rng.choice(_NUMBERS) if self._odd() else self._rng.randrange(5)
        return self._message(
            "ScanMessage", point_id=number, scan_id="s1", data={"samx": {"sig": self._reading()}}
        )

    def _baseline(self) -> Any:
        data = {self._rng.choice(_NAMES): {self._rng.choice(_NAMES): self._reading()}}
        return self._message("ScanBaselineMessage", scan_id="s1", data=data)

    def _bundle(self) -> Any:
        parts = [self._rng.choice((self._point, self._device))() for _ in range(3)]
        return self._message("BundleMessage", messages=parts)

    def _file(self) -> Any:
        return self._message(
            "FileMessage",
            file_path=self._rng.choice(["/x.h5", "x" * 5000, "a\0b", "/dev/zero", "", "../.."]),
            done=True,
            successful=self._rng.choice([True, 1]),
            hinted_h5_entries={self._rng.choice(_NAMES): self._rng.choice(_NAMES)},
        )

    def _state(self) -> Any:
        return self._message(
            "BeamlineStateMessage",
            name=self._rng.choice(_NAMES),
            status="valid",
            label=self._rng.choice(_NAMES),
            timestamp=self._rng.choice([*_FLOATS, None]),
        )

    def _index(self) -> Any:
        return self._message(
            "DeviceAsyncSignalIndexMessage",
            scan_id="s1",
            device="dev",
            signal="sig",
            shapes={"sig": [self._rng.choice(_NUMBERS)]},
            indices={"sig": self._rng.choice(_NUMBERS)},
            async_update={},
        )

    _MESSAGES: tuple[Callable[[Inputs], Any], ...] = (
        _device, _device, _device, _status, _point, _baseline, _bundle, _file, _state, _index,
    )  # fmt: skip

    def _message(self, kind: str, metadata: Any = None, **fields: Any) -> Any:
        return tagged("BECMessage", kind, {"metadata": metadata or {}, **fields})

    def _odd(self) -> bool:
        return self._rng.random() < 0.2

    def _few(self) -> Any:
        return self._rng.choice([[], ["samx"], ["samx", "samy"], _NAMES, ["x"] * 500, None])

    def _reading(self) -> Any:
        value = self.value(2) if self._rng.random() < 0.6 else self._plain_value()
        stamp = self._rng.choice([*_FLOATS, None, [1.0, 2.0], "now"]) if self._odd() else 1.0
        reading = {"value": value, "timestamp": stamp}
        return self._rng.choice([None, {}, [], 5]) if self._rng.random() < 0.05 else reading

    def _plain_value(self) -> Any:
        number = self._rng.randrange(100)
        return self._rng.choice([number, number / 2, [number] * 3, [number / 2] * 4, "text"])

    def value(self, depth: int) -> Any:
        """Anything that a message can hold, and some things that it cannot."""
        kinds: list[Callable[[], Any]] = [
            lambda: self._rng.choice(_NUMBERS),
            lambda: self._rng.choice(_FLOATS),
            lambda: self._rng.choice(_NAMES),
            lambda: self._rng.choice([None, True, b"\xff\x00", b"ab", "x" * 70_000, []]),
            self._array,
            self._array,
        ]
        if depth:
            kinds += [
                lambda: [self.value(depth - 1) for _ in range(self._rng.randrange(4))],
                lambda: {self._rng.choice(_KEYS): self.value(depth - 1)},
                lambda: [self._rng.choice([1, 1.5, None, "a", True]) for _ in range(5)],
                lambda: [[1] * self._rng.randrange(3) for _ in range(3)],
                self._deep,
            ]
        return self._rng.choice(kinds)()

    def _deep(self) -> Any:
        value: Any = 1
        for _ in range(self._rng.choice((5, 31, 33, 60, 200))):
            value = {"a": value} if self._rng.random() < 0.3 else [value]
        return value

    def _array(self) -> Any:
        kind, dtype = b"", self._rng.choice(_DTYPES[:8] if self._rng.random() < 0.7 else _DTYPES)
        shape = [self._rng.choice((0, 1, 2, 3, 7)) for _ in range(self._rng.randrange(4))]
        if self._rng.random() < 0.1:
            shape.append(self._rng.choice((2**20, 2**40, 2**63, -1, True, None)))
        if self._rng.random() < 0.2:
            kind, dtype = b"V", self._rng.choice(_FIELDS)
        nbytes = self._nbytes(dtype, shape)
        data = {b"nd": True, b"type": dtype, b"kind": kind, b"shape": shape}
        data[b"data"] = self._rng.randbytes(nbytes)
        return tagged("ndarray", "ndarray", data)

    def _nbytes(self, dtype: Any, shape: list[Any]) -> int:
        """What the array would take, so that it is one; now and then something else."""
        sizes = {"<f8": 8, ">u2": 2, "|b1": 1, "<c16": 16, "<U3": 12, "|S4": 4, "|V8": 8}
        nbytes = 6 if isinstance(dtype, list) else sizes.get(dtype, 8)
        for size in shape:
            nbytes *= size if isinstance(size, int) and 0 <= size < 100 else 1
        return nbytes if self._rng.random() < 0.95 else self._rng.randrange(50)

    def _update(self) -> Any:
        if self._rng.random() < 0.1:
            return self._rng.choice(["append", "extend", None, {}, 5, {"type": []}])
        shapes = [[None], [None], [None, 4], [None, 2, 3], [None, None], [5], [3, 4]]
        if self._odd():
            shapes = [[None, 2**30], [None, -4], [0], [], [None] * 3, [4, None], [None] + [1] * 40]
            shapes += [
                [2**63, 1],
                [None, 2**64 - 1],
                ["4"],
                [None, True],
                None,
                [None, 2**22],
                [None, 1000],
            ]
        kind = self._rng.choice(["add", "add", "add", "add_slice", "replace"])
        update = {"type": kind, "max_shape": self._rng.choice(shapes)}
        if kind == "add_slice":
            far = [10**6, self._rng.randrange(10**6)]
            update["index"] = self._rng.choice([0, 1, 2, 3, *_NUMBERS, "0", None, *far])
        return update


def corpus() -> list[bytes]:
    """The seeds, in order of their names."""
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]
