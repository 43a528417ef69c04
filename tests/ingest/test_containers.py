"""Records of JSONL and Parquet files, and standard input, from run to run."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.ingest import Report, ingest
from mctree.sources import RawDocument, Skipped, Stamp
from mctree.testing import scratch
from tests.ingest.corpora import PLAIN, ListedSource, commits, held, sync, texts, write


def lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


records = st.dictionaries(st.sampled_from("abcde"), st.text("xyz\u20ac\n", max_size=70), max_size=5)


@given(st.lists(records, min_size=1, max_size=4), st.randoms(use_true_random=False), st.sampled_from([1, 1 << 20]))
@settings(max_examples=25)
def test_records_with_ids_follow_the_file_wherever_they_stand(states, random, batch_bytes):
    with scratch() as above:
        path, store = os.path.join(above, "r.jsonl"), os.path.join(above, "s")
        before: dict[str, str] = {}
        for state in states:
            order = list(state)
            random.shuffle(order)
            with open(path, "wb") as file:
                file.write(lines([{"id": name, "text": state[name]} for name in order]))
            report = sync(path, store, id_field="id", batch_bytes=batch_bytes)
            assert texts(store) == {b"r.jsonl#" + name.encode(): text.encode() for name, text in state.items()}
            for name, one in held(store).items():
                assert one.locator["line"] == order.index(name[-1:].decode()) + 1
            assert report.unchanged == sum(before.get(name) == text for name, text in state.items())
            assert report.removed == len(before.keys() - state.keys())
            before = state


def test_a_container_that_is_as_it_was_is_not_opened(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"r.jsonl": lines([{"text": f"record {i}"} for i in range(40)]), "a": b"plain"})
    assert sync(root, store).added == 41
    newest = commits(store)
    again = sync(root, store)
    assert (again.bytes_read, again.unchanged, commits(store)) == (0, 41, newest)


def test_one_changed_record_is_the_only_one_written(folder):
    path, store = os.path.join(folder, "r.jsonl"), os.path.join(folder, "s")
    content = [{"text": f"record {i} {'x' * 40}"} for i in range(40)]
    ids = []
    for change in (None, "record 7 is longer now, and so all lines behind it have moved"):
        if change:
            content[7]["text"] = change
        with open(path, "wb") as file:
            file.write(lines(content))
        report = sync(path, store)
        found = held(store)
        ids.append({name: one.id for name, one in found.items()})
        for i, record in enumerate(content):
            one = found[b"r.jsonl#%d" % (i + 1)]
            with open(path, "rb") as file:
                file.seek(int(one.locator["offset"]))
                assert json.loads(file.read(int(one.locator["length"]))) == record
    assert (report.superseded, report.unchanged, report.tokens) == (1, 39, len(change))
    assert {name for name in ids[0] if ids[0][name] != ids[1][name]} == {b"r.jsonl#8"}


def test_a_container_comes_and_goes_and_comes_back(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"r.jsonl": lines([{"text": "one"}, {"text": "two"}]), "a": b"plain"})
    sync(root, store)
    os.rename(os.path.join(root, "r.jsonl"), os.path.join(folder, "away"))
    assert sync(root, store, keep_vanished=True).removed == 0
    assert len(texts(store)) == 3
    assert sync(root, store).removed == 2
    assert texts(store) == {b"t/a": b"plain"}
    os.rename(os.path.join(folder, "away"), os.path.join(root, "r.jsonl"))
    assert sync(root, store).added == 2
    assert len(texts(store)) == 3


def test_a_container_that_comes_back_just_as_it_was_is_read_again(folder):
    """As one does whose file system was not mounted for a while."""
    store = os.path.join(folder, "s")
    here = ListedSource({b"t/a": [b"other"], b"t/r": [b"text"]}, {b"t/r": Stamp(4, 1, 1, 1)}, {b"t/r"})
    ingest(here, store, **PLAIN)
    assert ingest(here, store).bytes_read == len(b"other")
    assert ingest(ListedSource({b"t/a": [b"other"]}), store).removed == 1
    assert ingest(here, store).added == 1
    assert texts(store) == {b"t/a": b"other", b"t/r#1": b"text"}


def test_of_two_records_of_one_id_the_first_counts(folder):
    path, store = os.path.join(folder, "r.jsonl"), os.path.join(folder, "s")
    with open(path, "wb") as file:
        file.write(lines([{"id": "a", "text": "first"}, {"id": "b", "text": "x"}, {"id": "a", "text": "second"}]))
    for _ in range(3):
        report = sync(path, store, id_field="id")
        assert (report.superseded, report.skipped_count) == (0, 1)
        assert texts(store) == {b"r.jsonl#a": b"first", b"r.jsonl#b": b"x"}


def test_a_container_that_could_not_be_opened_is_tried_again(folder):
    store = os.path.join(folder, "s")

    class Closed(ListedSource):
        def _open(self, name: bytes) -> Iterator[RawDocument | Skipped]:
            yield Skipped(name, "cannot be opened", certain=False)

    arguments = ({b"t/r": [b"text"]}, {b"t/r": Stamp(4, 1, 1, 1)}, {b"t/r"})
    ingest(ListedSource({b"t/a": [b"other"]}), store, **PLAIN)
    assert ingest(Closed(*arguments), store, keep_vanished=True).skipped_count == 1
    assert ingest(ListedSource(*arguments), store, keep_vanished=True).added == 1


def test_another_field_makes_other_documents(folder, clocks_are_fine):
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    content = lines([{"text": "one", "title": "uno"}])
    write(root, {"r.jsonl": content})
    sync(root, store)
    sync(root, store, text_field="title")
    assert texts(store) == {b"t/r.jsonl#1": b"uno"}
    sync(root, store, format="text")
    assert texts(store) == {b"t/r.jsonl": content}
    sync(root, store)
    assert texts(store) == {b"t/r.jsonl#1": b"one"}


def test_bad_lines_are_counted_by_kind_and_the_rest_is_taken(folder):
    path, store = os.path.join(folder, "r.jsonl"), os.path.join(folder, "s")
    with open(path, "wb") as file:
        file.write(b"".join(b'{"title": %d}\n[]\n' % i for i in range(120)) + lines([{"text": "good"}]))
    report = sync(path, store)
    assert (report.added, report.skipped_count, len(report.skipped)) == (1, 240, 100)
    assert sorted(report.skipped_reasons.values()) == [120, 120]
    assert report.skipped[0].name == b"r.jsonl#1"


def test_a_line_that_was_cut_off_removes_nothing(folder):
    """Found by a first user: the record of a last line that was no JSON any more was removed."""
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    whole = lines([{"text": "one"}, {"text": "two"}])
    write(root, {"r.jsonl": whole})
    sync(root, store)
    write(root, {"r.jsonl": whole[:-6]})
    report = sync(root, store)
    assert (report.removed, report.skipped_count) == (0, 1)
    assert texts(store) == {b"t/r.jsonl#1": b"one", b"t/r.jsonl#2": b"two"}
    write(root, {"r.jsonl": lines([{"text": "one"}])})
    assert sync(root, store).removed == 1


def test_a_damaged_container_keeps_what_was_read_and_removes_nothing(folder, clocks_are_fine):
    gzip = pytest.importorskip("gzip")
    path, store = os.path.join(folder, "r.jsonl.gz"), os.path.join(folder, "s")
    good = gzip.compress(lines([{"text": "one"}, {"text": "two"}]))
    with open(path, "wb") as file:
        file.write(good)
    sync(path, store)
    for damaged in (good[:-6], gzip.compress(lines([{"text": "one"}])) + b"\x1f\x8bjunk"):
        with open(path, "wb") as file:
            file.write(damaged)
        for _ in range(2):
            report = sync(path, store)
            assert (report.removed, report.skipped_count) == (0, 1)
            assert texts(store) == {b"r.jsonl.gz#1": b"one", b"r.jsonl.gz#2": b"two"}


def test_without_pyarrow_parquet_is_skipped_and_what_is_there_of_it_stays(root, store, monkeypatch):
    """It must not keep all others from being read."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    write(root, {"a.txt": b"text", "z.txt": b"more"})
    parquet.write_table(arrow.table({"text": ["one"]}), os.path.join(root, "r.parquet"))
    sync(root, store)
    parquet.write_table(arrow.table({"text": ["another", "two"]}), os.path.join(root, "r.parquet"))
    with open(os.path.join(root, "z.txt"), "wb") as file:
        file.write(b"changed")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    report = sync(root, store)
    needed = "needs pyarrow, which is not installed: pip install 'mctree[parquet]'"
    assert [(found.name, found.reason) for found in report.skipped] == [(b"t/r.parquet", needed)]
    assert texts(store) == {b"t/a.txt": b"text", b"t/r.parquet#1": b"one", b"t/z.txt": b"changed"}
    monkeypatch.undo()
    sync(root, store)
    assert texts(store)[b"t/r.parquet#1"] == b"another"


