"""A store that this or any earlier version wrote opens, says what it said, and can be gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mctree
from mctree.tree.search import search
from tests.format.agreement import assert_agreement
from tests.format.description import told as told_of
from tests.format.description import told_by_reader
from tests.format.examples import FIXTURE, PAGE, rendered, with_examples
from tests.format.reader import Store
from tests.format.story import ENCODERS

FIXTURES = sorted(FIXTURE.parent.glob("v*.mctree"))


@pytest.fixture(params=FIXTURES, ids=lambda path: path.stem)
def fixture(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def expected(fixture: Path) -> dict[int, Any]:
    return {int(number): commit for number, commit in json.loads(fixture.with_suffix(".json").read_text()).items()}


@pytest.fixture
def copy(fixture: Path, folder: Path) -> Path:
    return Path(shutil.copytree(fixture, folder / fixture.name))


def read_back(described: dict[str, Any]) -> Any:
    """What is left of a description after JSON."""
    return json.loads(json.dumps(described))


def test_there_is_a_store_of_every_version() -> None:
    assert [path.stem for path in FIXTURES] == [f"v{n}" for n in range(1, len(FIXTURES) + 1)]
    assert json.loads((FIXTURES[-1] / "zarr.json").read_text())["attributes"]["mctree"]["format"] == len(FIXTURES)


@pytest.mark.parametrize("options", [{"writable": False}, {"writable": True}, {"portable": True}], ids=str)
def test_it_opens_and_says_what_it_said(copy: Path, expected: dict[int, Any], options: dict[str, bool]) -> None:
    with mctree.open(copy, encoders=ENCODERS, **options) as tree:
        assert list(tree.verify()) == []
        assert [commit.number for commit in tree.commits()] == sorted(expected)
        for number, commit in expected.items():
            with tree.snapshot(number) as snapshot:
                assert read_back(told_of(snapshot)) == commit


def test_the_other_reader_says_the_same_and_leaves_no_trace(fixture: Path, expected: dict[int, Any]) -> None:
    before = sorted(fixture.rglob("*"))
    store = Store(fixture)
    store.check_tables()
    assert store.commits == sorted(expected)
    for number, commit in expected.items():
        snapshot = store.snapshot(number)
        snapshot.check()
        assert read_back(told_by_reader(snapshot)) == commit
    assert sorted(fixture.rglob("*")) == before


def test_both_readers_agree_on_it(copy: Path) -> None:
    with mctree.open(copy, encoders=ENCODERS) as tree:
        newest = tree.commits()[-1].number
        assert_agreement(tree, [newest - 6, newest])


def test_one_goes_on_with_it(copy: Path, expected: dict[int, Any]) -> None:
    with mctree.open(copy, encoders=ENCODERS) as tree:
        newest = max(expected)
        open_one = next(iter(document.id for document in tree.snapshot().documents() if document.open))
        size = tree.snapshot().document(open_one).size
        with tree.writer() as writer:
            document = writer.reopen(open_one)
            document.write(b"and so on, " * 200)
            document.close()
            writer.add("new", b"a new document")
            writer.remove("harbour.txt")
            writer.link((0, 1), (32, 64), kind="new")
        for view in tree.snapshot().gist_sets():
            tree.refresh_gists(view.name)
        with tree.snapshot() as snapshot:
            assert snapshot.document(open_one).size == size + 2200
            assert snapshot.document("new").read() == b"a new document"
            assert not any(view.stale(2, np.arange(view.rows(2))).any() for view in snapshot.gist_sets())
        assert list(tree.verify()) == []
        assert_agreement(tree, [newest, tree.commits()[-1].number])
        with tree.snapshot(newest) as snapshot:
            assert read_back(told_of(snapshot)) == expected[newest]
        tree.compact()
        assert list(tree.verify()) == []
        assert_agreement(tree)


def test_an_encoder_that_comes_with_mctree_is_made_from_the_store_alone(copy: Path) -> None:
    with mctree.open(copy) as tree, tree.snapshot() as snapshot:
        view = snapshot.gists("words")
        blocks = np.arange(view.rows(1))
        grid = snapshot.tokens(0, 32 * len(blocks)).reshape(-1, 32)
        real = np.arange(32) < snapshot.counts(0, len(blocks))[:, None]
        alive = snapshot.world.exists(1, blocks)
        made = view.encoder().encode(1, grid, real)
        assert np.allclose(made[alive], view.gather(1, blocks)[alive], atol=1e-2)
        assert len(search(snapshot, "the harbour under the moon", gist_set="words", top=5).hits) == 5


@pytest.mark.parametrize(
    "gone", [["generations"], ["leases"], ["epochs", "head", "lock", "index.lmdb/lock.mdb"]], ids=" ".join
)
def test_what_a_copy_may_leave_out_is_not_missed(told: Path, folder: Path, gone: list[str]) -> None:
    """Folders that are empty do not come back from a version control system, and what is advisory may be lost."""
    path = shutil.copytree(told, folder / "copy.mctree")
    with mctree.open(path, encoders=ENCODERS) as tree:
        for _ in range(2):
            tree.compact()  # so that no older generation is needed
    for name in gone:
        if (path / name).is_dir():
            shutil.rmtree(path / name)
        else:
            (path / name).unlink(missing_ok=True)
    with mctree.open(path, encoders=ENCODERS) as tree, tree.snapshot() as held:
        before = read_back(told_of(held))
        with tree.writer() as writer:
            writer.remove("harbour.txt")
        assert tree.refresh_gists("default") > 0
        tree.keep(1)
        with tree.writer() as writer:
            for turn in range(40):
                writer.add(f"{turn}", b"some bytes")
                writer.commit()
        assert read_back(told_of(held)) == before, "a commit that is held was collected"
        assert list(tree.verify()) == []
        tree.compact()
        assert read_back(told_of(held)) == before
    with mctree.open(path, encoders=ENCODERS) as tree:
        assert list(tree.verify()) == []


def test_the_examples_of_the_page_are_bytes_of_the_store() -> None:
    page = PAGE.read_text()
    assert with_examples(page, rendered()) == page, "run `python tests/format/examples.py`"
    assert page.count("| bytes |") >= 3
