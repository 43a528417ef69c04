"""What a writer refuses, and what it must not do to documents, each found as a fault once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

import mctree
from mctree.encoders import BytesTokenizer, Encoded, HFTokenizer
from mctree.errors import NotFoundError, UsageError, WriterFailedError
from mctree.sources import PIECE, cut_pieces
from mctree.testing import ToyEncoder, scratch
from mctree.testing.processes import in_child


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[mctree.Tree]:
    with mctree.create(tmp_path / "t.mctree", chunk_bytes=65536, encoders=[ToyEncoder()]) as tree:
        yield tree


def read(tree: mctree.Tree, source: str) -> bytes:
    with tree.snapshot() as snapshot:
        return snapshot.document(source).read()


def test_a_document_goes_on_after_a_commit_of_nothing(tree: mctree.Tree) -> None:
    """Found by reading: a commit that had nothing to do forgot the documents that were open."""
    with tree.writer() as writer:
        document = writer.begin("a")
        writer.commit()
        number = writer.commit()
        assert writer.commit() == number, "there was nothing to commit"
        document.write(b"x" * 100)
    assert read(tree, "a") == b"x" * 100


@pytest.mark.parametrize("how", ["remove", "replace"])
def test_a_handle_of_a_removed_document_takes_nothing_more(tree: mctree.Tree, how: str) -> None:
    """Found by reading: its tokens went to the timeline, and belonged to nobody."""
    with tree.writer() as writer:
        document = writer.begin("a")
        document.write(b"x" * 40)
        writer.commit()
        if how == "remove":
            writer.remove("a")
        else:
            writer.add("a", b"new", replace=True)
        for act in (lambda: document.write(b"y" * 40), lambda: document.extend([1]), document.close):
            with pytest.raises(UsageError, match="closed or removed"):
                act()
        assert not document.open
    with tree.snapshot() as snapshot:
        assert snapshot.documents_count == (how == "replace")


@pytest.mark.parametrize("act", ["remove", "reopen"])
def test_a_removed_document_is_not_found_by_its_name(tree: mctree.Tree, act: str) -> None:
    """Found by reading: it was looked up in the commit before, and came back to life without its blocks."""
    with tree.writer() as writer:
        number = writer.add("a", b"x" * 100)
        writer.commit()
        writer.remove("a")
        for which in ("a", b"a", number, 0, -1, 1 << 64):
            with pytest.raises(NotFoundError):
                getattr(writer, act)(which)
    with tree.snapshot() as snapshot:
        assert (snapshot.documents_count, snapshot.tokens_count) == (0, 0)


def test_a_link_that_is_not_there_does_no_harm(tree: mctree.Tree) -> None:
    """Found by reading: the commit broke off, and took everything else in it along."""
    with tree.writer() as writer:
        writer.add("a", b"x" * 100)
        first = writer.link((0, 10), (40, 50), kind="caption")
        second = writer.link((0, 1), (2, 3), kind="caption")
        writer.unlink(second)
        for number in (second, 99, 0, -1, 1 << 64):
            with pytest.raises(NotFoundError, match="no link"):
                writer.unlink(number)
        writer.commit()
        writer.unlink(first)
        with pytest.raises(NotFoundError):
            writer.unlink(first)
        writer.link((0, 5), (5, 9), kind="ocr", score=0.25)
    with tree.snapshot() as snapshot:
        assert [(link.kind, link.score) for link in snapshot.links(0, 1)] == [("ocr", 0.25)]


SPAN = st.tuples(st.integers(-5, 2**66), st.integers(-5, 2**66)) | st.sampled_from([(0, 1), (0, 2**63 - 1), (5, 5)])


@given(
    source=SPAN,
    target=SPAN,
    kind=st.text(st.characters(exclude_categories=())) | st.integers() | st.none(),
    score=st.floats() | st.integers(-1, 2),
    spaces=st.tuples(st.integers(-1, 2**33), st.just(0)),
)
def test_a_link_that_can_be_made_can_be_committed_and_read(
    source: Any, target: Any, kind: Any, score: float, spaces: tuple[int, int]
) -> None:
    """Found by reading: kinds, scores and spaces that cannot be stored broke the commit, or whoever read it."""
    with scratch() as folder, mctree.create(f"{folder}/t") as tree:
        with tree.writer() as writer:
            try:
                number = writer.link(source, target, kind=kind, score=score, spaces=spaces)
            except UsageError:
                return
        with tree.snapshot() as snapshot:
            (link,) = snapshot.links(*source, space=spaces[0])
            assert (link.id, link.source, link.target) == (number, (spaces[0], *source), (0, *target))
            assert (link.kind, link.score) == (kind, score)


@given(
    locator=st.dictionaries(
        st.text(st.characters(exclude_categories=()), max_size=3) | st.integers(),
        st.integers(-(2**66), 2**66) | st.text(st.characters(exclude_categories=())) | st.floats() | st.booleans(),
        max_size=2,
    ),
    media=st.text(st.characters(exclude_categories=()), max_size=5) | st.none(),
    source=st.text(st.characters(exclude_categories=()), max_size=5) | st.binary(max_size=5),
)
def test_a_document_that_can_be_begun_can_be_committed_and_read(locator: Any, media: Any, source: Any) -> None:
    """Found by reading: locators were stored as they came, and made their document unreadable."""
    with scratch() as folder, mctree.create(f"{folder}/t") as tree:
        with tree.writer() as writer:
            try:
                document = writer.begin(source, locator=locator, media=media)
                document.write(b"text")
                document.close()
            except UsageError:
                return
        with tree.snapshot() as snapshot:
            assert snapshot.document(source).locator == locator
            with pytest.raises(UsageError), tree.writer() as writer:
                writer.reopen(source, locator={"number": 1.5})


def words() -> HFTokenizer:
    """A tokenizer that has no token for blanks."""
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    engine.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return HFTokenizer(engine.to_str().encode())


@pytest.mark.parametrize("begin", [b"a " * 40, b"a ", b"a " * 32, b""])
def test_bytes_without_a_token_are_not_lost(tmp_path: Path, begin: bytes) -> None:
    """Found by reading: an open document ended with its last token, and what was appended came at a wrong place."""
    with mctree.create(tmp_path / "t", tokenizer=words()) as tree:
        whole = begin
        with tree.writer() as writer:
            writer.begin("a").write(begin)
        for piece in (b"  \n", b"\n\n", b"a a a", b"   ", b"a"):
            with tree.writer() as writer:
                writer.reopen("a").write(piece)
            whole += piece
            assert read(tree, "a") == whole
            with tree.snapshot() as snapshot:
                assert snapshot.document("a").size == len(whole)
        with tree.writer() as writer:
            document = writer.reopen("a")
            document.write(b"\n")
            document.close()
        assert read(tree, "a") == whole + b"\n"
        with tree.writer() as writer:
            writer.reopen("a").write(b"a\n")
        assert read(tree, "a") == whole + b"\na\n"
        with tree.snapshot() as snapshot:
            ends = [(int(r["start"]), int(r["stop"])) for r in snapshot.block_records(0, snapshot.blocks)]
        assert all(before[1] == after[0] for before, after in pairwise(ends)), "a gap of bytes"


def test_a_piece_is_what_it_was_when_it_was_appended(tree: mctree.Tree) -> None:
    """Found by reading: what waited for its block was the caller's own array, and changed with it."""
    ids, stops = np.arange(5, dtype=np.uint32), np.arange(1, 6, dtype=np.int64)
    with tree.writer() as writer:
        document = writer.begin("a")
        document.append(Encoded(ids, stops, True), bytes(range(5)))
        ids[:] = 99
        stops[:] = 0
        document.append(Encoded(ids[:0], stops[:0], True), b"")
    assert read(tree, "a") == bytes(range(5))
    with tree.snapshot() as snapshot:
        assert snapshot.document("a").size == 5


