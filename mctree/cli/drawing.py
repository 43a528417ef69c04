"""What does a working context look like?  The timeline above, what the model reads below, and what becomes of what.

Each entry is a band that leads from the stretch of the timeline that it stands for to the room that it takes in the
context.  Where detail went, a thin stretch becomes a wide one.  Needs Pillow (the extra `picture`), and reads nothing
but the entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mctree.cli.escaping import one_line
from mctree.cli.formatting import clip
from mctree.cli.pillow import require_format
from mctree.cli.strip import level_counts
from mctree.focus import WorkingContext
from mctree.format.records import BLOCK

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

__all__ = ["draw_context"]

_WIDTH, _HEIGHT, _MARGIN = 1600, 720, 60
_TOP, _BAND, _BOTTOM = 130, 46, 560
_PAPER, _INK, _QUIET = "#fbfaf7", "#22252b", "#8a8f98"
_COLOURS = ("#c8371f", "#e9a23b", "#7fb069", "#4f8fba", "#41507b", "#b9bcc4")
"""From LOD0 to LOD5 and coarser."""
_SCALE = 2
"""Drawn so many times as large, and made smaller in the end, so that edges are smooth."""


def draw_context(context: WorkingContext, title: str, path: str) -> None:
    """Draw a working context into a file; its ending says in which format.

    Raises:
        UsageError: Pillow is not installed, or knows no such format.
    """
    require_format(path)
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  # as `require_format` has found, it is there

    image = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), _PAPER)
    pen = ImageDraw.Draw(image, "RGBA")
    large, small = (ImageFont.load_default(size * _SCALE) for size in (24, 16))
    _bands(context, pen)

    def write(x: float, y: float, text: str, font: object = small, colour: str = _INK, anchor: str = "ls") -> None:
        pen.text((x * _SCALE, y * _SCALE), text, fill=colour, font=font, anchor=anchor)  # type: ignore[arg-type]  # fonts have no common type

    shown = clip(one_line(title), 90)
    write(_MARGIN, 58, shown, large)
    end = context.ground.end
    write(_MARGIN, _TOP - 12, f"the timeline: {end:,} positions", colour=_QUIET)
    write(_MARGIN, _BOTTOM + _BAND + 26, f"what is read: {context.cost:,} of {context.budget:,}", colour=_QUIET)
    x = float(_MARGIN)
    for level, entries, cost in level_counts(context):
        colour = _COLOURS[min(level, len(_COLOURS) - 1)]
        label = f"{cost:,} tokens in {entries:,} blocks" if level == 0 else f"{entries:,} gists of LOD{level}"
        _box(pen, (x, _HEIGHT - 46, x + 18, _HEIGHT - 28), colour)
        write(x + 26, _HEIGHT - 30, label)
        x += 26 + pen.textlength(label, font=small) / _SCALE + 34
    image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).save(path)


def _bands(context: WorkingContext, pen: ImageDraw) -> None:
    entries = context.entries
    room = _WIDTH - 2 * _MARGIN
    stop = np.where(entries.space > 0, entries.slot + BLOCK, entries.stop)
    end = max(int(stop.max(initial=1)), 1)
    left, right = _MARGIN + entries.slot / end * room, _MARGIN + stop / end * room
    ends = np.cumsum(entries.cost)
    scale = room / max(context.budget, 1)
    begin, behind = _MARGIN + (ends - entries.cost) * scale, _MARGIN + ends * scale
    _box(pen, (_MARGIN, _BOTTOM, _MARGIN + room, _BOTTOM + _BAND), "#ecebe6")
    level = np.where(entries.space > 0, 0, entries.level)
    # The coarse first: what is fine lies over it, and is seen however thin it is.
    for i in np.lexsort((entries.slot, -level)).tolist():
        colour = _COLOURS[min(int(level[i]), len(_COLOURS) - 1)]
        a, b, c, d = (float(column[i]) for column in (left, right, begin, behind))
        b = max(b, a + 0.6)
        joint = [(a, _TOP + _BAND), (b, _TOP + _BAND), (d, _BOTTOM), (c, _BOTTOM)]
        pen.polygon([(x * _SCALE, y * _SCALE) for x, y in joint], fill=f"{colour}38")
        _box(pen, (a, _TOP, b, _TOP + _BAND), colour)
        _box(pen, (c, _BOTTOM, max(d, c + 0.6), _BOTTOM + _BAND), colour)


def _box(pen: ImageDraw, box: tuple[float, float, float, float], colour: str) -> None:
    pen.rectangle([bound * _SCALE for bound in box], fill=colour)
