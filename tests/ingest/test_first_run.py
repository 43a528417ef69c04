"""A new store: its tokenizer, its gists, and what arguments may say of an old one."""

from __future__ import annotations

import hashlib
import io
import os
import random
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

import mctree
from mctree.encoders import BytesTokenizer, HFTokenizer, train_bpe
from mctree.encoders.lexical import LexicalEncoder
from mctree.errors import NotAStoreError, SourceError, UsageError
from mctree.ingest import Progress, ingest
from mctree.sources.protocol import Stamp
from mctree.testing import ToyEncoder, assert_whole
from tests.ingest.corpora import PLAIN, ListedSource, texts, write

WORDS = ["the", "whale", "ship", "sea", "captain", "white", "harpoon", "storm", "deck", "and", "of", "海", "émigré"]


def prose(seed: int, words: int) -> bytes:
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) + str(chosen.randrange(50)) for _ in range(words)).encode()


@pytest.fixture
def root(folder: str) -> str:
    path = os.path.join(folder, "t")
    files = {f"{i}.txt": prose(i, 900) for i in range(12)}
    write(
        path,
        files
        | {
            "empty": b"",
            "binary": b"\0",
            "deep/er.txt": b"a semaphore " + prose(99, 40),
            "bytes": bytes(range(1, 256)),
        },
    )
    return path


def arrays(store: str) -> Iterator[tuple[str, bytes]]:
    """A digest of the committed rows of every array of a store."""
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        for number in range(snapshot.record.next["array"]):
            rows = snapshot.rows(number)
            data = np.ascontiguousarray(rows.read(0, len(rows))).tobytes()
            yield rows.layout.path, hashlib.sha256(data).digest()


def test_a_new_store_gets_a_tokenizer_of_its_own_and_lexical_gists(root, folder):
    store = os.path.join(folder, "s")
    report = ingest([root], store, workers=2)
    assert (report.added, report.skipped_count, report.commit_before) == (15, 1, None)
    assert texts(store)[b"t/3.txt"] == prose(3, 900)
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert isinstance(tree.tokenizer, HFTokenizer)
        assert snapshot.tokens_count == report.tokens < report.bytes_read / 2
        view = snapshot.gists()
        assert view.rows(1) == snapshot.blocks
        gists = view.gather(1, np.arange(snapshot.blocks)).astype(np.float32)
        best = int(np.argmax(gists @ view.encoder().encode_query("semaphore")))
        assert "semaphore" in snapshot.node((1, best)).text()


def test_the_store_does_not_depend_on_the_number_of_workers(root, folder):
    found = []
    for workers in (1, 2, 3):
        store = os.path.join(folder, f"s{workers}")
        report = ingest([root], store, workers=workers, batch_bytes=5000)
        with mctree.open(store) as tree, tree.snapshot() as snapshot:
            documents = [(one.id, one.source, one.runs, one.digest) for one in snapshot.documents()]
            commits = [(one.number, one.blocks, one.tokens) for one in tree.commits()]
        found.append((sorted(arrays(store)), documents, commits, report.tokens, report.commit_after))
    assert found[0] == found[1] == found[2]
    assert len(found[0][2]) > 5


@pytest.mark.parametrize("given", ["bytes", "file", "object"])
def test_a_tokenizer_can_be_given(root, folder, given):
    tokenizer = BytesTokenizer() if given == "bytes" else train_bpe([prose(1, 500)], 300)
    path = os.path.join(folder, "tokenizer.json")
    with open(path, "wb") as file:
        file.write(tokenizer.dump())
    store = os.path.join(folder, "s")
    ingest([root], store, tokenizer={"bytes": "bytes", "file": path, "object": tokenizer}[given])
    with mctree.open(store) as tree:
        assert tree.tokenizer == tokenizer
    assert not ingest([root], store, tokenizer=tokenizer).changed
    with pytest.raises(UsageError, match="has another tokenizer"):
        ingest([root], store, tokenizer=train_bpe([prose(2, 500)], 310))


