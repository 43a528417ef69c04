"""Documents that need more than one commit, and runs that are broken off in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mctree
from mctree.errors import SourceError
from mctree.ingest import ingest
from mctree.ingest import reading as reading_room
from mctree.sources import Stamp
from mctree.testing import scratch
from tests.ingest.corpora import PLAIN, ListedSource, held, sync, texts, write

LINE = b"a line of a long document, which goes on and on\n"


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and jobs so small that a document of a few KB has many."""
    monkeypatch.setattr(reading_room, "_PIECE", 100)
    monkeypatch.setattr(reading_room, "_JOB", 100)


def long_text(seed: int, count: int) -> bytes:
    return b"".join(b"%d %d " % (seed, i) + LINE[i * i % 29 :] for i in range(count))


def pieces(data: bytes) -> list[bytes | BaseException]:
    return [data[i : i + 90] for i in range(0, len(data), 90)]


def broken(data: bytes, after: int, error: BaseException) -> list[bytes | BaseException]:
    return [*pieces(data)[:after], error]


def test_one_document_over_many_commits(folder):
    path, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    for data in (long_text(1, 60), long_text(1, 60) + long_text(2, 40), long_text(3, 50), long_text(3, 20)):
        with open(path, "wb") as file:
            file.write(data)
        report = sync(path, store, batch_bytes=500)
        assert texts(store) == {b"t": data}
    assert report.commit_after - report.commit_before > 1


def test_no_commit_holds_a_part_of_a_short_document(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    files = {f"{i}.txt": long_text(i, 9) for i in range(6)}
    write(root, files)
    report = sync(root, store, batch_bytes=len(files["0.txt"]) + 9)
    with mctree.open(store) as tree:
        seen = 0
        for commit in tree.commits()[1:]:
            with tree.snapshot(commit.number) as snapshot:
                for document in snapshot.documents():
                    assert not document.open
                    assert document.read() == files[os.path.basename(document.name)]
                    seen += 1
        assert seen > report.added == 6


@given(
    st.sampled_from([SourceError("it moved"), KeyboardInterrupt()]),
    st.integers(0, 45),
    st.integers(0, 45),
    st.booleans(),
    st.sampled_from([300, 2000]),
)
@settings(max_examples=30)
def test_a_broken_run_is_gone_on_with(error, first, second, changed, batch_bytes):
    with scratch() as above:
        path, store = os.path.join(above, "t"), os.path.join(above, "s")
        first_text, text = long_text(1, 50), long_text(1 + changed, 60)
        options = {"batch_bytes": batch_bytes}
        plain = {**PLAIN, **options}
        fragments = {}
        for after, data, extra in ((first, first_text, plain), (second, text, options)):
            with suppress(KeyboardInterrupt):
                ingest(ListedSource({b"t": broken(data, after, error)}), store, **extra)
            for name, one in held(store).items():
                fragments[name] = one
                assert one.open and (first_text.startswith(one.data) or text.startswith(one.data))
        with open(path, "wb") as file:
            file.write(text)
        report = sync(path, store, **options)
        assert texts(store) == {b"t": text}
        assert report.added + report.extended + report.superseded == 1
        if b"t" in fragments and text.startswith(fragments[b"t"].data):
            # What was there is gone on with, and not written again.
            assert report.extended == 1
            assert report.tokens == len(text) - len(fragments[b"t"].data)
        assert not sync(path, store, **options).changed


def test_what_was_begun_and_is_gone_is_removed(folder):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"short"})
    source = ListedSource({b"t/a": [b"short"], b"t/b": broken(long_text(1, 50), 40, KeyboardInterrupt())})
    with pytest.raises(KeyboardInterrupt):
        ingest(source, store, batch_bytes=300, **PLAIN)
    assert held(store)[b"t/b"].open
    assert sync(root, store).removed == 1
    assert texts(store) == {b"t/a": b"short"}


def test_what_was_begun_and_then_written_to_by_others_is_theirs(folder):
    path, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    text = long_text(1, 50)
    with open(path, "wb") as file:
        file.write(text)
    with pytest.raises(KeyboardInterrupt):
        ingest(ListedSource({b"t": broken(text, 40, KeyboardInterrupt())}), store, batch_bytes=300, **PLAIN)
    with mctree.open(store) as tree, tree.writer() as writer:
        writer.reopen(b"t").write(b"mine")
    report = sync(path, store, batch_bytes=300)
    assert report.skipped_count == 1
    assert held(store)[b"t"].data.endswith(b"mine")


@pytest.mark.parametrize("reading", [0, 1])
@pytest.mark.parametrize("after", [0, 2, 5])
def test_a_long_document_that_cannot_be_read_leaves_the_old_one(folder, reading, after):
    path, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    with open(path, "wb") as file:
        file.write(b"the old one")
    sync(path, store)
    text = long_text(1, 50)

    class FailsLater(ListedSource):
        """It is read twice, to judge it and to write it."""

        readings = 0

        def _read(self, name: bytes) -> Iterator[bytes]:
            self.documents = {
                name: broken(text, after, SourceError("it moved")) if self.readings == reading else pieces(text)
            }
            self.readings += 1
            return super()._read(name)

    report = ingest(FailsLater({b"t": []}, {b"t": Stamp(len(text), 1, 1, 1)}), store, batch_bytes=300)
    assert (report.skipped_count, report.skipped[0].reason) == (1, "it moved")
    if reading == 0 or after < 3:
        assert not report.changed
        assert texts(store) == {b"t": b"the old one"}
    else:
        # Too long to be held back until its end is seen: what came of it is open, and the next run goes on.
        assert held(store)[b"t"].open
        assert text.startswith(held(store)[b"t"].data)
