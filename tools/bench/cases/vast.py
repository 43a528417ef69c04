"""Does an image cost what is there of it, whatever its size?

Images of 2^14, 2^20 and 2^30 pixels a side, of each of which the same four squares of pixels are there: added from the
pixels up, and coarse levels first; looked at, stepped over, changed in one place.  Each is made by a fresh process,
whose peak memory is told.  The smallest image is the limit: a ratio of one means that size does not matter.
"""

from __future__ import annotations

import shutil

from tools.bench.bench import Bench, reason
from tools.bench.child import ask
from tools.bench.ours import KIND
from tools.bench.results import Line, Table
from tools.bench.timing import Round, Spread, ratios

__all__ = ["NAME", "SIDES", "run"]

NAME = "vast"
SIDES = (1 << 14, 1 << 20, 1 << 30)
_WAYS = {False: "from the pixels up", True: "coarse levels first"}
_EXTRA = {
    "MiB at the peak": ("peak", 1.0),
    "s of processor": ("cpu_s", 1.0),
    "s until seen": ("seen_s", 1.0),
    "µs a look": ("look_s", 1e6),
    "ms a step": ("step_s", 1e3),
    "ms a change": ("change_s", 1e3),
    "ms a refocus": ("refocus_s", 1e3),
}
"""Further columns, and what of a measurement they are, by how much."""


def run(bench: Bench) -> tuple[Table, ...]:
    """Make the images, the largest and the smallest by turns; one table for each way."""
    square = bench.sizes.image
    tables = []
    for coarse, way in _WAYS.items():
        lines: list[Line] = []
        try:
            answers = [_round(bench, coarse, turn) for turn in range(bench.sizes.processes)]
        except Exception as error:
            lines.append(Line(_name(SIDES[0]), KIND, "failed", note=reason(error, bench.scratch)))
            answers = []
        rounds: list[Round] = [{_name(side): one["made_s"] for side, one in answer.items()} for answer in answers]
        for side in SIDES if rounds else ():
            found = [answer[side] for answer in answers]
            extra = tuple(Spread.of([one[key] for one in found]).scaled(scale).median for key, scale in _EXTRA.values())
            value = Spread.of([one[_name(side)] for one in rounds])
            ratio = Spread.of(ratios(rounds, _name(side), _name(SIDES[0])))
            lines.append(Line(_name(side), KIND, "measured", value, ratio, extra))
        what = f"Four squares of {square:,} × {square:,} pixels in an image of so many pixels a side, {way}."
        name = f"{NAME}/{'coarse' if coarse else 'pixels'}"
        tables.append(Table(name, f"A vast image, {way}", what, "s", _name(SIDES[0]), tuple(lines), tuple(_EXTRA)))
    return tuple(tables)


def _name(side: int) -> str:
    return f"2^{side.bit_length() - 1} pixels a side"


def _round(bench: Bench, coarse: bool, turn: int) -> dict[int, dict[str, float]]:
    found = {}
    for side in SIDES if turn % 2 == 0 else SIDES[::-1]:
        bench.say(f"{NAME}: {_name(side)}, {_WAYS[coarse]}, {turn + 1} of {bench.sizes.processes}")
        root = bench.folder(NAME)
        try:
            task = {"task": "vast", "side": side, "square": bench.sizes.image, "coarse": coarse}
            found[side] = ask({**task, "folder": str(root / "t.mctree")})
        finally:
            shutil.rmtree(root)
    return found
