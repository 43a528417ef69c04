"""How does a person see an image of a tree?  Its nodes in words, and any region of it as a picture.

A picture is made of nodes of one level, by default of the coarsest whose nodes are no larger than a pixel of it, so
that it costs the same for an icon and for a map of a thousand million pixels a side.  Where the image is coarser than
that, it shows the nodes that there are.  Where a pixel of the picture is finer than a patch, it shows the image's own
pixels, if they are kept.  What does not exist is paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mctree import Snapshot
from mctree.cli.arguments import find_document
from mctree.cli.escaping import one_line
from mctree.cli.formatting import number, plural
from mctree.cli.output import bold, dim, name
from mctree.cli.painting import PAPER, fitting, paint, save, suitable_level
from mctree.cli.pillow import pillow
from mctree.errors import UsageError
from mctree.geometry import IMAGE, PATCH, morton
from mctree.sources.images import Box
from mctree.tree import Image
from mctree.tree.images.nodes import ImageNode

__all__ = ["as_region", "draw_image", "find_image", "node_json", "node_rows"]

_CLOSED = "; nothing below it is in the tree"
_MOST_NODES = 1 << 22
_MOST_PIXELS = 1 << 26
_DIGITS = 18
"""Of a number of pixels that is read at all; no image has as many."""


def find_image(snapshot: Snapshot, which: str) -> Image:
    """An image by the name of its source, or by `#` and the number of its document.

    Raises:
        NotFoundError: there is no such image.
    """
    return snapshot.image(find_document(snapshot, which).id)


def as_region(text: str) -> Box:
    """A region from `X0,Y0,X1,Y1`, in pixels of the image.

    Raises:
        UsageError: it is none.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= _DIGITS for part in parts):
        raise UsageError(f"region {text!r:.60} is not X0,Y0,X1,Y1: four whole numbers of pixels")
    return Box(*map(int, parts))


def draw_image(image: Image, path: str, *, level: int | None, region: Box | None, longest: int) -> str:
    """Draw a region of an image into a file; what was drawn, in words.

    Args:
        image: the image.
        path: of the file, the ending of which says in which format.
        level: of the nodes to draw; None chooses one, or pixels.
        region: in pixels of the image; all of it if None.
        longest: pixels on the longer side of the picture.

    Raises:
        UsageError: the region reaches beyond the image, or holds more nodes of the level than a picture can show.
    """
    whole = Box(0, 0, image.width, image.height)
    part = whole if region is None else region
    if not whole.holds(part):
        raise UsageError(f"{one_line(image.name)} is {image.width} × {image.height} pixels: {part} reaches beyond it")
    size = fitting(part, longest)
    coarse = len(image.coarse(part)[0]) > 0
    fine = level is None and part.height < PATCH * size[0] and part.area <= _MOST_PIXELS
    if fine and image.keeps_pixels and not coarse:
        save(_of_pixels(image, part, size), path)
        return f"{size[1]} × {size[0]} pixels, of its own pixels"
    chosen = suitable_level(image.raster, part, size) if level is None else level
    picture, levels = _of_nodes(image, chosen, part, size)
    save(picture, path)
    return f"{size[1]} × {size[0]} pixels, of nodes of level {', '.join(map(str, levels)) or chosen}"


def node_rows(snapshot: Snapshot, node: ImageNode) -> list[tuple[str, str]]:
    """What there is to know about a node of an image, by headings."""
    image, box, found = node.image, node.box, node.statistics
    parent, below = node.parent, node.children
    start, stop = node.span
    rows = [
        ("node", bold(str(node.address)) + dim(f" at commit {snapshot.commit}")),
        ("image", f"{name(one_line(image.name))} {dim(f'#{image.id}')} · {image.width} × {image.height} pixels"),
        ("box", f"x {box.x0}..{box.x1}, y {box.y0}..{box.y1} · {plural(int(found.pixels[0]), 'pixel')} of it real"),
        ("state", f"{node.state}, made from {node.made_from}" + _CLOSED * node.closed),
        ("colour", f"mean {_numbers(node.mean)} · deviation {_numbers(node.deviation)}"),
        ("parent", name(str(parent.address)) if parent else dim("none yet: the node above is not complete")),
    ]
    if below:
        first, last = name(str(below[0].address)), name(str(below[-1].address))
        rows.append(("children", f"{first} … {last} · {plural(len(below), 'node')}"))
    for view in snapshot.gist_sets():
        vector = node.gist(view.name)
        norm = dim("no gist") if vector is None else f"norm {float(np.linalg.norm(vector.astype(np.float64))):.4g}"
        stale = bold(" · stale") if node.state_in(view.name) == "stale" else ""
        rows.append(
            ("gist", f"{one_line(view.name)} · {one_line(view.record.kind)}, {number(view.dim)} · {norm}{stale}")
        )
    rows += [
        ("link", f"{one_line(link.kind)} {_span(link.source)} → {_span(link.target)} · {link.score:.2f}")
        for link in snapshot.links(start, stop, space=node.address.space)
    ]
    return rows