def test_parquet_rows(folder, clocks_are_fine):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, store = os.path.join(folder, "r.parquet"), os.path.join(folder, "s")

    def put(rows: dict[str, str]) -> Report:
        parquet.write_table(arrow.table({"key": list(rows), "body": list(rows.values())}), path)
        return sync(path, store, text_field="body", id_field="key")

    put({"a": "one", "b": "two", "c": "three"})
    report = put({"b": "two", "c": "three and more", "d": "four"})
    assert (report.added, report.extended, report.removed, report.unchanged) == (1, 1, 1, 1)
    assert texts(store) == {b"r.parquet#b": b"two", b"r.parquet#c": b"three and more", b"r.parquet#d": b"four"}
    assert sync(path, store, text_field="body", id_field="key").bytes_read == 0


def test_lines_and_rows_are_counted_from_1(folder):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"r.jsonl": lines([{"text": "one"}, {"text": "two"}])})
    parquet.write_table(arrow.table({"text": ["one", "two"]}), os.path.join(root, "r.parquet"))
    sync(root, store)
    found = held(store)
    for name, place in (("jsonl", "line"), ("parquet", "row")):
        for number, text in enumerate((b"one", b"two"), 1):
            one = found[f"t/r.{name}#{number}".encode()]
            assert (one.data, one.locator[place]) == (text, number)


