"""Do mctree and the reader that was written from the page say the same?  All that both can be asked, compared."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mctree.geometry import Address
from mctree.tree import Snapshot as Theirs
from mctree.tree import Tree
from mctree.tree.images.image import STATES
from tests.format.description import told_of_graft, told_of_image
from tests.format.reader import BLOCK, FAN, IMAGE_FAN, TILE, Snapshot, Store

EVERYWHERE = (0, 1 << 62)


@contextmanager
def copied(path: str | Path) -> Iterator[Path]:
    """A copy of a store that nobody writes to, made file by file: LMDB opens a file once in a process."""
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        yield Path(shutil.copytree(path, Path(folder) / "copy.mctree", symlinks=True))


def assert_agreement(tree: Tree, commits: list[int] | None = None) -> None:
    """Compare all commits that can be opened, or some."""
    with copied(tree.path) as path:
        store = Store(path)
        store.check_tables()
        assert store.commits == [commit.number for commit in tree.commits()]
        assert (store.record["store"], store.record["epoch"]) == tree.store.identity
        for number in store.commits if commits is None else commits:
            ours = store.snapshot(number)
            ours.check()
            with tree.snapshot(number) as theirs:
                assert_same(ours, theirs)


def assert_same(ours: Snapshot, theirs: Theirs) -> None:
    _assert_same_commit(ours, theirs)
    _assert_same_nodes(ours, theirs)
    _assert_same_documents(ours, theirs)
    _assert_same_gists(ours, theirs)
    _assert_same_links(ours, theirs)
    _assert_same_images(ours, theirs)


def _assert_same_commit(ours: Snapshot, theirs: Theirs) -> None:
    record = theirs.record
    assert ours.commit == theirs.commit
    for name in ("parent", "time_ns", "blocks", "tokens", "documents", "dead_blocks"):
        assert ours.record[name] == getattr(record, name)
    assert ours.record["arrays"] == {number: [state.rows, state.refreshed] for number, state in record.arrays.items()}
    assert ours.record["refreshed"] == {number: [commit] for number, commit in record.refreshed.items()}
    assert ours.record["next"] == {kind: [number] for kind, number in record.next.items()}
    assert sorted(ours.deaths) == sorted(map(tuple, theirs.world.deaths.runs.tolist()))


def _assert_same_nodes(ours: Snapshot, theirs: Theirs) -> None:
    assert np.array_equal(ours.lod0.reshape(-1), theirs.tokens(0, theirs.positions))
    assert ours.lod0.dtype == theirs.token_dtype
    assert np.array_equal(ours.counts, theirs.counts(0, theirs.blocks))
    assert ours.block_records == [tuple(record) for record in theirs.block_records(0, theirs.blocks).tolist()]
    for level in range(1, theirs.top + 2):
        nodes = np.arange(ours.blocks // FAN ** (level - 1) + 2)
        exist = [ours.exists(level, node) for node in nodes.tolist()]
        assert exist == theirs.world.exists(level, nodes).tolist()
        found = np.flatnonzero(exist)
        tokens = theirs.world.tokens(level, found).tolist()
        assert [ours.token_count(level, node) for node in found.tolist()] == tokens
        for node in [*nodes[-3:].tolist(), *found[:2].tolist()]:
            assert exist[node] == theirs.exists(Address(0, level, node))
            if level > 1 and exist[node]:
                assert ours.children(level, node) == [child.index for child in theirs.node((level, node)).children]


def _assert_same_documents(ours: Snapshot, theirs: Theirs) -> None:
    records = ours.documents()
    assert list(records) == [document.id for document in theirs.documents()]
    for document in theirs.documents():
        record = records[document.id]
        assert record == {name: getattr(document.record, name) for name in document.record.__slots__}
        assert ours.find(document.source) == document.id
        assert ours.blocks_in(document.id) == [
            n for run in document.runs for n in range(run.block, run.block + run.blocks)
        ]
        assert ours.size(document.id) == document.size
        assert ours.tokens(document.id) == document.read_tokens().tolist()
        tail = ours.tail(document.id)
        if document.tail is None:
            assert not tail.tokens
        else:
            assert tail == (document.tail.start, document.tail.tokens.tolist(), document.tail.stops.tolist())
        at = 0
        for start, stop in ours.ranges(document.id):
            assert start == at <= stop, "a block starts where the one before it stops"
            at = stop
        if theirs.tree.tokenizer is not None:
            assert ours.read(document.id) == document.read()
    assert ours.find(b"nobody has this name") is None


def _assert_same_gists(ours: Snapshot, theirs: Theirs) -> None:
    sets = ours.gist_sets()
    views = {view.number: view for view in theirs.gist_sets()}
    assert sets.keys() == views.keys()
    default = ours.default_set()
    assert (None if default is None else sets[default]["name"]) == theirs.default_gists
    for number, view in views.items():
        assert (sets[number]["name"], sets[number]["dim"], sets[number]["dtype"]) == (
            view.name,
            view.dim,
            view.record.dtype,
        )
        for level in range(1, len(sets[number]["levels"]) + 1):
            gists, nodes = ours.gists(number, level), np.arange(view.rows(level))
            assert gists.shape == (len(nodes), view.dim)
            assert np.array_equal(gists, view.gather(level, nodes), equal_nan=True)
            assert gists.dtype == view.record.dtype
            stale = [ours.stale(number, level, node) for node in range(len(nodes))]
            assert stale == view.stale(level, nodes).tolist()


def _assert_same_images(ours: Snapshot, theirs: Theirs) -> None:
    images = list(theirs.images())
    assert [graft.document for graft in ours.grafts] == [image.id for image in images]
    for graft, image in zip(ours.grafts, images, strict=True):
        assert told_of_graft(ours, graft) == told_of_image(theirs, image)
        for level in range(image.root + 1):
            rows, columns = image.raster.grid(level)
            some = range(0, columns, columns // 9 + 1)
            index = np.array([image.index_at(level, x, y) for y in range(0, rows, rows // 9 + 1) for x in some])
            states = np.array(STATES)[image.states(level, index)]
            known = [ours.known_of(graft, level, node) for node in index.tolist()]
            assert known == np.where(states == "stale", "present", states).tolist()


def _assert_same_links(ours: Snapshot, theirs: Theirs) -> None:
    found = theirs.links(*EVERYWHERE)
    assert ours.links() == {
        link.id: {"source": [*link.source], "target": [*link.target], "kind": link.kind, "score": link.score}
        for link in found
    }
    entered = set(ours.index.all_held(b"i", ours.commit))
    for link in found:
        for space, start, stop in (link.source, link.target):
            for level, node in smallest_cover(space, start, stop):
                assert link.id in ours.links_at(space, level, node)
                entered.discard(
                    space.to_bytes(4, "big") + bytes([level]) + node.to_bytes(8, "big") + link.id.to_bytes(8, "big")
                )
    assert not entered


def smallest_cover(space: int, start: int, stop: int) -> set[tuple[int, int]]:
    """The nodes of level ≥ 1 in a span, widened to whole blocks, whose parents are not: as the page says, and slow."""
    block, fan = (TILE, IMAGE_FAN) if space else (BLOCK, FAN)
    first, last, level, found = start // block, -(-stop // block), 1, set()
    while first < last:
        whole = range(-(-first // fan), last // fan)
        found |= {(level, node) for node in range(first, last) if node // fan not in whole}
        first, last, level = whole.start, whole.stop, level + 1
    return found