def node_json(snapshot: Snapshot, node: ImageNode) -> dict[str, object]:
    """The same for programs."""
    box, parent = node.box, node.parent
    return {
        "address": str(node.address),
        "level": node.level,
        "index": node.index,
        "commit": snapshot.commit,
        "span": list(node.span),
        "image": {"document": node.image.id, "source": one_line(node.image.name)},
        "box": [box.x0, box.y0, box.x1, box.y1],
        "pixels": int(node.statistics.pixels[0]),
        "state": node.state,
        "made_from": node.made_from,
        "closed": node.closed,
        "mean": node.mean.tolist(),
        "deviation": node.deviation.tolist(),
        "parent": None if parent is None else str(parent.address),
        "children": [str(child.address) for child in node.children],
        "gists": [one_line(view.name) for view in snapshot.gist_sets() if node.gist(view.name) is not None],
        "stale_gists": [one_line(view.name) for view in snapshot.gist_sets() if node.state_in(view.name) == "stale"],
        "links": [
            {"id": at.id, "kind": one_line(at.kind), "score": at.score, "from": list(at.source), "to": list(at.target)}
            for at in snapshot.links(*node.span, space=node.address.space)
        ],
    }


def _of_nodes(image: Image, level: int, part: Box, size: tuple[int, int]) -> tuple[NDArray[np.uint8], list[int]]:
    """A picture, and the levels that are in it."""
    image.first(level)
    side = image.raster.side(level)
    grid = Box(part.x0 // side, part.y0 // side, -(-part.x1 // side), -(-part.y1 // side))
    if grid.area > _MOST_NODES:
        raise UsageError(
            f"{number(grid.area)} nodes of level {level} are more than a picture shows: choose a coarser level, or a "
            "smaller region"
        )
    colours = image.colour(level, grid)
    x, y = np.meshgrid(np.arange(grid.x0, grid.x1), np.arange(grid.y0, grid.y1))
    there = colours.mask.ravel()
    levels = [np.full(int(there.sum()), level)]
    index = [np.asarray(morton.encode(x.ravel()[there], y.ravel()[there]))]
    shown = [colours.mean.reshape(-1, image.channels)[there]]
    # Closed nodes above the level stand for what is not there.
    above, nodes = image.coarse(part)
    for one in sorted(set(above[above > level].tolist())):
        some = nodes[above == one]
        levels.append(np.full(len(some), one))
        index.append(some - image.first(one))
        shown.append(image.statistics(one, some).mean)
    level_of, place, mean = np.concatenate(levels), np.concatenate(index), np.concatenate(shown)
    order = np.argsort(IMAGE.span(level_of, place)[0])
    picture = paint(image.raster, level_of[order], place[order], mean[order] / np.iinfo(image.dtype).max, part, size)
    return picture, sorted(set(level_of.tolist()))


def _of_pixels(image: Image, part: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
    pixels = image.pixels(part, partial=not len(image.coarse(part)[0]))
    values = pixels.values
    if image.dtype != np.uint8:
        most = np.iinfo(image.dtype).max
        nearest = (values.astype(np.uint32) * 255 + most // 2) // most  # as nodes are drawn
        values = nearest.astype(np.uint8)
    shown = values[..., [0, 0, 0] if image.channels < 3 else [0, 1, 2]]
    shown = np.where(pixels.real()[..., None], shown, np.array(PAPER, np.uint8))
    draw = pillow()
    way = draw.Resampling.BOX if size[0] < part.height else draw.Resampling.NEAREST
    resized = draw.fromarray(np.ascontiguousarray(shown)).resize((size[1], size[0]), way)
    return np.asarray(resized, np.uint8)


def _numbers(values: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _span(span: Sequence[int]) -> str:
    space, start, stop = span
    return f"{f'a{space}/' if space else ''}{start}..{stop}"
