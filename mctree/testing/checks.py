"""Does a snapshot hold what the model says?  Everything that can be asked of it, compared.

`Expected` is a commit of the model as arrays, made by the shortest ways there are.  `check_snapshot` compares a whole
snapshot with it, `check_range` what is asked of a stretch of positions, `check_node` what is asked of a node.  All of
them raise `AssertionError`, and are meant to be used on any snapshot as often as one likes: a commit never changes.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mctree.errors import NotFoundError, UsageError
from mctree.geometry import Address, World, check
from mctree.testing.model import BLOCK, ModelDocument, ModelSet, State
from mctree.tree import Document, GistView, Node, Provenance, Snapshot

__all__ = ["Expected", "check_node", "check_range", "check_snapshot"]


class Expected:
    """What a snapshot of a commit has to show.

    Args:
        state: the model's state at the commit.
        tolerance: by how much gists may differ from those that the encoder makes again, in another batch.
    """

    def __init__(self, state: State, tolerance: float = 0.0) -> None:
        self.state = state
        self.tolerance = tolerance
        self.seen: dict[tuple[str, int], NDArray[Any]] = {}
        """Gists by set and level, as they were when first looked at."""

    @property
    def blocks(self) -> int:
        """Blocks placed."""
        return len(self.state.blocks)

    @cached_property
    def grid(self) -> NDArray[np.uint32]:
        """Tokens with padding, `uint32 [blocks, 32]`."""
        grid = np.zeros((self.blocks, BLOCK), np.uint32)
        for row, block in zip(grid, self.state.blocks, strict=True):
            row[: len(block.tokens)] = block.tokens
        return grid

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Real tokens, `int64 [blocks]`."""
        return np.array([len(block.tokens) for block in self.state.blocks], np.int64)

    @cached_property
    def alive(self) -> NDArray[np.bool_]:
        """Which blocks live, `bool [blocks]`."""
        return np.array([block not in self.state.dead for block in range(self.blocks)], np.bool_)

    @cached_property
    def real(self) -> NDArray[np.bool_]:
        """Which positions hold live real tokens, `bool [blocks, 32]`."""
        return (np.arange(BLOCK) < self.counts[:, None]) & self.alive[:, None]

    @cached_property
    def world(self) -> World:
        """What exists, for geometry."""
        dead = np.array(sorted(self.state.dead), np.int64)
        return World(self.blocks * BLOCK, np.column_stack((dead, dead + 1)).reshape(-1, 2) * BLOCK)

    def nodes(self, level: int) -> int:
        """How many nodes of a level from 1 up are complete."""
        return self.blocks // _width(level)

    def exists(self, level: int) -> NDArray[np.bool_]:
        """Which complete nodes of a level have something alive, `bool [nodes]`."""
        found: NDArray[np.bool_] = np.logical_or.reduce(self._under(self.alive, level), axis=1)
        return found

    def tokens(self, level: int) -> NDArray[np.int64]:
        """Live real tokens under each complete node, `int64 [nodes]`."""
        found: NDArray[np.int64] = self._under(self.real.sum(axis=1), level).sum(axis=1)
        return found

    def died_after(self, level: int, commit: int) -> NDArray[np.bool_]:
        """Under which complete nodes something died after a commit, `bool [nodes]`."""
        died = np.array([self.state.dead.get(block, 0) > commit for block in range(self.blocks)], np.bool_)
        found: NDArray[np.bool_] = np.logical_or.reduce(self._under(died, level), axis=1)
        return found

    def _under(self, values: NDArray[Any], level: int) -> NDArray[Any]:
        """Values of blocks as rows, one for each complete node."""
        n, width = self.nodes(level), _width(level)
        return values[: n * width].reshape(n, width)

    def gists(self, one: ModelSet) -> list[NDArray[Any]]:
        """The gists of all complete nodes at each level from 1 up, made from what lives, as they are stored."""
        made: list[NDArray[Any]] = []
        limit = float(np.finfo(one.dtype).max)
        level = 1
        while n := self.nodes(level):
            if level == 1:
                vectors = one.encoder.encode(1, self.grid, self.real)
            else:
                shape = (n, BLOCK, one.encoder.dim)
                children = made[-1][: n * BLOCK].astype(np.float32).reshape(shape)
                mask = self.exists(level - 1)[: n * BLOCK].reshape(n, BLOCK)
                span = None
                if level <= one.encoder.span_level:
                    blocks = n * _width(level)
                    span = (self.grid[:blocks].reshape(n, -1), self.real[:blocks].reshape(n, -1))
                vectors = one.encoder.encode(level, children, mask, span)
            made.append(np.clip(vectors, -limit, limit).astype(one.dtype))
            level += 1
        return made

    @cached_property
    def fresh(self) -> dict[str, list[NDArray[Any]]]:
        """`gists` of every set."""
        return {name: self.gists(one) for name, one in self.state.sets.items()}

    def provenance(self, start: int, stop: int) -> list[Provenance]:
        """Stretches of bytes of sources that the live blocks which meet positions [start, stop) stand for."""
        found: list[Provenance] = []
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            if not self.alive[block]:
                continue
            one = self.state.blocks[block]
            if found and found[-1].document == one.document and found[-1].stop == one.start:
                found[-1] = Provenance(one.document, found[-1].source, found[-1].start, one.stop)
            else:
                source = self.state.documents[one.document].source
                found.append(Provenance(one.document, source, one.start, one.stop))
        return found


