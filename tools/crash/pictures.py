"""Does `kill -9` lose, or spoil, anything of images?  A life with images is killed as the one of texts is.

An image of two blocks is ingested in two commits, another in none of its own; regions are changed, images replaced and
removed, a gist set comes late, one image comes coarse and in part and is made whole, and the store is compacted.  What
a store shows is told line by line by `mctree.testing.dump`, which says nothing of the commits and rows that led to it.
So whatever was broken off must show what was acknowledged, or that and the whole of the step in flight (where an image
is made whole: or as much of it as the same commit shows if nobody disturbs it), and with each older commit what that
showed before; and who goes on comes to what a life shows that nobody disturbed: with the step that comes next, and in
the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import MctreeError
from mctree.sources.images import ArraySource, Box
from mctree.testing import ProceduralSource
from mctree.testing.dump import dump
from mctree.testing.stores import scratch
from mctree.tree.writer import Writer
from tools.crash.life import Life
from tools.crash.parts import Part
from tools.crash.sweep import sweep

__all__ = ["LIFE", "PART"]

_CHUNK_BYTES = 1 << 16
_KEEP = 3
_ENCODER = CosineEncoder(1, side=2)
_LARGE = (20, 1100)
"""Two blocks, of which the second is narrow."""
_SMALLER = 4
"""Pixels of a side that become one in the smaller version of the image that comes coarse first."""


@dataclass(frozen=True, slots=True)
class _Step:
    """What is done between two acknowledgements, with a writer of its own or with the tree.

    Attributes:
        act: which one it belongs to.
        name: as which it is acknowledged.
        write: what its writer does before it commits.
        manage: what is done with the tree instead.
        bit_by_bit: whether commits on the way show as much of it as is done, rather than nothing.
    """

    act: str
    name: str
    write: Callable[[Writer], object] | None = None
    manage: Callable[[mctree.Tree], object] | None = None
    bit_by_bit: bool = False


def _pixels(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 1), np.uint8)


def _add(writer: Writer, name: str, seed: int, size: tuple[int, int], replace: bool = False) -> None:
    writer.add_image(name, _pixels(seed, *size), replace=replace, commit_every=1)


def _change(writer: Writer, name: str, seed: int, box: Box) -> None:
    writer.change_image(name, _pixels(seed, box.height, box.width), box)


def _growing() -> ProceduralSource:
    return ProceduralSource(*_LARGE, 1, seed=7, levels=(1, _SMALLER))


def _begin_coarse(writer: Writer) -> None:
    writer.add_image("grown", _growing(), finest=1, region=Box(0, 0, 600, 20), commit_every=1)


def _deepen(writer: Writer) -> None:
    writer.deepen_image("grown", _growing(), commit_every=1)


def _extend(writer: Writer) -> None:
    writer.extend_image("grown", _growing(), commit_every=1)


def _move(writer: Writer) -> None:
    height, width = _LARGE
    writer.relocate_image("grown", ArraySource(_growing().read(Box(0, 0, width, height)).values))


def _texts(writer: Writer) -> None:
    writer.add("a text", b"words beside pictures " * 40)


_STEPS = (
    _Step("beginning", "begun"),
    _Step("ingest", "a text", _texts),
    _Step("ingest", "large", partial(_add, name="large", seed=1, size=_LARGE)),
    _Step("ingest", "icon", partial(_add, name="icon", seed=2, size=(20, 33))),
    _Step("set", "gists", manage=lambda tree: tree.build_gists(_ENCODER, "late")),
    _Step("change", "changed", partial(_change, name="large", seed=3, box=Box(100, 3, 300, 18))),
    _Step("change", "changed again", partial(_change, name="icon", seed=4, box=Box(0, 0, 16, 16))),
    _Step("replacement", "replaced", partial(_add, name="large", seed=5, size=_LARGE, replace=True)),
    _Step("replacement", "removed", lambda writer: writer.remove("icon")),
    _Step("growth", "coarse", _begin_coarse),
    _Step("growth", "deepened", _deepen, bit_by_bit=True),
    _Step("growth", "extended", _extend, bit_by_bit=True),
    _Step("growth", "moved", _move),
    _Step("compaction", "compacted", manage=lambda tree: tree.compact()),
    _Step("afterwards", "one more", partial(_add, name="one more", seed=6, size=(33, 20))),
)
_ACTS = tuple(dict.fromkeys(step.act for step in _STEPS))


def live(path: str, acknowledge: Callable[[str], None], acts: Sequence[str] = _ACTS) -> None:
    """Let the store at `path` live through some acts."""
    for act in (act for act in _ACTS if act in acts):
        steps = [step for step in _STEPS if step.act == act]
        _do(path, steps, acknowledge)


def _do(path: str, steps: Sequence[_Step], acknowledge: Callable[[str], None] = lambda _: None) -> None:
    for step in steps:
        if step is _STEPS[0]:
            mctree.create(path, chunk_bytes=_CHUNK_BYTES, keep=_KEEP).close()
        else:
            with mctree.open(path, encoders=[_ENCODER]) as tree:
                if step.manage is not None:
                    step.manage(tree)
                elif step.write is not None:
                    with closing(tree.writer()) as writer:
                        step.write(writer)
                        writer.commit(gists=True)
        acknowledge(step.name)


def look_in(path: str) -> None:
    """Come by as the next writer, if there is a store, and change nothing."""
    if os.path.lexists(path):
        with mctree.open(path, encoders=[_ENCODER]) as tree:
            tree.writer().close()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a store shows: which epoch it is of, and for each commit that opens, by number, its dump."""

    epoch: int
    commits: Mapping[int, tuple[str, ...]]

    @property
    def newest(self) -> int:
        return max(self.commits)

    @property
    def shown(self) -> tuple[str, ...]:
        return self.commits[self.newest]


