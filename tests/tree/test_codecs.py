"""What a store holds of its tokenizer and encoders is needed by those who use them, and by nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import mctree
from mctree.encoders import BytesTokenizer, HFTokenizer, LexicalEncoder, Tokenizer, train_bpe
from mctree.errors import CorruptError, UsageError
from mctree.format.keys import Table
from mctree.testing import scratch
from mctree.testing.toys import ToyEncoder

TEXT = b"some text of words, and more of it\n" * 60
BPE = train_bpe([TEXT], 300)


def change_blobs(path: Path, how: str, *, wanted: bytes | None = None) -> int:
    """Damage the blobs of a store (those that hold `wanted`, if given); how many."""
    with lmdb.open(str(path / "index.lmdb"), max_dbs=0) as env, env.begin(write=True) as txn:
        found = [(bytes(key), bytes(value)) for key, value in txn.cursor() if bytes(key)[:1] == Table.BLOB]
        found = [(key, value) for key, value in found if wanted is None or value[4:] == wanted]
        for key, value in found:
            if how == "gone":
                txn.delete(key)
            else:
                txn.put(key, value[:-1] + bytes([value[-1] ^ 1]) if len(value) > 4 else b"\1\2\3\4")
    return len(found)


@pytest.mark.damages
@pytest.mark.parametrize("how", ["flip", "gone"])
@pytest.mark.parametrize("tokenizer", [BPE, BytesTokenizer()], ids=["bpe", "bytes"])
def test_all_but_text_is_read_without_the_tokenizer(tmp_path: Path, how: str, tokenizer: Tokenizer) -> None:
    """Found by review: a store whose tokenizer was damaged did not even open, so nothing could say what was damaged."""
    path = tmp_path / "t.mctree"
    toy = ToyEncoder()
    with mctree.create(path, tokenizer=tokenizer, chunk_bytes=65536, encoders=[toy]) as tree:
        with tree.writer() as writer:
            writer.add("a", TEXT)
        tree.build_gists(toy, "toy")
        expected = tree.snapshot()
        tokens, gists = expected.view().copy(), expected.gists().gather(1, np.arange(4)).copy()
        expected.close()
    assert change_blobs(path, how, wanted=tokenizer.dump()) == 1
    with mctree.open(path, encoders=[toy]) as tree, tree.snapshot() as snapshot:
        assert np.array_equal(snapshot.view(), tokens)
        assert np.array_equal(snapshot.gists().gather(1, np.arange(4)), gists)
        assert len(snapshot.document("a").read_tokens()) == snapshot.tokens_count
        assert tree.vocabulary == tokenizer.vocabulary
        for act in (lambda: tree.tokenizer, lambda: snapshot.text(0, 9), lambda: snapshot.document("a").read()):
            with pytest.raises(CorruptError):
                act()
        with tree.writer() as writer:
            with pytest.raises(CorruptError):
                writer.begin("a", replace=True)
            writer.link((0, 1), (1, 2), kind="still works")
        assert [document.name for document in tree.snapshot().documents()] == ["a"]
        found = list(tree.verify())
        assert any(problem.where == "tokenizer" and problem.kind == "record" for problem in found)
        assert not any(problem.kind in ("unreadable", "document", "chunk", "gist") for problem in found), found


@pytest.mark.damages
@pytest.mark.parametrize("how", ["flip", "gone"])
def test_a_damaged_encoder_is_named_and_leaves_the_rest(tmp_path: Path, how: str) -> None:
    path = tmp_path / "t.mctree"
    with mctree.create(path, tokenizer=BPE, chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            writer.add("a", TEXT)
        encoder = LexicalEncoder.fit(BPE, [TEXT], dim=32)
        tree.build_gists(encoder, "words")
        gists = tree.snapshot().gists().gather(1, np.arange(4)).copy()
    assert change_blobs(path, how, wanted=encoder.dump()) == 1
    with mctree.open(path) as tree, tree.snapshot() as snapshot:
        assert snapshot.document("a").read() == TEXT
        assert np.array_equal(snapshot.gists().gather(1, np.arange(4)), gists)
        with pytest.raises(CorruptError):
            snapshot.gists().encoder()
        found = [problem for problem in tree.verify() if "words" in problem.where]
        assert [problem.kind for problem in found] == ["record"]


def test_a_sound_store_opens_without_making_its_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mctree.create(tmp_path / "t", tokenizer=BPE).close()
    made = []
    real = mctree.tree.codecs.load_tokenizer

    def load(*arguments: Any) -> Tokenizer:
        made.append(arguments)
        return real(*arguments)

    monkeypatch.setattr("mctree.tree.codecs.load_tokenizer", load)
    with mctree.open(tmp_path / "t") as tree:
        tree.snapshot().close()
        assert not made
        assert tree.tokenizer == BPE
        assert tree.tokenizer is tree.tokenizer
        assert len(made) == 1


def test_a_tokenizer_that_could_not_be_made_again_makes_no_store(tmp_path: Path) -> None:
    class Other(BytesTokenizer):
        kind = "mine"

    class Liar(BytesTokenizer):
        fingerprint = "0123"

    class Broken(BytesTokenizer):
        def dump(self) -> bytes:
            return b"what is this"

    for tokenizer in (Other(), Liar(), Broken()):
        with pytest.raises(UsageError):
            mctree.create(tmp_path / "t", tokenizer=tokenizer)
    assert list(tmp_path.iterdir()) == []


def of(model: Any, decoder: Any = None) -> HFTokenizer:
    engine = tokenizers.Tokenizer(model)
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if decoder is not None:
        engine.decoder = decoder
    return HFTokenizer(engine.to_str().encode())


PIECES = {"[UNK]": 0, "play": 1, "##ing": 2, "a": 3, "##s": 4}
TOKENIZERS: dict[str, Tokenizer] = {
    "bytes": BytesTokenizer(),
    "bpe": BPE,
    "words": of(tokenizers.models.WordLevel(PIECES, unk_token="[UNK]")),
    "pieces of words": of(tokenizers.models.WordPiece(PIECES, unk_token="[UNK]"), tokenizers.decoders.WordPiece()),
    "ends of words": of(
        tokenizers.models.BPE({"lo": 0, "w</w>": 1, "lo</w>": 2}, []), tokenizers.decoders.BPEDecoder()
    ),
    "repeats": of(
        tokenizers.models.WordLevel({"<pad>": 0, "a": 1, "|": 2}, unk_token="<pad>"), tokenizers.decoders.CTC()
    ),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
def test_a_document_of_tokens_is_as_long_as_what_is_read_of_it(name: str, data: st.DataObject) -> None:
    """Found by review: tokens that decode to something else beside each other made sizes that nothing had."""
    tokenizer = TOKENIZERS[name]
    batches = data.draw(st.lists(st.lists(st.integers(0, tokenizer.vocabulary - 1), max_size=40), max_size=4))
    with scratch() as folder, mctree.create(f"{folder}/t", tokenizer=tokenizer, chunk_bytes=65536) as tree:
        with tree.writer() as writer:
            document = writer.begin("a")
            for batch in batches:
                before = (document.size, document.tokens)
                try:
                    document.extend(batch)
                except UsageError as error:
                    assert "write" in str(error)  # both outcomes are good
                    assert name not in ("bytes", "bpe")
                    assert (document.size, document.tokens) == before
            document.write(b"play a")
            size, open_ = document.size, data.draw(st.booleans())
            if not open_:
                document.close()
        with tree.snapshot() as snapshot:
            found = snapshot.document("a")
            assert found.size == size
            assert len(found.read()) == size


def test_tokens_of_word_pieces_are_refused(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t", tokenizer=TOKENIZERS["pieces of words"]) as tree, tree.writer() as writer:
        document = writer.begin("a")
        with pytest.raises(UsageError, match=r"token 2 .*bytes of its own.*write"):
            document.extend([2, 2])
        document.write("playing plays")
        document.close()
    with mctree.open(tmp_path / "t") as tree, tree.snapshot() as snapshot:
        assert snapshot.document("a").read() == b"playing plays"
        assert snapshot.document("a").read_tokens().tolist() == [1, 2, 1, 4]
