"""Searching from the top down: in the space of each level, within its effort, no worse than reading everything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mctree
from mctree.encoders import BytesTokenizer, LexicalEncoder, MeanEncoder, train_bpe
from mctree.errors import UsageError
from mctree.tree import Snapshot
from mctree.tree.search import find, search
from tests.tree.libraries import library

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def word(number: int) -> str:
    """A word of its own for every number."""
    parts = []
    for _ in range(3):
        number, syllable = divmod(number, 70)
        parts.append(_CONSONANTS[syllable // 5] + _VOWELS[syllable % 5])
    return "".join(parts)


def chapter(number: int) -> str:
    """Some 1,000 tokens of words that stand everywhere, and in the middle one that stands nowhere else."""
    rng = np.random.default_rng(number)
    words = [word(7 * int(i)) for i in rng.integers(0, 60, 460)]
    words[230] = own_word(number)
    return " ".join(words)


def own_word(number: int) -> str:
    return word(100_003 + 311 * number)


CHAPTERS = 90


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snapshot]:
    """A store of many documents, the first of which was removed again."""
    path: Path = tmp_path_factory.mktemp("search") / "s.mctree"
    texts = [chapter(number).encode() for number in range(CHAPTERS)]
    tokenizer = train_bpe(texts, 600)
    with mctree.create(path, tokenizer=tokenizer) as tree:
        tree.build_gists(LexicalEncoder.fit(tokenizer, texts, 256), "words")
        with tree.writer() as writer:
            for number in range(CHAPTERS):
                writer.add(f"{number}", texts[number])
            writer.commit()
            writer.remove("0")
        tree.set_default_gists("words")
        with tree.snapshot() as found:
            assert found.gists().levels >= 3
            yield found


def test_the_way_down_is_asked_in_the_space_of_each_level(tmp_path: Path) -> None:
    """Blocks and the levels above them live in two spaces: a question for blocks leads astray higher up."""
    library(tmp_path / "s", documents=60, dim=64, own=6)
    with mctree.open(tmp_path / "s", writable=False) as tree, tree.snapshot() as snapshot:
        best = [(document.name, search(snapshot, document.name, top=1, beam=1)) for document in snapshot.documents()]
        right = sum(found.hits[0].node.provenance(1)[0].name == name for name, found in best)
    assert right >= 50


@given(st.integers(1, 4000), st.sampled_from([None, 1, 2]))
def test_no_more_is_looked_at_than_was_allowed(snapshot: Snapshot, effort: int, regions: int | None) -> None:
    gists = snapshot.gists()
    found = find(snapshot, gists, own_word(5), effort=effort, regions=regions)
    # One node of each level is opened in any case, and what has no parent is always looked at.
    least = 32 * gists.levels + sum(gists.rows(level) % 32 for level in range(1, gists.levels + 1))
    assert found.compared + found.read <= max(effort, least)
    assert len(np.unique(found.blocks)) == len(found.blocks) == len(found.scores)
    assert snapshot.world.exists(1, found.blocks).all()


def test_with_all_the_effort_it_is_the_same_as_reading_every_block(snapshot: Snapshot) -> None:
    everything = np.flatnonzero(snapshot.world.exists(1, np.arange(snapshot.blocks)))
    found = find(snapshot, snapshot.gists(), own_word(40), effort=1 << 20)
    assert np.array_equal(np.sort(found.blocks), everything)
    assert found.read == len(everything)
    best = found.blocks[np.argmax(found.scores)]
    assert snapshot.documents_of(np.array([best])) == snapshot.document("40").id
    assert np.array_equal(np.sort(found.blocks[found.scores > 0]), holding(snapshot, own_word(40)))


def test_a_block_that_holds_no_term_of_the_question_is_no_answer(snapshot: Snapshot) -> None:
    """A question that nothing answers was answered with the first blocks of the store."""
    hits = search(snapshot, own_word(40), top=snapshot.blocks, beam=snapshot.blocks).hits
    assert {hit.node.index for hit in hits} == set(holding(snapshot, own_word(40)).tolist())
    assert all(hit.score > 0 for hit in hits)


def holding(snapshot: Snapshot, text: str) -> np.ndarray:
    """The blocks that hold a term of a text, each looked at by itself."""
    encoder, tokenizer = snapshot.gists().encoder(), snapshot.tree.tokenizer
    assert isinstance(encoder, LexicalEncoder) and tokenizer is not None
    wanted = set(encoder.table.of_question(tokenizer, text).tolist())
    blocks = np.flatnonzero(snapshot.world.exists(1, np.arange(snapshot.blocks)))
    held = [snapshot.packed(32 * int(block), 32 * int(block) + 32).tokens for block in blocks]
    return blocks[[bool(wanted & set(encoder.table.of_token[tokens].reshape(-1).tolist())) for tokens in held]]


def test_more_documents_are_reached_if_none_may_have_many_regions(tmp_path: Path) -> None:
    """One long document speaks of nothing else; many short ones mention it once each."""
    texts = [
        ("zanzibar quagga " * 6000).encode(),
        *(f"{chapter(i)} zanzibar {chapter(i + 100)}".encode() for i in range(40)),
    ]
    tokenizer = train_bpe(texts, 600)
    with mctree.create(tmp_path / "s", tokenizer=tokenizer) as tree:
        tree.build_gists(LexicalEncoder.fit(tokenizer, texts, 128), "words")
        with tree.writer() as writer:
            for number, text in enumerate(texts):
                writer.add(f"{number}", text)
        tree.set_default_gists("words")
        with tree.snapshot() as snapshot:
            gists = snapshot.gists()
            effort = gists.rows(2) + 2 * gists.rows(3) + 40 * 8
            alone, spread = (find(snapshot, gists, "zanzibar", effort=effort, regions=most) for most in (None, 2))
            reached = [len(np.unique(snapshot.documents_of(each.blocks))) for each in (alone, spread)]
            assert reached[1] > reached[0] and len(spread.blocks) == len(alone.blocks)


def test_one_document_is_searched_as_far_as_the_effort_goes(tmp_path: Path) -> None:
    text = " ".join(chapter(number) for number in range(40)).encode()
    tokenizer = train_bpe([text], 600)
    with mctree.create(tmp_path / "s", tokenizer=tokenizer) as tree:
        tree.build_gists(LexicalEncoder.fit(tokenizer, [text], 64), "words")
        with tree.writer() as writer:
            writer.add("book", text)
        tree.set_default_gists("words")
        with tree.snapshot() as snapshot:
            gists = snapshot.gists()
            effort = gists.rows(2) + gists.rows(3) + 32 * 8
            found = [find(snapshot, gists, own_word(17), effort=effort, regions=most) for most in (None, 2)]
            assert np.array_equal(found[0].blocks, found[1].blocks) and found[0].read > 32 * 4


def test_an_encoder_that_knows_no_terms_is_searched_by_gists(tmp_path: Path) -> None:
    tokenizer = BytesTokenizer()
    with mctree.create(tmp_path / "s", tokenizer=tokenizer) as tree:
        encoder = MeanEncoder(tokenizer)
        tree.build_gists(encoder, "mean")
        with tree.writer() as writer:
            writer.add("a", b"the quick brown fox " * 400)
        tree.set_default_gists("mean")
        with tree.snapshot() as snapshot:
            gists = snapshot.gists()
            found = find(snapshot, gists, "quick fox")
            assert found.read == 0 and found.compared >= len(found.blocks)
            wanted = gists.gather(1, found.blocks).astype(np.float32) @ encoder.encode_query("quick fox")
            assert np.allclose(found.scores, wanted)


@pytest.mark.parametrize("wrong", [{"effort": 0}, {"beam": 0}, {"regions": 0}])
def test_nothing_is_found_by_no_effort(snapshot: Snapshot, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(wrong))} must be at least 1, not 0$"):
        find(snapshot, snapshot.gists(), "x", **wrong)
