"""Which inputs are worth trying?  Hypothesis strategies for what people put into stores, hostile parts included.

    sources()        names of documents, also such as are no UTF-8
    contents()       bytes of documents: empty, tiny, ragged, of many blocks, of several chunks
    documents()      (source, bytes)
    tokens()         token ids for stores of bare tokens
    edits()          one change of a document, legal or not
    plans()          a store that is yet to be made: rounds of edits, each followed by a commit
    ranges()         stretches of positions
    cuts()           cuts of a world, reached by expanding and collapsing
    scores()         scores of entries, such as no lens should give among them
    lenses()         lenses that are of some opinion, or change it
    allocators()     rules by which a working context follows its scores
    paper_images()   images for a world on paper
    trees()          a made store and the model that says what is in it

All of them shrink towards little.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from mctree.focus import Allocator, Look
from mctree.geometry import IMAGE, TEXT, Cut, Shape, World, collapse, cover, expand
from mctree.testing.edits import Action, Edit
from mctree.testing.paper import PaperImage
from mctree.testing.stores import Plan, Sample, made

__all__ = [
    "MadeUpLens",
    "allocators",
    "contents",
    "cuts",
    "documents",
    "edits",
    "lenses",
    "paper_images",
    "patterned",
    "plans",
    "ranges",
    "scores",
    "sources",
    "tokens",
    "trees",
]

_FEW_SOURCES = [b"a", b"b/c.txt", b"\xff\xfe.bin", "d\u00e9j\u00e0 vu".encode(), b"x" * 600]
_EDGES = [1, 31, 32, 33, 64, 95, 32 * 32 - 1, 32 * 32, 32 * 32 + 1]


def patterned(seed: int, size: int, below: int = 256) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Numbers below a bound that repeat nowhere near: content that is long, and short to write down."""
    n = np.arange(size, dtype=np.uint64) + np.uint64(seed)
    return ((n * np.uint64(2654435761) >> np.uint64(7)) % np.uint64(below)).astype(np.uint32)


def sources() -> st.SearchStrategy[bytes]:
    """Names of documents; often the same few, so that they meet."""
    return st.sampled_from(_FEW_SOURCES) | st.binary(min_size=1, max_size=40)


def _sizes(most: int) -> st.SearchStrategy[int]:
    edges = [size for size in _EDGES if size <= most]
    return st.sampled_from(edges) | st.integers(0, min(most, 3000)) | st.integers(0, most)


def contents(most: int = 5000) -> st.SearchStrategy[bytes]:
    """Bytes of documents, mostly short.

    Args:
        most: no content is longer.
    """
    made_up = st.builds(
        lambda seed, size: patterned(seed, size).astype(np.uint8).tobytes(), st.integers(0, 9), _sizes(most)
    )
    lines = st.lists(st.text(max_size=20), max_size=20).map(lambda parts: "\n".join(parts).encode()[:most])
    return st.one_of(st.binary(max_size=min(most, 100)), lines, made_up)


def documents(most: int = 5000) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """Sources and their bytes."""
    return st.tuples(sources(), contents(most))


def tokens(vocabulary: int, most: int = 5000) -> st.SearchStrategy[tuple[int, ...]]:
    """Token ids below `vocabulary`, few or in long rows."""
    few = st.lists(st.integers(0, vocabulary - 1), max_size=40).map(tuple)
    one = st.integers(0, vocabulary - 1).map(lambda token: (token,))
    rows = st.builds(
        lambda seed, size: tuple(patterned(seed, size, vocabulary).tolist()), st.integers(0, 9), _sizes(most)
    )
    return one | few | rows


