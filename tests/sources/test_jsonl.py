from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import SourceError
from mctree.sources import RawDocument, Skipped, open_source
from mctree.sources.jsonl import jsonl_documents, split_lines
from mctree.sources.records import Fields
from tests.sources.source_trees import contents, items

PLAIN = Fields()


def read(data: bytes, fields: Fields = PLAIN, limit: int = 1000, step: int = 7) -> list[tuple[bytes, bytes | str]]:
    chunks = [data[start : start + step] for start in range(0, len(data), step)]
    return [
        (found.name, found.reason if isinstance(found, Skipped) else b"".join(found.read()))
        for found in jsonl_documents(b"f", chunks, fields, limit)
    ]


def reason(data: bytes, fields: Fields = PLAIN) -> str:
    ((_, found),) = read(data, fields)
    assert isinstance(found, str)
    return found


texts = st.text(st.characters(codec=None), max_size=20)
ends = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\r\n"])


@given(st.lists(st.tuples(texts, st.booleans(), ends), max_size=10), st.booleans(), st.integers(1, 30))
def test_every_text_comes_back_and_its_locator_finds_it(
    records: list[tuple[str, bool, bytes]], marked: bool, step: int
) -> None:
    data = b"\xef\xbb\xbf" if marked else b""
    expected, number = [], 1
    for text, escaped, end in records:
        body = json.dumps({"text": text}, ensure_ascii=escaped).encode("utf-8", "replace")
        wanted = json.loads(body)["text"].encode("utf-8", "surrogatepass")
        expected.append((b"f#%d" % number, wanted))
        data += body + end
        number += end.count(b"\n")
    assert read(data, step=step) == expected
    for found in jsonl_documents(b"f", [data], PLAIN):
        assert isinstance(found, RawDocument)
        offset, length, line = (found.locator[key] for key in ("offset", "length", "line"))
        assert isinstance(offset, int)
        assert isinstance(length, int)
        part = data[offset : offset + length]
        assert json.loads(part)["text"].encode("utf-8", "surrogatepass") == b"".join(found.read())
        assert data[:offset].count(b"\n") + 1 == line


@given(st.lists(st.sampled_from([b"\n", b"a", b"bb", b"\r"]), max_size=30), st.integers(1, 5), st.integers(1, 9))
def test_lines_are_those_of_a_naive_split(parts: list[bytes], limit: int, step: int) -> None:
    data = b"".join(parts)
    naive = data.split(b"\n")
    naive = naive if naive[-1] else naive[:-1]
    lines = list(split_lines([data[start : start + step] for start in range(0, len(data), step)], limit))
    assert [line.data for line in lines] == [line if len(line) <= limit else None for line in naive]
    assert [data[line.offset : line.offset + line.length] for line in lines] == naive
    assert [line.number for line in lines] == list(range(1, len(naive) + 1))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 1: not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b"[1]", "line 1: is a list, not an object"),
        (b"null", "line 1: is missing or null, not an object"),
        (b"{}", "line 1: field 'text' is missing or null, not a string"),
        (b'{"text": null}', "line 1: field 'text' is missing or null, not a string"),
        (b'{"text": 7}', "line 1: field 'text' is a number, not a string"),
        (b'{"text": true}', "line 1: field 'text' is a truth value, not a string"),
        (b'{"text": {}}', "line 1: field 'text' is an object, not a string"),
        (b'{"text": "\xff"}', "line 1: not UTF-8 at byte 10 of the line"),
        (b'{"text": "\xed\xa0\x80"}', "line 1: not UTF-8 at byte 10 of the line"),
        (b"1" * 900, "line 1: is a number, not an object"),
        (b"\0", "line 1: not JSON: Expecting value at column 1"),
        (b" " * 1001, "line 1: longer than 1000 bytes (1001)"),
    ],
)
def test_a_bad_line_says_why_and_costs_itself_alone(line: bytes, said: str) -> None:
    assert read(line) == [(b"f#1", said)]
    good = b'{"text": "x"}'
    assert read(good + b"\n" + line + b"\n" + good)[::2] == [(b"f#1", b"x"), (b"f#3", b"x")]


def test_a_line_that_the_parser_cannot_take_is_bad_too() -> None:
    deep, digits = b"[" * 200_000, b"1" * 5000
    found = list(jsonl_documents(b"f", [deep, b"\n", digits, b'\n{"text": "x"}'], PLAIN))
    assert [type(one) for one in found] == [Skipped, Skipped, RawDocument]
    assert [one.reason for one in found if isinstance(one, Skipped)] == [
        "line 1: nested too deeply",
        "line 2: holds a number of too many digits",
    ]


