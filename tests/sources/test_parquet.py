from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mctree.errors import SourceError
from mctree.sources import Item, RawDocument, Skipped, open_source
from tests.sources.source_trees import contents, items, tree

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

KINDS = [pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]


def only_item(path: Path, **options: object) -> Item:
    (item,) = items(open_source([path], **options))
    return item


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.none() | st.text(max_size=8), max_size=40),
    st.sampled_from([*KINDS, pa.dictionary(pa.int32(), pa.string())]),
    st.integers(1, 20),
)
def test_every_cell_comes_back(cells: list[str | None], kind: object, group: int) -> None:
    values = [cell.encode() if cell is not None and "binary" in str(kind) else cell for cell in cells]
    with tree({}) as root:
        path = Path(root) / "a.parquet"
        pq.write_table(
            pa.table({"n": pa.array(range(len(cells))), "text": pa.array(values, kind)}), path, row_group_size=group
        )
        found = list(only_item(path).documents())
        assert [one.name for one in found] == [b"a.parquet#%d" % row for row in range(1, len(cells) + 1)]
        for row, (one, cell) in enumerate(zip(found, cells, strict=True), 1):
            if cell is None:
                assert isinstance(one, Skipped)
                assert (one.reason, one.certain) == (f"row {row}: column 'text' is null", True)
            else:
                assert isinstance(one, RawDocument)
                assert (b"".join(one.read()), one.locator) == (cell.encode(), {"row": row})


def test_bytes_that_are_no_text_come_out_as_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([b"\xff\0", b""], pa.binary())}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.array([b"\xff\0"], pa.binary(2))}), tmp_path / "b.parquet")
    assert contents(open_source([tmp_path / "a.parquet", tmp_path / "b.parquet"])) == {
        b"a.parquet#1": b"\xff\0",
        b"a.parquet#2": b"",
        b"b.parquet#1": b"\xff\0",
    }


@pytest.mark.parametrize("kind", [pa.string(), pa.large_binary(), pa.dictionary(pa.int8(), pa.string())])
def test_documents_are_named_by_an_id_column(tmp_path: Path, kind: object) -> None:
    path = tmp_path / "a.parquet"
    ids = ["x/1", None, "", "é"]
    values = [value.encode() if value is not None and "binary" in str(kind) else value for value in ids]
    pq.write_table(pa.table({"k": pa.array(values, kind), "body": ["a", "b", "c", "d"]}), path)
    source = open_source([path], text_field="body", id_field="k")
    assert contents(source) == {
        b"a.parquet#x/1": b"a",
        b"a.parquet#2": "row 2: column 'k' is null",
        b"a.parquet#3": "row 3: column 'k' is empty",
        "a.parquet#é".encode(): b"d",
    }
    assert not source.covers(b"a.parquet#gone")


def test_integers_and_the_text_itself_can_be_ids(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": pa.array([7, -1], pa.int64()), "text": ["a", "b"]}), path)
    assert contents(open_source([path], id_field="n")) == {b"a.parquet#7": b"a", b"a.parquet#-1": b"b"}
    assert contents(open_source([path], id_field="text")) == {b"a.parquet#a": b"a", b"a.parquet#b": b"b"}
    assert open_source([path]).covers(b"a.parquet#7") is False


def test_a_missing_column_is_an_error_that_lists_what_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"body": ["a"], "odd\x1b": ["b"], "n": [1], "list": [["a"]], "x": [1.5]}), path)
    with pytest.raises(
        SourceError, match=r"a.parquet has no column 'text'; it has 'body', 'odd\\x1b', 'n', 'list', 'x'"
    ):
        list(only_item(path).documents())
    with pytest.raises(SourceError, match="column 'n' holds int64, not text"):
        list(only_item(path, text_field="n").documents())
    with pytest.raises(SourceError, match="column 'list' holds list<"):
        list(only_item(path, text_field="list").documents())
    with pytest.raises(SourceError, match="column 'x' holds double, neither strings nor integers"):
        list(only_item(path, text_field="body", id_field="x").documents())


def test_max_bytes_counts_for_each_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["éé", "é"]}), tmp_path / "a.parquet")
    assert contents(open_source([tmp_path / "a.parquet"], max_bytes=3)) == {
        b"a.parquet#1": "row 1: larger than 3 bytes",
        b"a.parquet#2": "é".encode(),
    }


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all" * 100, b"PAR1" + b"\xff" * 100 + b"PAR1"])
def test_what_is_no_parquet_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.parquet is no readable Parquet file"):
        list(only_item(tmp_path / "a.parquet").documents())


def test_a_damaged_file_is_an_error_or_gives_all_its_rows(tmp_path: Path) -> None:
    """Where the header of a page is damaged, pyarrow may leave out rows without a word."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [str(place) * 5 for place in range(50)]}), path, row_group_size=20)
    whole = path.read_bytes()
    for place in (*range(4, len(whole), 17), *range(145, 215, 2)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            assert len(list(only_item(path).documents())) == 50
        except SourceError as error:
            assert str(error).isprintable()


def test_a_column_whose_name_is_no_text_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    path.write_bytes(path.read_bytes().replace(b"text", b"\xf4ext"))
    with pytest.raises(SourceError, match="no readable Parquet file"):
        list(only_item(path).documents())


CHANGES = {
    "rewritten": lambda content: content,
    "cut": lambda content: content[:100],
    "overwritten": lambda content: b"\xff" * len(content),
}


@pytest.mark.parametrize("group", [16, 100])
@pytest.mark.parametrize("read", [1, 5000])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_an_error_before_the_next_few_rows(tmp_path: Path, group: int, read: int, change: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"{place} " * 300 for place in range(5000)]}), path, row_group_size=group)
    documents = only_item(path).documents()
    for _ in range(read):
        next(documents)
    path.write_bytes(CHANGES[change](path.read_bytes()))
    with pytest.raises(SourceError, match="changed while it was being read"):
        for _ in range(16):
            next(documents)


def test_memory_is_bounded_by_pages_and_not_by_the_file(tmp_path: Path) -> None:
    rows = 60_000
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), use_dictionary=False) as writer:
        for start in range(0, rows, 6000):
            writer.write_table(pa.table({"text": [f"{start} " * 700] * 6000}))
    before = pa.total_allocated_bytes()
    highest = 0
    for found in only_item(path).documents():
        assert isinstance(found, RawDocument)
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert 0 < highest < 24 << 20


def test_without_pyarrow_only_parquet_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"x")
    (tmp_path / "b").write_bytes(b"x")
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from mctree.sources import open_source\n"
        f"first, second = open_source([{str(tmp_path)!r}])\n"
        "assert len(list(second.documents())) == 1\n"
        "list(first.documents())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].endswith("pip install 'mctree[parquet]'")
    assert SourceError.__name__ in ended.stderr.splitlines()[-1]


def test_nothing_but_parquet_loads_pyarrow(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom mctree.sources import open_source\n"
        f"list(open_source([{str(tmp_path)!r}]))\nassert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
