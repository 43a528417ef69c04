"""A tokenizer's promises: bytes come back where it says so, and every token ends where it says so."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from mctree.encoders import BytesTokenizer, Encoded, HFTokenizer, Tokenizer, load_tokenizer, train_bpe
from mctree.encoders.training import WORDS
from mctree.errors import CorruptError, SourceError, UsageError
from tests.encoders.strategies import ALL, AWKWARD, EXACT, PROSE, bpe, metaspace, pieces, with_specials, wordpiece


def same(one: Encoded, other: Encoded) -> bool:
    return np.array_equal(one.ids, other.ids) and np.array_equal(one.stops, other.stops) and one.exact == other.exact


@pytest.mark.parametrize("name", ALL)
@given(piece=pieces())
def test_ids_and_stops_are_well_formed(name: str, piece: bytes) -> None:
    tokenizer = ALL[name]()
    assert isinstance(tokenizer, Tokenizer)
    (encoded,) = tokenizer.encode([piece])
    assert encoded.ids.dtype == np.uint32 and encoded.stops.dtype == np.int64
    assert encoded.ids.shape == encoded.stops.shape
    if len(encoded.ids):
        assert encoded.ids.max() < tokenizer.vocabulary
        assert encoded.stops[0] >= 0 and np.all(np.diff(encoded.stops) >= 0)
        assert encoded.stops[-1] == len(piece)
    else:
        assert encoded.exact == (piece == b"")


@pytest.mark.parametrize("name", ALL)
@given(piece=pieces(), data=st.data())
def test_what_is_exact_decodes_to_its_bytes_run_by_run(name: str, piece: bytes, data: st.DataObject) -> None:
    tokenizer = ALL[name]()
    (encoded,) = tokenizer.encode([piece])
    whole = tokenizer.decode(encoded.ids)
    if not encoded.exact:
        return
    assert whole == piece
    first = data.draw(st.integers(0, len(encoded.ids)))
    last = data.draw(st.integers(first, len(encoded.ids)))
    ends = np.concatenate([[0], encoded.stops])
    assert tokenizer.decode(encoded.ids[first:last]) == piece[ends[first] : ends[last]]


@pytest.mark.parametrize("name", EXACT)
@given(piece=pieces())
def test_bytes_and_trained_vocabularies_are_exact_on_anything(name: str, piece: bytes) -> None:
    assert EXACT[name]().encode([piece])[0].exact


@pytest.mark.parametrize("name", ALL)
@given(batch=st.lists(pieces(), max_size=4))
def test_each_piece_is_tokenized_by_itself(name: str, batch: list[bytes]) -> None:
    tokenizer = ALL[name]()
    together = tokenizer.encode(batch)
    assert len(together) == len(batch)
    assert all(same(one, tokenizer.encode([piece])[0]) for one, piece in zip(together, batch, strict=True))


def test_text_that_looks_like_a_special_token_is_text() -> None:
    tokenizer = with_specials()
    (encoded,) = tokenizer.encode([b"a<|endoftext|>b"])
    assert encoded.exact and len(encoded.ids) > 3


def test_truncation_and_padding_of_the_file_are_not_used() -> None:
    (encoded,) = with_specials().encode([PROSE])
    assert len(encoded.ids) > 50
    (encoded,) = with_specials().encode([b"the reader"])
    assert encoded.exact and len(encoded.ids) < 10


def test_an_added_token_that_eats_white_space_makes_the_piece_inexact_or_keeps_it() -> None:
    (encoded,) = with_specials().encode([b"many   tokens here"])
    assert encoded.exact == (with_specials().decode(encoded.ids) == b"many   tokens here")


def test_a_normalising_tokenizer_says_where_its_tokens_end() -> None:
    piece = "The  READERS é".encode()
    (encoded,) = wordpiece().encode([piece])
    assert encoded.ids.tolist() == [2, 3, 5, 7]
    assert encoded.stops.tolist() == [3, 11, 12, len(piece)]
    assert not encoded.exact


def test_stops_count_bytes_not_characters_also_after_stray_bytes() -> None:
    piece = "😀 ".encode() + b"\xff\xed\xa0\x80 " + b"chunks level"
    (encoded,) = wordpiece().encode([piece])
    ends = dict(zip(encoded.ids.tolist(), encoded.stops.tolist(), strict=True))
    assert ends[4] == len(piece) - len(b"s level") and ends[9] == len(piece)


def test_a_vocabulary_with_byte_fallback_is_exact() -> None:
    for piece in (b"the  reader\n", "the é😀".encode(), b"\xffthe"):
        (encoded,) = metaspace().encode([piece])
        assert encoded.exact == (metaspace().decode(encoded.ids) == piece)
    assert metaspace().encode(["the é😀".encode()])[0].exact


@pytest.mark.parametrize("name", ALL)
def test_a_dump_gives_an_equal_tokenizer(name: str) -> None:
    tokenizer = ALL[name]()
    again = load_tokenizer(tokenizer.kind, tokenizer.dump())
    for other in (again, pickle.loads(pickle.dumps(tokenizer))):
        assert other == tokenizer and hash(other) == hash(tokenizer)
        assert other.fingerprint == tokenizer.fingerprint and other.dump() == tokenizer.dump()
        assert all(same(*both) for both in zip(other.encode(AWKWARD), tokenizer.encode(AWKWARD), strict=True))


def test_fingerprints_tell_tokenizers_apart() -> None:
    assert len({make().fingerprint for make in ALL.values()}) == len(ALL)


@given(
    garbage=st.one_of(
        st.binary(max_size=200), st.sampled_from([b"{}", b"[]", b"null", b"[" * 100_000, b'{"a":' * 5000])
    )
)
def test_garbage_is_refused_with_one_line(garbage: bytes) -> None:
    with pytest.raises(SourceError) as error:
        HFTokenizer(garbage)
    assert "\n" not in str(error.value) and str(error.value).isprintable()
    with pytest.raises(CorruptError):
        load_tokenizer("hf", garbage)


@given(data=st.data())
def test_a_changed_dump_loads_or_is_refused(data: st.DataObject) -> None:
    dump = bytearray(bpe().dump())
    for _ in range(data.draw(st.integers(1, 3))):
        dump[data.draw(st.integers(0, len(dump) - 1))] = data.draw(st.integers(0, 255))
    try:
        tokenizer = load_tokenizer("hf", bytes(dump))
    except CorruptError:
        return
    try:
        (encoded,) = tokenizer.encode([PROSE])
    except UsageError:
        return
    assert not encoded.exact or tokenizer.decode(encoded.ids) == PROSE


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(SourceError, match="at most"):
        HFTokenizer(b" " * ((1 << 27) + 1))
    far = bpe().dump().replace(b'"!":0', b'"!":4294967295')
    assert far != bpe().dump()
    with pytest.raises(SourceError):
        HFTokenizer(far)


def test_unknown_kinds_and_foreign_ids_are_refused() -> None:
    with pytest.raises(UsageError):
        load_tokenizer("no such kind", b"")
    with pytest.raises(CorruptError):
        load_tokenizer("bytes", b"x")
    for tokenizer in (BytesTokenizer(), bpe()):
        with pytest.raises(UsageError):
            tokenizer.decode(np.array([tokenizer.vocabulary], np.uint32))
        with pytest.raises(UsageError):
            tokenizer.decode(np.array([0.5]))
        with pytest.raises(UsageError):
            tokenizer.decode(np.array([-1]))


@pytest.mark.parametrize("make", [bpe, metaspace, wordpiece])
def test_ids_do_not_depend_on_how_many_words_the_library_remembers(make: Callable[[], HFTokenizer]) -> None:
    given = make()
    alone = tokenizers.Tokenizer.from_str(given.dump().decode())
    alone.encode_special_tokens = True
    text = " ".join(f"{number * 7919 % 3001}th {number:x}" for number in range(3001))
    wanted = alone.encode(text, add_special_tokens=False).ids
    for _ in range(2):
        assert given.encode([text.encode()])[0].ids.tolist() == wanted


def test_a_tokenizer_without_an_unknown_token_says_so() -> None:
    engine = tokenizers.Tokenizer(tokenizers.models.WordPiece({"a": 0}, unk_token="[UNK]"))
    with pytest.raises(UsageError, match="cannot encode"):
        HFTokenizer(engine.to_str().encode()).encode([b"xyz"])


def test_training_is_deterministic_also_across_processes() -> None:
    program = (
        "import sys; from mctree.encoders import train_bpe; "
        "print(train_bpe([sys.stdin.buffer.read()], 600).fingerprint)"
    )
    text = PROSE * 20
    runs = {
        subprocess.run(
            [sys.executable, "-c", program], input=text, capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert runs == {(train_bpe([text], 600).fingerprint + "\n").encode()}


def test_training_reads_no_more_than_it_was_told() -> None:
    def endless():
        while True:
            yield PROSE

    assert train_bpe(endless(), 300, sample_bytes=10_000).vocabulary == 300
    assert train_bpe([b""], 300).vocabulary == 256
    with pytest.raises(UsageError):
        train_bpe([PROSE], 255)


@pytest.mark.parametrize("unbroken", [b"x", "\N{CJK UNIFIED IDEOGRAPH-4E2D}".encode(), b"=", b" ", b"7"])
def test_training_on_text_without_a_break_takes_no_longer_than_on_any(unbroken: bytes) -> None:
    """Found by use: an ingest of a file of one line of 3 MB, all of it letters, did not come out of its training."""
    text = unbroken * (200_000 // len(unbroken))
    start = time.process_time()
    tokenizer = train_bpe([text])
    assert time.process_time() - start < 5
    (encoded,) = tokenizer.encode([text[:10_000]])
    assert encoded.exact and len(encoded.ids) < 10_000 / 8


def test_how_long_words_are_cut_for_training_is_no_part_of_the_tokenizer() -> None:
    (model,) = {json.dumps(json.loads(train_bpe([text], 400).dump())["pre_tokenizer"]) for text in (PROSE, b"x" * 900)}
    assert WORDS in json.loads(model)["pretokenizers"][0]["pattern"]["Regex"]


def test_threads_get_what_one_thread_gets() -> None:
    batch = [PROSE[i:] + piece for i in range(40) for piece in AWKWARD]
    alone = bpe().encode(batch)
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda piece: bpe().encode([piece])[0], batch))
    assert all(same(*both) for both in zip(alone, beside, strict=True))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_can_go_on() -> None:
    bpe().encode([PROSE, PROSE])
    with multiprocessing.get_context("fork").Pool(1) as pool:
        ids = pool.apply_async(_ids_of_prose).get(timeout=60)
    assert ids == bpe().encode([PROSE])[0].ids.tolist()


def _ids_of_prose() -> list[int]:
    return bpe().encode([PROSE])[0].ids.tolist()
