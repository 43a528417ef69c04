"""An encoder's promises: a gist is a function of its own row, masked children do not count, a dump is the encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mctree.encoders import BytesTokenizer, Encoder, LexicalEncoder, MeanEncoder, load_encoder
from mctree.errors import CorruptError, UsageError
from tests.encoders.strategies import PROSE, bpe, wordpiece

DIM = 24


@cache
def lexical() -> LexicalEncoder:
    return LexicalEncoder.fit(bpe(), [PROSE, PROSE[::2]], DIM)


@cache
def unfitted() -> LexicalEncoder:
    return LexicalEncoder.fit(bpe(), [], DIM)


@cache
def mean() -> MeanEncoder:
    return MeanEncoder(bpe(), DIM)


ENCODERS: dict[str, Callable[[], LexicalEncoder | MeanEncoder]] = {
    "lexical": lexical,
    "unfitted": unfitted,
    "mean": mean,
}


def blocks(rows: int = 6, positions: int = 32) -> st.SearchStrategy[tuple[NDArray[np.uint32], NDArray[np.bool_]]]:
    """Tokens and mask of some blocks; masked tokens may be no tokens at all."""

    def filled(both: tuple[NDArray[np.uint32], NDArray[np.bool_]]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        tokens, mask = both
        return np.where(mask, tokens % np.uint32(bpe().vocabulary), tokens), mask

    shape = st.tuples(st.integers(0, rows), st.just(positions))
    return shape.flatmap(lambda size: st.tuples(hnp.arrays(np.uint32, size), hnp.arrays(np.bool_, size))).map(filled)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("level", [1, 2, 3])
@given(both=blocks(), data=st.data())
def test_a_gist_depends_on_its_own_row_alone(
    name: str, level: int, both: tuple[NDArray[np.uint32], NDArray[np.bool_]], data: st.DataObject
) -> None:
    encoder = ENCODERS[name]()
    assert isinstance(encoder, Encoder)
    tokens, mask = both
    # Children are made from all rows first: the split must change how rows are passed, not the rows.
    everything = _inputs(encoder, level, tokens, mask)
    whole = _encode(encoder, level, everything, slice(None))
    assert whole.dtype == np.float32 and whole.shape == (len(tokens), DIM) and np.isfinite(whole).all()
    cut = data.draw(st.integers(0, len(tokens)))
    halves = [_encode(encoder, level, everything, part) for part in (slice(cut), slice(cut, None))]
    assert np.concatenate(halves).tobytes() == whole.tobytes()
    order = np.array(data.draw(st.permutations(range(len(tokens)))), np.int64)
    assert _encode(encoder, level, everything, order).tobytes() == whole[order].tobytes()


Inputs = tuple[NDArray[np.generic], NDArray[np.bool_], tuple[NDArray[np.uint32], NDArray[np.bool_]] | None]


def _inputs(encoder: Encoder, level: int, tokens: NDArray[np.uint32], mask: NDArray[np.bool_]) -> Inputs:
    if level == 1:
        return tokens, mask, None
    children = np.random.default_rng(1).standard_normal((*mask.shape, encoder.dim), np.float32)
    return children, mask, (tokens, mask) if level <= encoder.span_level else None


def _encode(encoder: Encoder, level: int, inputs: Inputs, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
    children, mask, span = inputs
    return encoder.encode(level, children[rows], mask[rows], span and (span[0][rows], span[1][rows]))


@pytest.mark.parametrize("name", ENCODERS)
def test_large_batches_equal_single_rows(name: str) -> None:
    encoder = ENCODERS[name]()
    draw = np.random.default_rng(2)
    mask = draw.random((1500, 32)) < draw.random((1500, 1))
    tokens = draw.integers(0, bpe().vocabulary, (1500, 32)).astype(np.uint32)
    for level in (1, 2, 3):
        inputs = _inputs(encoder, level, tokens, mask)
        whole = _encode(encoder, level, inputs, slice(None))
        for row in range(0, 1500, 97):
            assert _encode(encoder, level, inputs, slice(row, row + 1)).tobytes() == whole[row].tobytes()


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("level", [1, 2, 3])
@given(both=blocks())
def test_masked_children_have_no_influence(
    name: str, level: int, both: tuple[NDArray[np.uint32], NDArray[np.bool_]]
) -> None:
    encoder = ENCODERS[name]()
    tokens, mask = both
    children, _, span = _inputs(encoder, level, tokens, mask)
    rubbish: NDArray[np.generic]
    if level == 1:
        rubbish = np.where(mask, children, np.uint32(0xFFFFFFFF)).astype(np.uint32)
    else:
        rubbish = np.where(mask[:, :, None], children, np.float32(np.nan)).astype(np.float32)
    other = span and (np.where(mask, tokens, np.uint32(0xFFFFFFFF)).astype(np.uint32), mask)
    with np.errstate(all="raise"):
        assert np.array_equal(encoder.encode(level, rubbish, mask, other), encoder.encode(level, children, mask, span))


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_gives_zeros(name: str) -> None:
    encoder = ENCODERS[name]()
    nothing = np.zeros((3, 32), np.bool_)
    for level in (1, 2, 3):
        children, _, span = _inputs(encoder, level, np.zeros((3, 32), np.uint32), nothing)
        assert not encoder.encode(level, children, nothing, span).any()
    assert encoder.encode(1, np.zeros((0, 32), np.uint32), np.zeros((0, 32), np.bool_)).shape == (0, DIM)


def test_masked_tokens_do_not_count_as_the_first_token_of_the_vocabulary() -> None:
    encoder = LexicalEncoder.fit(wordpiece(), [b"level"], DIM)
    assert encoder.table.of_token[0].max() >= 0
    assert not encoder.encode(1, np.zeros((2, 32), np.uint32), np.zeros((2, 32), np.bool_)).any()


@pytest.mark.parametrize("name", ENCODERS)
def test_questions_without_words_are_legal(name: str) -> None:
    encoder = ENCODERS[name]()
    assert np.isfinite(encoder.encode_query("")).all() and np.isfinite(encoder.encode_query("?! \n")).all()


@settings(max_examples=20)
@pytest.mark.parametrize("level", [1, 2])
@given(both=blocks())
def test_lexical_gists_have_norm_one_and_survive_float16(
    level: int, both: tuple[NDArray[np.uint32], NDArray[np.bool_]]
) -> None:
    inputs = _inputs(lexical(), level, *both)
    gists = _encode(lexical(), level, inputs, slice(None))
    norms = np.linalg.norm(gists, axis=1)
    assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-5))
    assert np.abs(gists.astype(np.float16).astype(np.float32) - gists).max(initial=0) < 1e-3


def test_order_of_tokens_does_not_matter_and_repetition_counts_less_and_less() -> None:
    (encoded,) = bpe().encode([b" reader chunk"])
    ids = encoded.ids
    one = np.zeros((1, 32), np.uint32)
    one[0, : len(ids)] = ids
    mask = np.arange(32)[None] < len(ids)
    turned = one.copy()
    turned[0, : len(ids)] = ids[::-1]
    assert np.array_equal(lexical().encode(1, one, mask), lexical().encode(1, turned, mask))


@pytest.mark.parametrize("level", [1, 2])
def test_a_question_finds_the_block_that_answers_it(level: int) -> None:
    texts = [b"the reader maps every chunk", b"def gather(self, rows)", b"HTTPServer parse_date", b"words come again"]
    encoder = LexicalEncoder.fit(bpe(), [*texts, PROSE, b"the of a that " * 40], 256)
    tokens, mask = _laid_out(texts)
    children, _, span = _inputs(encoder, level, tokens, mask)
    gists = encoder.encode(level, children, mask, span)
    for question, answer in (("Readers of chunks", 0), ("gathering a row", 1), ("parse dates", 2)):
        assert int(np.argmax(gists @ encoder.encode_query(question, level))) == answer


@pytest.mark.parametrize("level", [1, 2])
def test_a_question_is_encoded_for_the_level_that_it_is_asked_of(level: int) -> None:
    encoder = LexicalEncoder.fit(bpe(), [PROSE[start : start + 90] for start in range(0, 300, 7)], 32)
    tokens, mask = _laid_out([b" reader reader", b" chunk chunk"])
    children, _, span = _inputs(encoder, level, tokens, mask)
    gists = encoder.encode(level, children, mask, span)
    for gist, word in zip(gists, ("reader", "chunk"), strict=True):
        right, wrong = (gist @ encoder.encode_query(word, asked) for asked in (level, 3 - level))
        assert right > wrong + 0.05, (right, wrong)


def test_case_and_the_style_of_identifiers_are_taken_off_questions() -> None:
    for one, other in (("READER", "reader"), ("readerLevel", "level, reader!"), ("parse_date", "date parse")):
        assert lexical().encode_query(one) @ lexical().encode_query(other) > 0.999


def _laid_out(texts: list[bytes]) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    tokens = np.zeros((len(texts), 32), np.uint32)
    mask = np.zeros(tokens.shape, np.bool_)
    for row, encoded in enumerate(bpe().encode(texts)):
        kept = encoded.ids[:32]
        tokens[row, : len(kept)], mask[row, : len(kept)] = kept, True
    return tokens, mask


def test_a_word_that_the_sample_did_not_hold_is_still_found_at_level_two() -> None:
    encoder = LexicalEncoder.fit(bpe(), [b"the reader maps every chunk file of a level " * 200], 256)
    draw = np.random.default_rng(3)
    (known,) = bpe().encode([b" reader every chunk file level"])
    tokens = draw.choice(known.ids, (20, 1024)).astype(np.uint32)
    (new,) = bpe().encode([b" gather"])
    tokens[7, 100 : 100 + len(new.ids)] = new.ids
    mask = np.ones(tokens.shape, np.bool_)
    gists = encoder.encode(2, np.zeros((20, 32, 256), np.float32), np.ones((20, 32), np.bool_), (tokens, mask))
    assert int(np.argmax(gists @ encoder.encode_query("gather", 2))) == 7


@pytest.mark.parametrize("name", ENCODERS)
def test_a_dump_is_the_encoder(name: str) -> None:
    encoder = ENCODERS[name]()
    again = load_encoder(encoder.kind, encoder.dump(), bpe())
    assert again.fingerprint == encoder.fingerprint and again.dump() == encoder.dump()
    assert (again.dim, again.modalities, again.span_level) == (encoder.dim, encoder.modalities, encoder.span_level)
    tokens, mask = _laid_out([PROSE[:80], PROSE[80:]])
    for level in (1, 2, 3):
        inputs = _inputs(encoder, level, tokens, mask)
        both = [_encode(one, level, inputs, slice(None)).tobytes() for one in (encoder, again)]
        assert both[0] == both[1]
        assert np.array_equal(encoder.encode_query("reader", level), again.encode_query("reader", level))


def test_fingerprints_differ_where_gists_do() -> None:
    others = [
        lexical(),
        unfitted(),
        mean(),
        LexicalEncoder.fit(bpe(), [PROSE], DIM),
        LexicalEncoder.fit(bpe(), [PROSE, PROSE[::2]], DIM + 1),
        LexicalEncoder.fit(BytesTokenizer(), [PROSE], DIM),
        MeanEncoder(bpe(), DIM + 1),
        MeanEncoder(BytesTokenizer(), DIM),
    ]
    assert len({one.fingerprint for one in others}) == len(others)
    assert LexicalEncoder.fit(bpe(), [PROSE, PROSE[::2]], DIM).fingerprint == lexical().fingerprint


def test_fitting_reads_no_more_than_it_was_told() -> None:
    def endless():
        while True:
            yield PROSE

    assert LexicalEncoder.fit(bpe(), endless(), 8, sample_bytes=2000).dim == 8


@given(garbage=st.one_of(st.binary(max_size=100), st.binary(max_size=40).map(lambda rest: b"mclexic1" + rest)))
def test_garbage_is_refused(garbage: bytes) -> None:
    for kind in ("lexical", "mean"):
        with pytest.raises((CorruptError, UsageError)) as error:
            load_encoder(kind, garbage, bpe())
        assert str(error.value).isprintable()


@given(data=st.data())
def test_a_changed_dump_is_refused_or_gives_finite_gists(data: st.DataObject) -> None:
    dump = bytearray(lexical().dump())
    for _ in range(data.draw(st.integers(1, 4))):
        dump[data.draw(st.integers(0, len(dump) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        dump = dump[: data.draw(st.integers(0, len(dump)))]
    try:
        encoder = load_encoder("lexical", bytes(dump), bpe())
    except (CorruptError, UsageError):
        return
    tokens, mask = _laid_out([PROSE[:80], PROSE[80:]])
    for level in (1, 2):
        assert np.isfinite(_encode(encoder, level, _inputs(encoder, level, tokens, mask), slice(None))).all()


def test_the_wrong_tokenizer_and_unknown_kinds_are_refused() -> None:
    for encoder in (lexical(), mean()):
        with pytest.raises(UsageError, match="another tokenizer"):
            load_encoder(encoder.kind, encoder.dump(), BytesTokenizer())
    with pytest.raises(UsageError):
        load_encoder("no such kind", b"", bpe())
    with pytest.raises(UsageError):
        load_encoder("lexical", lexical().dump(), None)


def test_wrong_shapes_are_refused() -> None:
    tokens, mask = np.zeros((2, 32), np.uint32), np.ones((2, 32), np.bool_)
    gists = np.zeros((2, 32, DIM), np.float32)
    for call in (
        lambda: lexical().encode(0, tokens, mask),
        lambda: lexical().encode(1, tokens, mask[:1]),
        lambda: lexical().encode(1, gists, mask),
        lambda: lexical().encode(1, np.zeros((2, 33), np.uint32), np.ones((2, 33), np.bool_)),
        lambda: lexical().encode(1, np.full((2, 32), bpe().vocabulary, np.uint32), mask),
        lambda: lexical().encode(2, gists, mask),
        lambda: lexical().encode(2, gists, mask, (tokens[:1], mask[:1])),
        lambda: lexical().encode(3, gists[:, :, :3], mask),
        lambda: LexicalEncoder.fit(bpe(), [], 7),
        lambda: MeanEncoder(bpe(), 0),
    ):
        with pytest.raises(UsageError):
            call()