def edits(
    *,
    text: bool = True,
    vocabulary: int = 256,
    most: int = 5000,
    names: st.SearchStrategy[bytes] | None = None,
    actions: tuple[Action, ...] = ("begin", "reopen", "write", "extend", "close", "add", "remove"),
) -> st.SearchStrategy[Edit]:
    """One change of one document, which may or may not be possible where it is tried.

    Args:
        text: whether the store has a tokenizer; if not, there are no `write` and no `add`.
        vocabulary: of the store.
        most: the most bytes or tokens of one edit.
        names: sources to choose from.
        actions: what may be done.
    """
    who = sources() if names is None else names
    kinds = {
        "begin": st.builds(Edit, st.just("begin"), who, replace=st.booleans()),
        "reopen": st.builds(Edit, st.just("reopen"), who),
        "write": st.builds(Edit, st.just("write"), who, data=contents(most)),
        "extend": st.builds(Edit, st.just("extend"), who, tokens=tokens(vocabulary, most)),
        "close": st.builds(Edit, st.just("close"), who),
        "add": st.builds(Edit, st.just("add"), who, data=contents(most), replace=st.booleans()),
        "remove": st.builds(Edit, st.just("remove"), who),
    }
    return st.one_of([kinds[action] for action in actions if text or action not in ("write", "add")])


def plans(*, text: bool = True, vocabulary: int = 256, most: int = 3000, rounds: int = 4) -> st.SearchStrategy[Plan]:
    """Stores that are yet to be made.

    Args:
        text: whether the store has a tokenizer.
        vocabulary: of the store.
        most: the most bytes or tokens of one edit.
        rounds: the most commits.
    """
    one = st.lists(edits(text=text, vocabulary=vocabulary, most=most), min_size=1, max_size=6).map(tuple)
    return st.lists(one, max_size=rounds).map(lambda found: Plan(tuple(found), None if text else vocabulary))


def trees(most: int = 3000, rounds: int = 4) -> st.SearchStrategy[Callable[[], AbstractContextManager[Sample]]]:
    """Stores with text and gists; what is drawn makes one: `with drawn() as sample: …`.

    The store lives in a temporary folder, is verified when the block ends, and then removed.
    """

    def maker(plan: Plan) -> Callable[[], AbstractContextManager[Sample]]:
        return lambda: made(plan)

    return plans(most=most, rounds=rounds).map(maker)


