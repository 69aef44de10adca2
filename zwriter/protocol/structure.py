"""How much a msgpack message would become, seen before anything is made of it.

A few bytes can state a list of four thousand million items, or nest a thousand lists; msgpack makes
room for what is stated, and whatever walks through the result recurses.
"""

from __future__ import annotations

from typing import Final

from zwriter.errors import BadMessage

_MAP, _LIST, _BYTES = range(3)

# First byte -> bytes of the whole item, where it says so alone: nil, bools, numbers, short texts,
# fixed extensions. 0: its length follows. 0xc1 is never used: msgpack refuses it later.
_SIZE: Final = [1] * 256
_SIZE[0x80:0xA0] = [0] * 32
_SIZE[0xA0:0xC0] = range(1, 33)
_SIZE[0xC4:0xCA] = [0] * 6
_SIZE[0xCA:0xDC] = [5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18, 0, 0, 0]
_SIZE[0xDC:0xE0] = [0] * 4

# First byte -> (kind, bytes of the length that follows, other bytes before the content)
_HEAD: Final = {
    0xC4: (_BYTES, 1, 0),
    0xC5: (_BYTES, 2, 0),
    0xC6: (_BYTES, 4, 0),
    0xC7: (_BYTES, 1, 1),
    0xC8: (_BYTES, 2, 1),
    0xC9: (_BYTES, 4, 1),
    0xD9: (_BYTES, 1, 0),
    0xDA: (_BYTES, 2, 0),
    0xDB: (_BYTES, 4, 0),
    0xDC: (_LIST, 2, 0),
    0xDD: (_LIST, 4, 0),
    0xDE: (_MAP, 2, 0),
    0xDF: (_MAP, 4, 0),
    **dict.fromkeys(range(128, 144), (_MAP, 0, 0)),
    **dict.fromkeys(range(144, 160), (_LIST, 0, 0)),
}
_RUN = 16  # items from which it pays to see whether they are all alike


def check_structure(raw: bytes, *, depth: int, containers: int, items: int) -> None:
    """Raises BadMessage if `raw` nests lists and maps deeper than `depth`, has more of them than
    `containers`, or more than `items` in all of them.

    What is no msgpack otherwise is not looked for: unpacking says so.
    """
    end = len(raw)
    position, left = 0, 1
    outer: list[int] = []  # items left in the lists and maps around
    while position < end:
        while not left:
            if not outer:
                return
            left = outer.pop()
        first = raw[position]
        left -= 1
        size = _SIZE[first]
        if size:
            position += size
            continue
        kind, width, extra = _HEAD[first]
        position += 1
        length = int.from_bytes(raw[position : position + width], "big") if width else first & 15
        position += width + extra
        if kind == _BYTES:
            position += length
            continue
        count = 2 * length if kind == _MAP else length
        containers -= 1
        items -= count
        if count > end - position:
            raise BadMessage(f"a message of {end} bytes states {length} items")
        if len(outer) >= depth:
            raise BadMessage(f"lists or maps nested more than {depth} deep")
        if containers < 0 or items < 0:
            raise BadMessage("too many items in one message")
        if count >= _RUN and position < end:
            # numbers of one kind, the usual long list: a look at each first byte, in one call
            first = raw[position]
            step = _SIZE[first]
            if step and raw[position : position + step * count : step].count(first) == count:
                position += step * count
                continue
        outer.append(left)
        left = count