@pytest.mark.parametrize("tokens", [[-1], [256], [1 << 70], [0.5], [[1, 2]], ["a"], [True], [None]])
def test_what_is_no_token_is_refused(tree: mctree.Tree, tokens: list[Any]) -> None:
    with tree.writer() as writer:
        document = writer.begin("a")
        document.extend(b"ok"[:1][0])
        with pytest.raises(UsageError, match="tokens"):
            document.extend(tokens)
        document.extend([])
    with tree.snapshot() as snapshot:
        assert snapshot.document("a").tokens == 1


def test_text_is_refused_where_there_is_no_tokenizer(tmp_path: Path) -> None:
    with mctree.create(tmp_path / "t", vocabulary=10) as tree, tree.writer() as writer:
        document = writer.begin("a")
        with pytest.raises(UsageError, match="no tokenizer"):
            document.write("text")
        document.extend([9, 0])
        with pytest.raises(UsageError, match=r"0\.\.9"):
            document.extend([10])
        writer.commit()
        with tree.snapshot() as snapshot, pytest.raises(UsageError, match="no tokenizer"):
            snapshot.text(0, 0)


def test_a_closed_document_takes_nothing_more(tree: mctree.Tree) -> None:
    with tree.writer() as writer:
        document = writer.begin("a")
        document.close()
        for act in (lambda: document.write(b""), lambda: document.extend([]), document.close):
            with pytest.raises(UsageError, match="closed"):
                act()
        with pytest.raises(UsageError, match="commit before reopening"):
            writer.reopen("a")
        with pytest.raises(UsageError, match="has a live document"):
            writer.begin("a")
        with pytest.raises(UsageError, match="commit before removing"):
            writer.remove("a")
    with pytest.raises(UsageError, match="closed"):
        writer.commit()