def ranges(positions: int) -> st.SearchStrategy[tuple[int, int]]:
    """Stretches (start, stop) within [0, positions], also empty ones."""
    bound = st.integers(0, positions) | st.integers(0, positions // 32).map(lambda block: block * 32)
    return st.tuples(bound, bound).map(lambda pair: (min(pair), max(pair)))


@st.composite
def cuts(draw: st.DrawFn, world: World, shape: Shape = TEXT, steps: int = 12, least_level: int = 0) -> Cut:
    """Cuts of all that exists, reached from the smallest by expanding and collapsing.

    Args:
        draw: given by Hypothesis.
        world: what exists.
        shape: the tree.
        steps: the most steps away from the smallest cut.
        least_level: no node is below this level.
    """
    cut = cover(shape, 0, world=world)
    for _ in range(draw(st.integers(0, steps))):
        above = np.flatnonzero(cut.level > least_level)
        if not len(above):
            break
        i = draw(st.sampled_from(above.tolist()))
        level, index = int(cut.level[i]), int(cut.index[i])
        cut = expand(cut, i, world)
        if draw(st.integers(0, 3)) == 0:
            cut = collapse(cut, level, index, world)
    return cut


class MadeUpLens:
    """A lens whose opinion of a position follows from a seed, and from the step if it is fickle.

    Args:
        seed: lenses of other seeds have other opinions.
        width: so many positions are of one opinion.
        fickle: whether it changes with each step.
        wild: whether some scores are NaN or infinite.
    """

    def __init__(self, seed: int, width: int, fickle: bool, wild: bool) -> None:
        self.seed, self.width, self.fickle, self.wild = seed, width, fickle, wild

    def __repr__(self) -> str:
        return f"MadeUpLens({self.seed}, {self.width}, {self.fickle}, {self.wild})"

    def score(self, look: Look) -> NDArray[np.float64]:
        """See `mctree.focus.Lens.score`."""
        salt = self.seed + (look.step * 1001 if self.fickle else 0)
        place = (look.entries.slot // self.width + salt).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        found = (place >> np.uint64(40)).astype(np.float64) / 2**23 - 1
        return _wild(found, self.seed) if self.wild else found


def _wild(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The same with some of them replaced by what is no number of [-1, 1]."""
    odd = np.array([np.nan, np.inf, -np.inf, 1e300, -7.0])
    generator = np.random.default_rng(seed)
    chosen = generator.random(len(values)) < 0.3
    return np.where(chosen, odd[generator.integers(0, len(odd), len(values))], values)


def lenses() -> st.SearchStrategy[MadeUpLens]:
    """Lenses that are of some opinion about each stretch of the timeline, or change it with each step."""
    widths = st.sampled_from([1 << 40, 1024, 32, 4096, 1 << 15])
    return st.builds(MadeUpLens, st.integers(0, 99), widths, st.booleans(), st.booleans())


def scores(n: int) -> st.SearchStrategy[NDArray[np.float64]]:
    """Scores of `n` entries: all alike, some at the threshold, random, and such as are no numbers at all.

    Args:
        n: how many.
    """
    levels = st.sampled_from([0.0, 1.0, -1.0, 0.2, -0.2, np.nextafter(0.2, 1), np.nan, np.inf, -np.inf, 5e-324])
    alike = levels.map(lambda level: np.full(n, level))
    seeds = st.integers(0, 999)
    noise = seeds.map(lambda seed: np.random.default_rng(seed).uniform(-1, 1, n))
    runs = st.builds(lambda seed, length: _in_runs(n, seed, length), seeds, st.sampled_from([32, 33, 7, 1000]))
    return st.one_of(alike, runs, noise, st.builds(_wild, noise | runs, seeds))


def _in_runs(n: int, seed: int, length: int) -> NDArray[np.float64]:
    """Scores that are the same for runs of entries, so that siblings agree."""
    few = np.random.default_rng(seed).uniform(-1, 1, n // length + 1)
    return np.repeat(few, length)[:n]


def allocators() -> st.SearchStrategy[Allocator]:
    """Rules by which a working context follows its scores; mostly sensible ones."""
    return st.builds(
        Allocator,
        threshold=st.sampled_from([0.2, 0.2, 0.0, 0.9]),
        max_edits=st.sampled_from([4, 1, 2, 40]),
        cooldown=st.sampled_from([2, 0, 1, 5]),
        protect=st.sampled_from([0, 0, 32, 1000, 1 << 40]),
        rounds=st.sampled_from([1, 1, 3]),
    )


def paper_images() -> st.SearchStrategy[PaperImage]:
    """Images of one tile or some, of any proportions, with tiles missing but not all of them; some are coarse."""
    sizes = st.sampled_from([(1, 1), (8, 8), (9, 8), (20, 33), (1, 40), (64, 64), (70, 3)])

    def with_holes(size: tuple[int, int], seed: int, share: float) -> PaperImage:
        tiles = [(x, y) for y in range(-(-size[0] // 8)) for x in range(-(-size[1] // 8))]
        random = np.random.default_rng(seed)
        gone = random.random(len(tiles)) < share
        gone[seed % len(tiles)] = False
        image = PaperImage(*size, frozenset(tile for tile, hole in zip(tiles, gone, strict=True) if hole))
        level, part = {7: (1, 0.5), 8: (2, 1.0), 9: (3, 0.5)}.get(seed, (1, 0.0))
        level = min(level, IMAGE.widths.index(image.extent))
        closed = {(level, node) for node in image.nodes(level) if random.random() < part}
        return replace(image, closed=frozenset(closed))

    return st.builds(with_holes, sizes, st.integers(0, 9), st.sampled_from([0.0, 0.0, 0.3, 0.8]))
