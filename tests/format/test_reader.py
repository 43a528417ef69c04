"""docs/format.md suffices: a reader written from it says the same as mctree of every commit, whatever happened."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

import mctree
from mctree.encoders import HFTokenizer
from mctree.sources.images import Box
from mctree.storage import session
from mctree.testing import ProceduralSource, Sample, TreeMachine, strategies
from mctree.testing.toys import ToySight
from tests.format import reader
from tests.format.agreement import assert_agreement, copied
from tests.format.reader import BEFORE, COUNT, LOD0, DamagedError, Store, hugging_face_pieces
from tests.format.story import ENCODERS, tell, tokenizer

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
BRIEF = settings(max_examples=5, stateful_step_count=12, deadline=None, suppress_health_check=SLOW)


def test_the_reader_is_independent() -> None:
    source = Path(reader.__file__).read_text()
    named = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    named |= {one.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for one in node.names}
    beyond = {str(name).split(".")[0] for name in named} - {
        "__future__", "bisect", "collections", "functools", "hashlib", "itertools", "json", "pathlib", "re", "struct",
        "typing", "zlib",
    }  # fmt: skip
    assert beyond == {"lmdb", "msgpack", "numpy"}


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW)
@given(made=strategies.trees(most=2500))
def test_every_commit_of_a_made_store_reads_the_same(made: Callable[[], AbstractContextManager[Sample]]) -> None:
    with made() as sample:
        assert_agreement(sample.tree)


class Comparing(TreeMachine):
    """The machine that does everything to a store, which the reader looks at in between."""

    @rule(data=st.data())
    def read_from_the_page_alone(self, data: st.DataObject) -> None:
        numbers = [commit.number for commit in self.tree.commits()]
        older = data.draw(st.lists(st.sampled_from(numbers), max_size=2, unique=True))
        assert_agreement(self.tree, sorted({numbers[-1], *older}))

    def teardown(self) -> None:
        try:
            self._drop_writer()
            assert_agreement(self.tree, [commit.number for commit in self.tree.commits()][-6:])
        finally:
            super().teardown()


class ComparingInexactText(Comparing):
    tokenizer = tokenizer()


class ComparingBareTokens(Comparing):
    tokenizer = None
    vocabulary = 70_000


TestBytes, TestInexactText, TestBareTokens = (
    machine.TestCase for machine in (Comparing, ComparingInexactText, ComparingBareTokens)
)
TestBytes.settings = TestInexactText.settings = TestBareTokens.settings = BRIEF


def test_every_commit_of_the_story_reads_the_same(told: Path) -> None:
    with mctree.open(told, encoders=ENCODERS) as tree:
        assert_agreement(tree)


def test_every_document_of_the_story_is_what_was_put_in(folder: Path) -> None:
    contents = tell(folder / "told.mctree")
    store = Store(folder / "told.mctree")
    assert store.commits == sorted(contents)
    for commit, documents in contents.items():
        snapshot = store.snapshot(commit)
        read = {record["source"]: snapshot.read(number) for number, record in snapshot.documents().items()}
        assert read == documents


def test_a_generation_that_is_not_published_yet_is_read(told: Path, folder: Path) -> None:
    path = shutil.copytree(told, folder / "copy.mctree")
    with mctree.open(path, encoders=ENCODERS) as tree:
        newest = tree.commits()[-1].number
        with pytest.MonkeyPatch.context() as patch:
            # As if the process had died between the commit and its publication.
            patch.setattr(session, "publish", lambda *_: None)
            assert tree.refresh_gists("small") > 0
        refreshed = tree.commits()[-1].number
        assert_agreement(tree, [newest, refreshed])
        with copied(path) as copy:
            now, before = Store(copy).snapshot(refreshed), Store(copy).snapshot(newest)
            assert any(key for key, _ in now.index.scan(b"p"))
            assert now.stale(2, 2, 0) < before.stale(2, 2, 0)
            assert not (now.gists(2, 2) == before.gists(2, 2)).all()
        tree.writer().close()
        assert_agreement(tree, [newest, refreshed])


def test_what_a_changed_image_makes_stale_reads_the_same(tmp_path: Path) -> None:
    """In a set of text and images, by somebody who did not have its encoder."""
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=1 << 16) as tree:
        tree.build_gists(ToySight(), "both")
        with tree.writer() as writer:
            writer.add_image("first", np.zeros((20, 200, 3), np.uint8))
            writer.add("text", b"t" * 32 * 40)
            writer.add_image("second", np.zeros((200, 20, 3), np.uint8))
    with mctree.open(tmp_path / "t.mctree") as tree:
        with tree.writer() as writer:
            writer.change_image("first", np.ones((1, 1, 3), np.uint8), Box(0, 0, 1, 1))
        assert_agreement(tree)
        with tree.snapshot() as snapshot:
            assert snapshot.gists("both").stale(2, np.arange(1)).all()


def test_commits_that_were_condemned_are_refused(folder: Path) -> None:
    with mctree.create(folder / "few.mctree", chunk_bytes=1 << 16, keep=2) as tree, tree.writer() as writer:
        for turn in range(40):
            writer.add(f"{turn}", b"some bytes")
            writer.commit()
    store = Store(folder / "few.mctree")
    condemned = [int.from_bytes(key, "big") for key, _ in store.index.scan(b"v")]
    assert condemned
    assert 40 > len(store.commits) > 1
    for commit in [*condemned, 1, store.commits[-1] + 1]:
        with pytest.raises(DamagedError):
            store.snapshot(commit)
    for commit in store.commits:
        store.snapshot(commit).check()


def test_an_older_index_is_refused(told: Path, folder: Path) -> None:
    path = shutil.copytree(told, folder / "copy.mctree")
    with mctree.open(path, encoders=ENCODERS) as tree, tree.writer() as writer:
        writer.add("new", b"text")
    shutil.copy(told / "index.lmdb" / "data.mdb", path / "index.lmdb" / "data.mdb")
    with pytest.raises(DamagedError, match="older"):
        Store(path)


@settings(max_examples=25, deadline=None, suppress_health_check=[*SLOW, HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flip_in_committed_rows_is_found(told: Path, data: st.DataObject) -> None:
    store = Store(told)
    snapshot = store.snapshot()
    # Kept pixels have checksums of their own, by pieces, some of which nothing leads to any more.
    arrays = [number for number in (LOD0, COUNT, BEFORE, *snapshot.summed_arrays()) if len(snapshot.rows(number))]
    array = data.draw(st.sampled_from(arrays))
    rows, layout = snapshot.rows(array), snapshot.layout(array)
    byte = data.draw(st.integers(0, rows.nbytes - 1))
    size = layout["rows_per_chunk"] * rows.nbytes // len(rows)
    chunk, at = divmod(byte, size)
    whole = snapshot.file(array, chunk)
    flipped = whole[:at] + bytes([whole[at] ^ 1 << data.draw(st.integers(0, 7))]) + whole[at + 1 :]
    damaged = store.snapshot()
    real = damaged.file
    damaged.file = lambda a, c: flipped if (a, c) == (array, chunk) else real(a, c)
    with pytest.raises(DamagedError):
        damaged.check(rows_of=[array])  # of all of them it takes seconds, in a reader that knows no library for it


@pytest.mark.parametrize("change", ["flip", "move", "remove"])
def test_a_change_in_the_index_is_found(told: Path, folder: Path, change: str) -> None:
    path = shutil.copytree(told, folder / "copy.mctree")
    keys = [key for key in Store(path).index.keys if key[:1] == b"d"]
    with lmdb.open(str(path / "index.lmdb")) as environment, environment.begin(write=True) as transaction:
        value = transaction.get(keys[0])
        if change == "flip":
            transaction.put(keys[0], value[:9] + bytes([value[9] ^ 1]) + value[10:])
        elif change == "move":
            transaction.put(keys[1], value)
        else:
            transaction.delete(keys[0])
    with pytest.raises(DamagedError):
        Store(path).check_tables()


def byte_fallback() -> bytes:
    """A tokenizer that writes a space as U+2581 and bytes that it has no letters for as hexadecimal digits."""
    vocabulary = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefgh", "é", "▁a", "<s>"]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    described = {
        "version": "1.0",
        "added_tokens": [{"id": len(vocabulary) - 1, "content": "<s>", **special}],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "Unigram",
            "unk_id": 0,
            "byte_fallback": True,
            "vocab": [[token, -1.0 - n / 1000] for n, token in enumerate(vocabulary)],
        },
    }
    return json.dumps(described).encode()


@pytest.mark.parametrize("blob", [tokenizer().dump(), byte_fallback()], ids=["byte-level", "byte-fallback"])
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_tokens_stand_for_the_bytes_that_the_page_says(blob: bytes, data: bytes) -> None:
    theirs, pieces = HFTokenizer(blob), hugging_face_pieces(blob)
    assert sorted(pieces) == list(range(theirs.vocabulary))
    ids = theirs.encode([data])[0].ids
    assert b"".join(pieces[token] for token in ids.tolist()) == theirs.decode(ids)


def test_tokens_of_other_tokenizers_have_no_bytes_of_their_own(folder: Path) -> None:
    described = {
        "version": "1.0",
        "pre_tokenizer": {"type": "Whitespace"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "harbour": 1, "moon": 2}, "unk_token": "[UNK]"},
    }
    words = HFTokenizer(json.dumps(described).encode())
    assert hugging_face_pieces(words.dump()) == {}
    text = b"harbour, \xff moon " * 30
    with mctree.create(folder / "words.mctree", tokenizer=words, chunk_bytes=1 << 16) as tree:
        with tree.writer() as writer:
            writer.add("text", text)
        assert_agreement(tree)
    assert Store(folder / "words.mctree").snapshot().read(1) == text


def test_images_that_are_coarse_read_the_same(tmp_path: Path) -> None:
    there = [Box(0, 0, 1024, 512), Box(2048, 1024, 2560, 1536)]
    source = ProceduralSource(3000, 3300, 2, covered=there, levels=(1, 2, 4, 8, 16))
    with mctree.create(tmp_path / "coarse.mctree", chunk_bytes=1 << 16, encoders=ENCODERS) as tree:
        tree.build_gists(ToySight(4, channels=2), "sight")
        with tree.writer() as writer:
            writer.add_image("map", source, finest=4, keep_pixels=0)
            writer.add_image("part", source, finest=2, keep_pixels=0, region=Box(500, 300, 2100, 1100))
            writer.commit()
            writer.deepen_image("map", source, region=Box(100, 100, 300, 200))
            writer.commit()
            writer.deepen_image("map", source, region=Box(0, 0, 3300, 600), finest=1)
            writer.commit()
            writer.deepen_image("part", source, finest=0)
        assert_agreement(tree)
        tree.compact()
        assert_agreement(tree)
