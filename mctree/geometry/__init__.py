"""Where is everything?  Integers only: implicit trees, Z-order, addresses, sets of positions, cuts.

    integers    which integers are legal
    shape       the implicit tree: parents, children, spans
    address     the names of nodes: three numbers, one uint64, text
    intervals   sets of positions, as sorted half-open intervals
    morton      patches in Z-order
    raster      the pixels, patches and nodes of an image
    leaves      nodes below which nothing is known
    cut         covers of what exists by nodes of mixed level: make, expand, collapse, check

No I/O, no clock, no state; nothing here knows what a node holds.
"""

from __future__ import annotations

from mctree.geometry import intervals, morton
from mctree.geometry.address import Address, pack, unpack
from mctree.geometry.cut import Cut, Problem, World, check, collapse, cover, expand
from mctree.geometry.leaves import Leaves
from mctree.geometry.raster import PATCH, Raster
from mctree.geometry.shape import IMAGE, TEXT, Shape

__all__ = [
    "IMAGE",
    "PATCH",
    "TEXT",
    "Address",
    "Cut",
    "Leaves",
    "Problem",
    "Raster",
    "Shape",
    "World",
    "check",
    "collapse",
    "cover",
    "expand",
    "intervals",
    "morton",
    "pack",
    "unpack",
]
