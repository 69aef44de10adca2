"""Where each item of a msgpack message lies, without making anything of it."""

from __future__ import annotations

from typing import Any


def walk(raw: bytes) -> Any:
    """The structure of a msgpack object: maps and lists as they are, for all else (start, bytes).

    For bytes it is where their content lies. Raises ValueError, LookupError, TypeError or
    RecursionError for what is cut off, not msgpack, or of no use here.
    """
    node, end = _node(raw, 0)
    if end != len(raw):
        raise ValueError("more than one object")
    return node


def _node(raw: bytes, at: int) -> tuple[Any, int]:
    kind = raw[at]
    if kind < 0x80 or kind >= 0xE0 or 0xC0 <= kind <= 0xC3:
        return (at, 1), at + 1
    if kind < 0x90:
        return _map(raw, at + 1, kind & 0x0F)
    if kind < 0xA0:
        return _list(raw, at + 1, kind & 0x0F)
    if kind < 0xC0:
        return _content(at + 1, kind & 0x1F)
    if kind in _SIZED:
        size = _SIZED[kind]
        return (at, 1 + size), at + 1 + size
    what, width = _COUNTED[kind]
    count = int.from_bytes(raw[at + 1 : at + 1 + width], "big")
    node, end = what(raw, at + 1 + width, count)
    return node, end


def _content(at: int, count: int) -> tuple[Any, int]:
    return (at, count), at + count


def _map(raw: bytes, at: int, count: int) -> tuple[Any, int]:
    found = {}
    for _ in range(count):
        start = at
        place, at = _node(raw, at)
        key = raw[place[0] : place[0] + place[1]]
        # keys of BEC are str, those of an ndarray bytes; either way what is in them
        text = raw[start] in (0xD9, 0xDA, 0xDB) or 0xA0 <= raw[start] < 0xC0
        found[key.decode() if text else key], at = _node(raw, at)
    return found, at


def _list(raw: bytes, at: int, count: int) -> tuple[Any, int]:
    found = []
    for _ in range(count):
        node, at = _node(raw, at)
        found.append(node)
    return found, at


_SIZED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_COUNTED: dict[int, Any] = {
    **{0xC4 + i: (lambda _, at, count: _content(at, count), 1 << i) for i in range(3)},
    **{0xD9 + i: (lambda _, at, count: _content(at, count), 1 << i) for i in range(3)},
    **{0xDC + i: (_list, 2 << i) for i in range(2)},
    **{0xDE + i: (_map, 2 << i) for i in range(2)},
}