def _width(level: int) -> int:
    """Blocks under one node."""
    return int(BLOCK ** (level - 1))


def check_snapshot(snapshot: Snapshot, expected: Expected) -> None:
    """Compare a whole snapshot with what is expected of its commit.

    Raises:
        AssertionError: they differ.
    """
    state = expected.state
    positions = expected.blocks * BLOCK
    assert snapshot.blocks == expected.blocks, f"{snapshot.blocks} blocks, not {expected.blocks}"
    assert snapshot.positions == positions
    tokens = sum(len(document.tokens) for document in state.documents.values())
    assert snapshot.tokens_count == tokens, f"{snapshot.tokens_count} tokens, not {tokens}"
    assert snapshot.documents_count == len(state.documents)
    assert np.array_equal(snapshot.view(), expected.grid.reshape(-1)), "stored tokens differ"
    assert np.array_equal(snapshot.counts(0, expected.blocks), expected.counts), "counts differ"
    records = snapshot.block_records(0, expected.blocks)
    for name in ("document", "start", "stop"):
        wanted = [getattr(block, name) for block in state.blocks]
        assert records[name].tolist() == wanted, f"field {name!r} of block records differs"
    assert np.array_equal(records["count"], expected.counts), "counts of block records differ"
    check_range(snapshot, expected, 0, positions)
    _check_levels(snapshot, expected)
    _check_documents(snapshot, expected)
    _check_gists(snapshot, expected)


