"""Which documents does a Parquet file hold?  One per row, from one column of strings or bytes.

Needs pyarrow, which is asked for only when a Parquet file is met.  The bytes are the cell's own.  A document is named
by its row, counted from 1, or by an id column of strings or integers.  Rows whose text or id is null are skipped.

Memory: a page of the columns that are read, and a few cells, whatever the file's size.  The file is read through its
descriptor and not mapped, so that a file that is cut short while it is read is an error and not a crash.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from mctree.errors import MctreeError, SourceError
from mctree.sources.files import OpenFile, RegularFile
from mctree.sources.names import inside, shown
from mctree.sources.protocol import RawDocument, Skipped
from mctree.sources.records import Fields, key_fault, shown_text

__all__ = ["parquet_documents"]

_BUFFER = 1 << 20
_ROWS = 16
_ROWS_OF_DICTIONARY = 4096
_COLUMNS_SHOWN = 30


def parquet_documents(file: RegularFile, fields: Fields) -> Iterator[RawDocument | Skipped]:
    """The documents of a Parquet file.

    Raises:
        SourceError: pyarrow is not installed, a column is missing or of another kind, or the file is damaged or changed
            while it was read.
    """
    try:
        arrow, reader = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise SourceError(
            f"{shown(file.name)} needs pyarrow, which is not installed: pip install 'mctree[parquet]'"
        ) from error
    opened = file.open()
    if isinstance(opened, Skipped):
        yield opened
        return
    with opened:
        try:
            with opened.stream() as stream:
                yield from _documents(file.name, opened, stream, fields, arrow, reader)
        except MctreeError:
            raise
        except Exception as error:  # pyarrow lets a damaged file surface as any kind of error
            opened.confirm()
            raise SourceError(f"{shown(file.name)} is no readable Parquet file: {shown_text(error)}") from error
        opened.confirm()


def _documents(
    name: bytes, opened: OpenFile, stream: io.FileIO, fields: Fields, arrow: Any, reader: Any
) -> Iterator[RawDocument | Skipped]:
    table = reader.ParquetFile(stream, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
    schema = table.schema_arrow
    columns = [fields.text] if fields.id in (None, fields.text) else [fields.text, fields.id]
    text_type = _column_type(name, schema, fields.text)
    if not _is_text(arrow, text_type):
        raise SourceError(f"{shown(name)}: column '{shown_text(fields.text)}' holds {shown_text(text_type)}, not text")
    if fields.id is not None:
        id_type = _column_type(name, schema, fields.id)
        if not (_is_text(arrow, id_type) or arrow.types.is_integer(id_type)):
            raise SourceError(
                f"{shown(name)}: column '{shown_text(fields.id)}' holds {shown_text(id_type)}, "
                "neither strings nor integers"
            )
    shared = any(arrow.types.is_dictionary(schema.field(column).type) for column in columns)
    rows = _ROWS_OF_DICTIONARY if shared else _ROWS
    row = 1
    for batch in table.iter_batches(batch_size=rows, columns=columns, use_threads=False):
        opened.confirm()
        keys = _cells(arrow, batch.column(fields.id)) if fields.id is not None else iter(range(row, row + len(batch)))
        for cell, key in zip(_cells(arrow, batch.column(fields.text)), keys, strict=True):
            yield _document(name, row, key, cell, fields)
            row += 1
    if row - 1 != table.metadata.num_rows:
        opened.confirm()
        raise SourceError(
            f"{shown(name)} is damaged: it has {row - 1} of its {table.metadata.num_rows} rows; restore it"
        )


def _document(container: bytes, row: int, key: bytes | int | None, cell: Any, fields: Fields) -> RawDocument | Skipped:
    fault = "is null" if key is None else key_fault(key)
    if key is None or fault:
        return Skipped(inside(container, row), f"row {row}: column '{shown_text(fields.id)}' {fault}", certain=False)
    name = inside(container, key) if isinstance(key, int) else container + b"#" + key
    if cell is None:
        return Skipped(name, f"row {row}: column '{shown_text(fields.text)}' is null")
    if fields.max_bytes is not None and len(cell) > fields.max_bytes:
        return Skipped(name, f"row {row}: larger than {fields.max_bytes} bytes")
    return RawDocument(name, {"row": row}, lambda: iter((cell,) if cell else ()))


def _column_type(name: bytes, schema: Any, column: str) -> Any:
    indices = schema.get_all_field_indices(column)
    if len(indices) == 1:
        return schema.field(indices[0]).type
    if indices:
        raise SourceError(f"{shown(name)} has {len(indices)} columns '{shown_text(column)}': name another")
    listed = ", ".join(f"'{shown_text(found)}'" for found in schema.names[:_COLUMNS_SHOWN])
    more = ", …" if len(schema.names) > _COLUMNS_SHOWN else ""
    raise SourceError(f"{shown(name)} has no column '{shown_text(column)}'; it has {listed or 'none'}{more}")


def _is_text(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        check(kind)
        for check in (
            types.is_string,
            types.is_large_string,
            types.is_string_view,
            types.is_binary,
            types.is_large_binary,
            types.is_binary_view,
            types.is_fixed_size_binary,
        )
    )


def _cells(arrow: Any, column: Any) -> Iterator[Any]:
    """The values of a column one by one: bytes, integers, or None for null."""
    if arrow.types.is_dictionary(column.type):
        values = _as_bytes(arrow, column.dictionary)
        for index in column.indices:
            yield values[index.as_py()].as_py() if index.is_valid else None
    else:
        for value in _as_bytes(arrow, column):
            yield value.as_py()


def _as_bytes(arrow: Any, column: Any) -> Any:
    return column if arrow.types.is_integer(column.type) else column.cast(arrow.large_binary())