@given(text=st.text(st.characters(exclude_categories=())))
def test_any_string_comes_back(text: str) -> None:
    with scratch() as folder, mctree.create(f"{folder}/t") as tree:
        with tree.writer() as writer:
            writer.add("a", text)
        assert read(tree, "a") == text.encode("utf-8", "surrogatepass")


def test_long_pieces_are_cut_between_characters_and_lines(tree: mctree.Tree) -> None:
    data = "é".encode() * 600_000 + b"\n" + b"x" * 1_200_000
    with tree.writer() as writer:
        writer.add("a", [data, data[1:]])
    assert read(tree, "a") == data + data[1:]


def test_long_pieces_are_cut_as_sources_cut_them(tree: mctree.Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given at once becomes the same tokens as what is read from a source; and each byte is copied once."""
    data = b"".join(b"%d\n" % i for i in range(400_000)) + "é".encode() * 700_000 + b"x" * 100
    seen: list[bytes] = []
    encode = BytesTokenizer.encode

    def spy(self: BytesTokenizer, pieces: list[bytes]) -> list[Encoded]:
        seen.extend(pieces)
        return encode(self, pieces)

    monkeypatch.setattr(BytesTokenizer, "encode", spy)
    with tree.writer() as writer:
        writer.add("a", data)
        assert seen == list(cut_pieces([data]))
        seen.clear()
        # Bytes that are no text are cut at the limit, and not before what might begin a character.
        writer.add("b", memoryview(b"\x80" * (2 * PIECE + 1)))
    assert [len(piece) for piece in seen] == [PIECE, PIECE, 1]


CALLS: dict[str, Callable[[mctree.tree.Writer], object]] = {
    "commit": lambda w: w.commit(),
    "begin": lambda w: w.begin("c"),
    "add": lambda w: w.add("c", b"x"),
    "reopen": lambda w: w.reopen("old"),
    "remove": lambda w: w.remove("old"),
    "link": lambda w: w.link((0, 1), (0, 1), kind="x"),
    "unlink": lambda w: w.unlink(1),
    "stamp": lambda w: w.stamp(b"a", None),
    "keep stamps": lambda w: w.keep_stamps(),
}


def test_a_writer_that_is_done_or_inherited_refuses_every_call_and_says_so(tree: mctree.Tree) -> None:
    """Found by review: after its `with` block it spoke of a snapshot, and a forked child could collect documents."""
    with tree.writer() as writer:
        document = writer.begin("open")
        acts = [
            *(partial(call, writer) for call in CALLS.values()),
            lambda: writer.add_image("picture", np.zeros((4, 4, 3), np.uint8)),
            lambda: writer.forget_image("picture"),
            lambda: document.write(b"more"),
            lambda: document.extend([1, 2]),
            document.close,
        ]

        def refused() -> None:
            for act in acts:
                with pytest.raises(UsageError, match=r"this writer was closed, or belongs to another process"):
                    act()

        assert in_child(refused) == 0
        document.write(b"from its own process")
    refused()
    with tree.snapshot() as snapshot:
        assert snapshot.document("open").read() == b"from its own process" and snapshot.documents_count == 1


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("threaded", [False, True])
def test_while_a_document_is_added_nothing_else_is_done(tree: mctree.Tree, threaded: bool, fails: bool) -> None:
    """Found by trying: where the iterable wrote to another document, or committed, one got the other's bytes."""
    with tree.writer() as writer:
        writer.add("old", b"old" * 50)
        writer.link((0, 1), (1, 2), kind="x")
    with tree.writer() as writer:
        other = writer.begin("b")
        other.write(b"b" * 40)
        acts = [
            *(partial(call, writer) for call in CALLS.values()),
            lambda: other.write(b"B" * 64),
            lambda: other.extend([1] * 64),
            lambda: other.append(BytesTokenizer().encode([b"B" * 64])[0], b"B" * 64),
            other.close,
        ]

        def attempt() -> list[str]:
            said = []
            for act in acts:
                try:
                    act()
                except UsageError as error:
                    said.append(str(error))
            return said

        def pieces() -> Iterator[bytes]:
            yield b"a" * 400
            if threaded:
                with ThreadPoolExecutor(1) as pool:
                    said = pool.submit(attempt).result()
            else:
                said = attempt()
            assert len(said) == len(acts)
            assert all("is adding 'a'" in message for message in said)
            yield b"a" * 400
            if fails:
                raise RuntimeError("the network is gone")

        with suppress(RuntimeError):
            writer.add("a", pieces())
        other.write(b"B" * 64)
        writer.add("c", b"C" * 200)
    wanted = {"old": b"old" * 50, "b": b"b" * 40 + b"B" * 64, "c": b"C" * 200} | ({} if fails else {"a": b"a" * 800})
    with tree.snapshot() as snapshot:
        assert {document.name: document.read() for document in snapshot.documents()} == wanted
        assert [link.kind for link in snapshot.all_links()] == ["x"]


def test_an_encoder_that_fails_ends_the_writer_and_nothing_else(tree: mctree.Tree) -> None:
    class Failing(ToyEncoder):
        def encode(self, level: int, *rest: Any) -> Any:
            if level == 2:
                raise ZeroDivisionError
            return super().encode(level, *rest)

    tree.build_gists(Failing())
    tree.add_encoder(Failing())
    with pytest.raises(ZeroDivisionError), tree.writer() as writer:
        writer.add("a", b"x" * 32 * 40)
    writer = tree.writer()
    writer.add("a", b"x" * 32 * 40)
    writer.commit(gists=False)
    with pytest.raises(ZeroDivisionError):
        writer.commit(gists=True)
    with pytest.raises(WriterFailedError):
        writer.commit(gists=False)
    writer.close()
    assert read(tree, "a") == b"x" * 32 * 40
    tree.add_encoder(ToyEncoder())
    with tree.writer():
        pass
    with tree.snapshot() as snapshot:
        assert [snapshot.gists().rows(level) for level in (1, 2, 3)] == [40, 1, 0]


STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "open", "gists", "commit"]), st.integers(0, 3), st.integers(1, 3000)),
    min_size=1,
    max_size=14,
)