def test_lone_surrogates_keep_three_bytes() -> None:
    assert read(b'{"text": "a\\ud800b"}') == [(b"f#1", b"a\xed\xa0\x80b")]
    assert read(b'{"text": "\\ud83d\\ude00"}') == [(b"f#1", "😀".encode())]


def test_documents_are_named_by_their_ids() -> None:
    fields = Fields("body", "key")
    data = b'{"key": "a/b\\n", "body": "x"}\n{"key": -12, "body": ""}\n{"key": "\\udcff", "body": "y"}\n'
    assert read(data, fields) == [(b"f#a/b\n", b"x"), (b"f#-12", b""), (b"f#\xed\xb3\xbf", b"y")]


@pytest.mark.parametrize("key", ["null", "1.5", "true", "[]", '""', '"' + "k" * 4097 + '"'])
def test_what_is_no_id_leaves_the_document_unnamed(key: str) -> None:
    data = b'{"text": "x", "id": %s}' % key.encode()
    (found,) = jsonl_documents(b"f", [data], Fields(id="id"))
    assert isinstance(found, Skipped)
    assert (found.name, found.certain) == (b"f#1", False)
    assert "field 'id'" in found.reason


def test_the_reason_holds_nothing_unprintable() -> None:
    assert reason(b"{}", Fields(text="\x1b\n\ud800")) == (
        "line 1: field '\\x1b\\n\\xed\\xa0\\x80' is missing or null, not a string"
    )


def test_a_text_over_max_bytes_is_skipped() -> None:
    data = '{"text": "éé"}\n{"text": "é"}'.encode()
    assert read(data, Fields(max_bytes=3)) == [(b"f#1", "line 1: larger than 3 bytes (4)"), (b"f#2", "é".encode())]


def test_a_line_over_the_limit_is_not_held_in_memory() -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield b"a" * (1 << 20)
        yield b'\n{"text": "x"}'

    tracemalloc.start()
    found = list(jsonl_documents(b"f", chunks(), PLAIN, limit=4 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [one.name for one in found] == [b"f#1", b"f#2"]
    assert peak < 16 << 20


@pytest.mark.parametrize("step", [1, 2, 3, 1 << 20])
def test_gzip_reads_as_what_it_holds(step: int) -> None:
    data = b'{"text": "x"}\n' * 50
    packed = gzip.compress(data[:140]) + gzip.compress(data[140:]) + b"\0" * 10
    assert read(packed, step=step) == read(data)


def test_a_gzip_bomb_is_not_held_in_memory() -> None:
    packed = gzip.compress(b"\0" * (100 << 20), compresslevel=1)
    tracemalloc.start()
    (found,) = jsonl_documents(b"f", [packed], PLAIN, limit=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found, Skipped)
    assert peak < 16 << 20


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-5], lambda packed: packed[:30] + b"\xff" + packed[31:]])
def test_damaged_gzip_is_an_error(spoil: object) -> None:
    packed = gzip.compress(b"".join(b'{"text": "%d"}\n' % (place * place) for place in range(1000)))
    with pytest.raises(SourceError, match="damaged gzip"):
        read(spoil(packed))


def test_files_are_taken_for_jsonl_by_their_ending(tmp_path: Path) -> None:
    line = b'{"text": "x"}\n'
    folder = tmp_path / "t"
    folder.mkdir()
    for name in ("a.jsonl", "b.NDJSON", "d.json", "e.jsonl.bak"):
        (folder / name).write_bytes(line)
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(line))
    source = open_source([folder])
    assert contents(source) == {
        b"t/a.jsonl#1": b"x",
        b"t/b.NDJSON#1": b"x",
        b"t/c.jsonl.gz#1": b"x",
        b"t/d.json": line,
        b"t/e.jsonl.bak": line,
    }
    assert [item.container for item in items(source)] == [True, True, True, False, False]
    assert contents(open_source([folder / "a.jsonl"], format="text")) == {b"a.jsonl": line}
    assert contents(open_source([folder / "d.json"], format="jsonl")) == {b"d.json#1": b"x"}


def test_an_empty_container_holds_no_documents(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    source = open_source([tmp_path / "a.jsonl"])
    assert contents(source) == {}
    assert source.covers(b"a.jsonl#1")


def test_a_file_with_a_hole_is_refused_and_not_read_for_an_hour(tmp_path: Path) -> None:
    """Found by reading: a sparse file of a terabyte was read to its end."""
    for name, begin in (("a.jsonl", b'{"text": "x"}\n'), ("b.jsonl.gz", gzip.compress(b'{"text": "x"}\n'))):
        (tmp_path / name).write_bytes(begin)
        os.truncate(tmp_path / name, 1 << 40)
        with pytest.raises(SourceError, match="sparse, with a hole"):
            contents(open_source([tmp_path / name]))