@pytest.mark.parametrize("streamed", [False, True])
def test_gists_know_what_is_rare_where_the_tokenizer_is_given(folder, streamed):
    text, store, phases = b"a long way back, " * 2000 + prose(1, 3000), os.path.join(folder, "s"), []
    tokenizer = train_bpe([text], 300)
    if not streamed:
        write(os.path.join(folder, "t"), {"a.txt": text})
    paths = ["-"] if streamed else [os.path.join(folder, "t")]
    ingest(paths, store, tokenizer=tokenizer, stdin=io.BytesIO(text), on_event=lambda event: phases.append(event.phase))
    assert list(texts(store).values()) == [text]
    assert "training" not in phases
    assert phases.index("sampling") < phases.index("ingesting")
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        encoder = snapshot.gists().encoder()
    assert isinstance(encoder, LexicalEncoder)
    assert encoder.fingerprint != LexicalEncoder.fit(tokenizer, []).fingerprint
    assert len(np.unique(encoder.rarity)) > 2


def test_an_encoder_can_be_given_and_must_be_the_one_that_is_there(root, folder):
    for name, encoder, wrong in (("a", ToyEncoder(), "none"), ("b", "none", "lexical"), ("c", "lexical", ToyEncoder())):
        store = os.path.join(folder, name)
        options = {} if isinstance(encoder, str) else {"encoders": [encoder]}
        ingest([root], store, tokenizer="bytes", encoder=encoder)
        with mctree.open(store, **options) as tree, tree.snapshot() as snapshot:
            sets = snapshot.gist_sets()
            kinds = [view.record.kind for view in sets]
            assert kinds == ([] if encoder == "none" else ["lexical"] if encoder == "lexical" else [encoder.kind])
            assert all(view.rows(1) == snapshot.blocks for view in sets)
            assert_whole(tree)
        for same in (None, encoder):
            assert not ingest([root], store, encoder=same).changed
        with pytest.raises(UsageError):
            ingest([root], store, encoder=wrong)


def test_a_run_that_was_broken_off_before_it_made_gists_makes_them_later(root, folder):
    store = os.path.join(folder, "s")
    mctree.create(store, tokenizer=BytesTokenizer()).close()
    ingest([root], store)
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert snapshot.gists().record.kind == "lexical"


def test_a_store_that_somebody_else_makes_meanwhile_is_gone_on_with(root, folder):
    """Of two first runs, the one that takes longer to train its tokenizer goes on with the other's."""
    store = os.path.join(folder, "s")

    def another(event: Progress) -> None:
        if event.phase == "training" and not os.path.exists(store):
            ingest([root], store, **PLAIN)

    report = ingest([root], store, on_event=another)
    assert (report.added, report.unchanged) == (0, 15)
    assert not report.changed
    with mctree.open(store) as tree:
        assert tree.tokenizer == BytesTokenizer()


def test_without_text_no_tokenizer_is_trained(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"empty": b"", "binary": b"\0"})
    with pytest.raises(SourceError, match="no text"):
        ingest([root], store)
    assert not os.path.exists(store)
    ingest([root], store, tokenizer="bytes")
    write(root, {"a": b"text"})
    assert ingest([root], store).added == 1
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert snapshot.gists().rows(1) == snapshot.blocks == 1


def test_what_can_be_read_but_once_is_not_taken_for_a_corpus_without_text(folder):
    documents = {b"t/a": [b"some text of a database, "] * 40, b"t/b": [b"and more of it"]}
    store = os.path.join(folder, "s")
    with pytest.raises(SourceError, match=r"t/a can be read but once.*stamps, or pass a tokenizer"):
        ingest(ListedSource(documents), store)
    with pytest.raises(SourceError, match=r"t/a can be read but once.*stamps, or pass an encoder"):
        ingest(ListedSource(documents), store, tokenizer="bytes")
    assert ingest(ListedSource(documents), store, tokenizer="bytes", encoder="none").added == 2
    stamps = {name: Stamp(sum(map(len, pieces)), 1, 1, 1) for name, pieces in documents.items()}
    sampled = os.path.join(folder, "sampled")
    assert ingest(ListedSource(documents, stamps), sampled).added == 2
    assert texts(sampled) == texts(store) == {name: b"".join(pieces) for name, pieces in documents.items()}