@given(STEPS)
def test_gists_made_before_the_commit_are_those_of_the_commit_or_stale(steps: list[tuple[str, int, int]]) -> None:
    """Whatever dies between making them and the commit: fresh gists are what a set made from scratch has."""
    with scratch() as folder, mctree.create(f"{folder}/t", chunk_bytes=65536, encoders=[ToyEncoder()]) as tree:
        tree.build_gists(ToyEncoder(), "early", default=True)
        with tree.writer() as writer:
            for number, (what, which, size) in enumerate(steps):
                name = f"document {which}"
                if what == "put":
                    with suppress(UsageError):  # it has changes that are not committed
                        writer.add(name, bytes([65 + number]) * size, replace=True)
                elif what == "remove":
                    with suppress(UsageError, NotFoundError):
                        writer.remove(name)
                elif what == "open":
                    writer.begin(f"open {number}").write(b"y" * size)
                elif what == "gists":
                    writer.make_gists()
                elif what == "commit":
                    writer.commit()
        tree.build_gists(ToyEncoder(), "late")
        assert list(tree.verify()) == []
        with tree.snapshot() as snapshot:
            early, late = snapshot.gists("early"), snapshot.gists("late")
            assert early.rows(1) == snapshot.blocks
            for level in range(1, early.levels + 1):
                rows = np.arange(early.rows(level))
                there = np.array([snapshot.exists((level, int(row))) for row in rows], np.bool_)
                fresh = ~early.stale(level, rows) & there
                ours, theirs = (view.level(level).read(0, len(rows)) for view in (early, late))
                assert np.array_equal(ours[fresh], theirs[fresh])