@cache
def foresee() -> tuple[_Seen, ...]:
    """What a store shows after each step, if nobody disturbs it."""
    found: list[_Seen] = []
    with scratch() as folder:
        path = os.path.join(folder, "undisturbed")
        live(path, lambda _: found.append(_look(path)))
    return tuple(found)


def _look(path: str, commits: int | None = None) -> _Seen:
    """Verify a store, and read so many of its newest commits, or all."""
    with mctree.open(path, writable=False, encoders=[_ENCODER]) as tree:
        problems = [f"{problem.where} {problem.what}" for problem in tree.verify()]
        assert not problems, f"verify finds {len(problems)} problems: {'; '.join(problems[:3])}"
        shown = {}
        for commit in tree.commits()[-(commits or 0) :]:
            with tree.snapshot(commit.number) as snapshot:
                shown[commit.number] = tuple(dump(snapshot))
        return _Seen(tree.epoch, shown)


def judge(path: str, acknowledged: Sequence[str]) -> list[str]:
    """What is wrong with the store at `path` after a life that was broken off; it lives on to the end."""
    assert list(acknowledged) == [step.name for step in _STEPS[: len(acknowledged)]], "steps are acknowledged in order"
    try:
        _compare(path, len(acknowledged))
    except (AssertionError, MctreeError, OSError) as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def settle(path: str, acknowledged: Sequence[str]) -> None:
    """Make sure that the store at `path` is what was acknowledged, or that and the whole of the step in flight.

    Raises:
        AssertionError: it is not; or what reading it raises.
    """
    _settled(path, len(acknowledged))


def _settled(path: str, done: int) -> int:
    """At which step a store stands after so many were acknowledged, all that it shows compared."""
    known, seen = foresee(), _look(path)
    possible = [at for at in (done - 1, done) if 0 <= at < len(known)]
    stands = next((at for at in possible if known[at].shown == seen.shown), None)
    if stands is None and done in possible and _STEPS[done].bit_by_bit:
        stands = done - 1 if known[done].commits.get(seen.newest) == seen.shown else None
    if stands is None:
        other = _other(known[possible[0]].shown, seen.shown)
        raise AssertionError(f"after {done} steps it shows what none of them leads to: {other}")
    # Of the step in flight some commits may be there that nobody has heard of: they show what was there before.
    before = {
        number: shown for one in known[: done + 1] if one.epoch == seen.epoch for number, shown in one.commits.items()
    }
    for number, shown in seen.commits.items():
        assert number in before, f"commit {number} is none of this life"
        assert shown == before[number], (
            f"commit {number} shows something else than before: {_other(before[number], shown)}"
        )
    if done and known[done - 1].epoch == seen.epoch:
        assert seen.newest >= known[done - 1].newest, f"commit {known[done - 1].newest} was acknowledged, and is gone"
    gone = [number for number in before if seen.newest - _KEEP < number < seen.newest and number not in seen.commits]
    assert not gone, f"commits {gone} are gone"
    return stands


def _compare(path: str, done: int) -> None:
    known = foresee()
    if os.path.lexists(path):
        stands = _settled(path, done)
    else:
        assert not done, "the store is not there"
        stands = -1
    rest = _STEPS[stands + 1 :]
    # What comes later may cover up what the step that was broken off has lost.
    for steps in (rest[:1], rest[1:]):
        if steps:
            _do(path, steps)
            wanted, found = known[_STEPS.index(steps[-1])].shown, _look(path, 1).shown
            assert found == wanted, f"after {steps[-1].name!r} it shows something else: {_other(wanted, found)}"
    halves = [name for _, _, names in os.walk(path) for name in names if name.endswith(".new")]
    beside = [name for name in os.listdir(os.path.dirname(path)) if name.startswith(f".{os.path.basename(path)}.")]
    assert not halves and not beside, f"{halves + beside} was left"


def _other(wanted: Sequence[str], found: Sequence[str]) -> str:
    lines = [f"{one!r:.200} for {two!r:.200}" for one, two in zip(found, wanted, strict=False) if one != two]
    return lines[0] if lines else f"{len(found)} lines for {len(wanted)}"


LIFE = Life(
    _ACTS,
    tuple((step.act, step.name) for step in _STEPS),
    live,
    judge,
    settle,
    look_in,
    foresee,
    (_ENCODER,),
    weight=5,
    within=", in a life with images",
)

PART = Part(
    "pictures",
    "a killed process loses nothing of images, and who goes on ends where it would have",
    partial(sweep, LIFE),
)