def test_what_is_no_tokenizer_or_encoder_is_refused_before_anything_is_made(root, folder):
    store = os.path.join(folder, "s")
    for options in ({"tokenizer": 5}, {"encoder": 5}, {"encoder": "nonsense"}, {"encoder": BytesTokenizer()}):
        with pytest.raises(UsageError, match=r"encoder|tokenizer"):
            ingest([root], store, **options)
    assert not os.path.exists(store)


def test_messages_speak_to_the_command_line_as_well(root, folder):
    store = os.path.join(folder, "s")
    ingest([root], store, tokenizer="bytes", encoder="none")
    for options in ({"tokenizer": train_bpe([prose(1, 500)], 300)}, {"encoder": "lexical"}):
        with pytest.raises(UsageError) as caught:
            ingest([root], store, **options)
        assert "name no" in str(caught.value) and "=" not in str(caught.value)


def test_what_is_no_store_is_not_written_to(root, folder):
    with pytest.raises(NotAStoreError):
        ingest([root], folder, **PLAIN)
    bare = os.path.join(folder, "bare")
    mctree.create(bare, vocabulary=1000).close()
    with pytest.raises(UsageError, match="bare tokens"):
        ingest([root], bare)
    with pytest.raises(SourceError, match="no such"):
        ingest([root], os.path.join(folder, "s"), tokenizer=os.path.join(folder, "no such"))


def test_the_store_may_stand_in_the_folder(root):
    store = os.path.join(root, "store")
    for _ in range(2):
        report = ingest([root], store, tokenizer="bytes")
        assert report.added + report.unchanged == 15


def write_binaries(root: str) -> None:
    for i in range(5):
        with open(os.path.join(root, f"binary{i}"), "wb") as file:
            file.write(b"\0" * 50_000)


def test_progress_only_ever_grows_and_ends_with_everything(root, folder):
    store = os.path.join(folder, "s")
    write_binaries(root)
    sizes = {name: os.path.getsize(os.path.join(above, name)) for above, _, names in os.walk(root) for name in names}
    size = sum(each for name, each in sizes.items() if not name.startswith("binary"))
    events: list[Progress] = []
    ingest([root], store, on_event=events.append)
    assert list(dict.fromkeys(event.phase for event in events)) == [
        "sampling",
        "training",
        "fitting",
        "ingesting",
        "finishing",
    ]
    assert events[-1].bytes == events[-1].total_bytes == size
    assert events[-1].documents == 15
    assert all(event.total_bytes is None or event.bytes <= event.total_bytes for event in events)
    assert all(not event.rate for event in events if event.phase != "ingesting")
    for earlier, later in pairwise(events):
        assert (earlier.bytes, earlier.documents, earlier.tokens) <= (later.bytes, later.documents, later.tokens)

    events.clear()
    os.unlink(os.path.join(root, "3.txt"))
    ingest([root], store, on_event=events.append)
    assert [event.phase for event in events][-2:] == ["removing", "finishing"]
    assert events[-1].bytes == size - len(prose(3, 900))


@pytest.mark.parametrize("what", ["FIFO", "device", "terabyte", "folder", "link to nothing"])
def test_what_is_no_tokenizer_file_is_refused_at_once(root, folder, what):
    """Found by reading: a FIFO was waited for, and a device without an end was read into memory."""
    path = os.path.join(folder, "tokenizer.json")
    match what:
        case "FIFO":
            os.mkfifo(path)
        case "device":
            os.symlink("/dev/zero", path)
        case "terabyte":
            with open(path, "wb") as file:
                file.truncate(1 << 40)
        case "folder":
            os.mkdir(path)
        case _:
            os.symlink(os.path.join(folder, "nothing"), path)
    with pytest.raises(SourceError, match="tokenizer"):
        ingest([root], os.path.join(folder, "s"), tokenizer=path)
    assert not os.path.exists(os.path.join(folder, "s"))