def check_range(snapshot: Snapshot, expected: Expected, start: int, stop: int) -> None:
    """Compare what is asked of positions [start, stop).

    Raises:
        AssertionError: the answers are not those expected.
    """
    assert np.array_equal(snapshot.tokens(start, stop), expected.grid.reshape(-1)[start:stop])
    inside = np.zeros(expected.blocks * BLOCK, np.bool_)
    inside[start:stop] = True
    real = expected.real & inside.reshape(-1, BLOCK)
    packed = snapshot.packed(start, stop)
    assert np.array_equal(packed.tokens, expected.grid[real]), f"packed tokens of {start}..{stop} differ"
    assert packed.blocks.tolist() == np.flatnonzero(real.any(axis=1)).tolist()
    assert packed.counts.tolist() == real.sum(axis=1)[packed.blocks].tolist()
    if snapshot.tree.tokenizer is not None:
        text = snapshot.tree.tokenizer.decode(expected.grid[real]).decode("utf-8", "replace")
        assert snapshot.text(start, stop) == text
    cut = snapshot.cover(start, stop)
    whole = (start // BLOCK * BLOCK, -(-stop // BLOCK) * BLOCK) if start < stop else (start, start)
    problems = check(cut, expected.world, *whole)
    assert not problems, f"the cover of {start}..{stop} is no cut: {problems[0]}"
    wanted = expected.provenance(start, stop)
    assert snapshot.provenance(start, stop) == wanted
    assert snapshot.provenance(start, stop, limit=2) == wanted[:2]
    links = {
        number: link
        for number, link in expected.state.links.items()
        if any(span[0] < stop and start < span[1] for span in (link.source, link.target)) and start < stop
    }
    found = snapshot.links(start, stop)
    assert [link.id for link in found] == sorted(links), f"links that meet {start}..{stop} differ"
    for one in found:
        link = links[one.id]
        assert (one.source, one.target) == ((0, *link.source), (0, *link.target))
        assert (one.kind, one.score) == (link.kind, link.score)


def check_node(snapshot: Snapshot, expected: Expected, level: int, index: int) -> None:
    """Compare what is asked of one node, whether it exists or not.

    Raises:
        AssertionError: the answers are not those expected.
    """
    address = Address(0, level, index)
    exists = _exists(expected, level, index)
    assert snapshot.exists(address) == exists, f"node {address} {'exists' if not exists else 'does not exist'}"
    if not exists:
        try:
            snapshot.node(address)
        except NotFoundError:
            return
        raise AssertionError(f"node {address} does not exist, but was given out")
    node = snapshot.node(str(address))
    start, stop = index * BLOCK**level, (index + 1) * BLOCK**level
    assert (node.level, node.index, node.span) == (level, index, (start, stop))
    real = expected.real.reshape(-1)[start:stop]
    assert node.tokens == real.sum()
    assert np.array_equal(node.read_tokens(), expected.grid.reshape(-1)[start:stop][real])
    above = _exists(expected, level + 1, index // BLOCK)
    assert node.parent == (Node(snapshot, Address(0, level + 1, index // BLOCK)) if above else None)
    below = range(index * BLOCK, (index + 1) * BLOCK) if level else ()
    children = node.children
    assert [child.index for child in children] == [i for i in below if _exists(expected, level - 1, i)]
    assert all(child.parent == node for child in children[:2])
    assert snapshot.at(start, level) == node
    sources = expected.provenance(start, stop)
    assert node.provenance() == sources
    owners = {one.document for one in sources}
    assert (node.document.id if node.document else None) == (owners.pop() if len(owners) == 1 else None)
    for name in expected.state.sets:
        gist = node.gist(name)
        view = snapshot.gists(name)
        assert (gist is not None) == (level > 0 and index < view.rows(level))
        assert gist is None or np.array_equal(gist, view.gather(level, np.array([index]))[0])


def _exists(expected: Expected, level: int, index: int) -> bool:
    if level == 0:
        return index < expected.blocks * BLOCK and bool(expected.real.reshape(-1)[index])
    return index < expected.nodes(level) and bool(expected.exists(level)[index])


def _check_levels(snapshot: Snapshot, expected: Expected) -> None:
    level = 1
    while n := expected.nodes(level):
        index = np.arange(n)
        assert np.array_equal(snapshot.world.exists(level, index), expected.exists(level)), f"level {level} differs"
        tokens = expected.tokens(level)
        assert np.array_equal(snapshot.world.tokens(level, index), tokens), f"tokens of nodes of level {level} differ"
        level += 1
    assert snapshot.top == level - 1
    for node in ((level, 0), (level - 1, 0), (1, expected.blocks - 1), (0, expected.blocks * BLOCK - 1)):
        if node[1] >= 0:
            check_node(snapshot, expected, *node)


def _check_documents(snapshot: Snapshot, expected: Expected) -> None:
    documents = expected.state.documents
    found = {document.id: document for document in snapshot.documents()}
    assert list(found) == sorted(documents), f"documents {list(found)}, not {sorted(documents)}"
    assert [(source, number) for source, number, _ in snapshot.sources()] == [
        (documents[number].source, number) for number in sorted(documents)
    ]
    for number, wanted in documents.items():
        _check_document(found[number], wanted, snapshot, expected)
        assert snapshot.document(wanted.source).id == number
        assert snapshot.document(number).source == wanted.source
    unfinished = [n for n in sorted(documents) if documents[n].open and documents[n].placed < len(documents[n].tokens)]
    assert [document.id for document in snapshot.tails()] == unfinished, "open documents with tails differ"


def _check_document(document: Document, wanted: ModelDocument, snapshot: Snapshot, expected: Expected) -> None:
    name = f"document {wanted.id}"
    assert document.source == wanted.source, f"{name} is called {document.source!r}"
    assert document.name.encode("utf-8", "surrogateescape") == wanted.source
    assert document.open == wanted.open, f"{name} is {'open' if document.open else 'closed'}"
    assert document.digest == wanted.digest, f"the digest of {name} differs"
    assert document.previous == wanted.previous, f"{name} superseded {document.previous}"
    assert document.locator == dict(wanted.locator)
    blocks = [block for run in document.runs for block in range(run.block, run.block + run.blocks)]
    assert blocks == list(wanted.blocks), f"{name} has blocks {blocks[:9]} …, not {wanted.blocks[:9]} …"
    assert document.blocks == len(blocks)
    assert all(before.block + before.blocks < after.block for before, after in pairwise(document.runs)), "runs touch"
    assert document.tokens == len(wanted.tokens), f"{name} has {document.tokens} tokens, not {len(wanted.tokens)}"
    assert np.array_equal(document.read_tokens(), wanted.tokens), f"the tokens of {name} differ"
    rest = wanted.tokens[wanted.placed :]
    tail = document.tail
    assert (tail is None) == (not len(rest)), f"the tail of {name} is {tail}"
    if tail is not None:
        assert np.array_equal(tail.tokens, rest), f"the tail of {name} differs"
        assert np.array_equal(tail.stops, wanted.stops[wanted.placed :])
        assert tail.start == wanted.start
    assert document.size == len(wanted.data), f"{name} has {document.size} bytes, not {len(wanted.data)}"
    if snapshot.tree.tokenizer is None:
        try:
            document.read()
        except UsageError:
            pass
        else:
            raise AssertionError("a store without a tokenizer read bytes")
    else:
        assert document.read() == wanted.data, f"the bytes of {name} differ"
    bounds = [expected.state.blocks[block] for block in wanted.blocks]
    for byte in {0, len(wanted.data) // 2, len(wanted.data) - 1, len(wanted.data)}:
        holding = [n for n, one in zip(wanted.blocks, bounds, strict=True) if one.start <= byte < one.stop]
        try:
            at = [snapshot.find(wanted.source, byte).index]
        except NotFoundError:
            at = []
        assert at == holding[:1], f"byte {byte} of {name} is in block {at}, not {holding[:1]}"


def _check_gists(snapshot: Snapshot, expected: Expected) -> None:
    state = expected.state
    assert sorted(view.name for view in snapshot.gist_sets()) == sorted(state.sets)
    assert snapshot.default_gists == state.default
    for name, one in state.sets.items():
        view = snapshot.gists(name)
        assert (view.name, view.dim) == (name, one.encoder.dim)
        assert view.record.fingerprint == one.encoder.fingerprint
        level = 1
        while n := one.rows // _width(level):
            assert view.rows(level) == n, f"set {name!r} has {view.rows(level)} gists at level {level}, not {n}"
            _check_gist_level(view, one, expected, level)
            level += 1
        assert view.levels == level - 1
        assert view.rows(level) == 0
    if state.default is not None:
        assert snapshot.gists().name == state.default


def _check_gist_level(view: GistView, one: ModelSet, expected: Expected, level: int) -> None:
    where = f"gists of set {view.name!r} at level {level}"
    n = view.rows(level)
    values = np.asarray(view.level(level).view())
    assert values.shape == (n, one.encoder.dim), where
    assert values.dtype == np.dtype(one.dtype), where
    backwards = np.arange(n)[::-1].copy()
    assert np.array_equal(view.gather(level, backwards), values[::-1]), f"{where}: gathered differently than viewed"
    stale = view.stale(level, np.arange(n))
    assert np.array_equal(stale, expected.died_after(level, one.refreshed)[:n] & (level > 1)), f"{where}: stale differs"
    settled = expected.exists(level)[:n] & ~stale
    made = expected.fresh[view.name][level - 1][:n]
    close = np.isclose(values, made, rtol=0, atol=expected.tolerance) if expected.tolerance else values == made
    wrong = np.flatnonzero(settled & ~close.all(axis=1))
    assert not len(wrong), f"{where} are not what the encoder makes, first at node {level}:{wrong[:1]}"
    before = expected.seen.setdefault((view.name, level), values.copy())
    assert np.array_equal(before, values), f"{where} changed within a commit"