def test_why_a_file_cannot_be_read_is_said_without_its_name(folder):
    pytest.importorskip("pyarrow")
    root, store = os.path.join(folder, "t"), os.path.join(folder, "s")
    write(root, {"a": b"text", "r.parquet": b"none"})
    (skipped,) = sync(root, store).skipped
    assert skipped.name == b"t/r.parquet"
    assert skipped.reason.startswith("is no readable Parquet file: ")


def stream(data: bytes, store: str, **options: Any) -> Report:
    fresh = {} if os.path.exists(store) else PLAIN
    return ingest(["-"], store, stdin=io.BytesIO(data), **{**fresh, **options})


@pytest.mark.parametrize("batch_bytes", [1 << 20, 64])
def test_standard_input(folder, batch_bytes):
    store = os.path.join(folder, "s")
    counts = []
    for data in (b"some text\n" * 9, b"some text\n" * 9, b"some text\n" * 10, b"other text"):
        report = stream(data, store, batch_bytes=batch_bytes)
        assert texts(store) == {b"stdin": data}
        counts.append((report.added, report.unchanged, report.extended, report.superseded))
    if batch_bytes > 100:
        assert counts == [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]


def test_standard_input_as_records(folder):
    store = os.path.join(folder, "s")
    stream(lines([{"text": "one"}, {"text": "two"}]), store, format="jsonl")
    report = stream(lines([{"text": "one"}]), store, format="jsonl")
    assert (report.unchanged, report.removed) == (1, 1)
    assert texts(store) == {b"stdin#1": b"one"}
