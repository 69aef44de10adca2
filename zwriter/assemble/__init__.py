"""Updates of one signal -> blocks of rows. Pure numpy: knows neither Redis nor Zarr."""

from zwriter.assemble.blocks import Block, assemble, join
from zwriter.assemble.gather import SHARE, Gathering, Room
from zwriter.assemble.layouts import (
    Layout,
    Pieces,
    Ragged,
    Replaced,
    Rows,
    Slices,
    layout_for,
)
from zwriter.assemble.values import (
    as_array,
    cast_exact,
    cast_or_raise,
    common_dtype,
    fill_value,
    widest,
)

__all__ = [
    "SHARE",
    "Block",
    "Gathering",
    "Layout",
    "Pieces",
    "Ragged",
    "Replaced",
    "Room",
    "Rows",
    "Slices",
    "as_array",
    "assemble",
    "cast_exact",
    "cast_or_raise",
    "common_dtype",
    "fill_value",
    "join",
    "layout_for",
    "widest",
]
