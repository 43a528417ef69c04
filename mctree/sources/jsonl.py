r"""Which documents does a JSON Lines file hold?  One per line: an object with a text, and an id if one is asked for.

* Lines end with LF; a CR before it, a UTF-8 mark at the start of the file and blank lines do not count.  A line over
  the limit is passed over without being held in memory.
* The document's bytes are the text in UTF-8.  JSON can spell lone surrogates (`"\ud800"`), which UTF-8 cannot: they
  come out as the three bytes that UTF-8's rule would give (`ed a0 80`), so nothing is lost.
* A document is named by its line, counted from 1, or by its id, a string or an integer.  Lines move when others are
  inserted above them; ids stay.
* A bad line costs itself.  If it is no JSON, or has no id where documents are named by ids, it also leaves in doubt
  which document it was, and whether that is gone.
* The file may be compressed with gzip; offsets are those of the decompressed bytes.

Memory: one line, and what the JSON parser makes of it, which for a hostile line can be twenty times as much.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mctree.errors import SourceError
from mctree.sources.files import HEAD, RegularFile
from mctree.sources.inflate import inflated
from mctree.sources.names import inside, shown
from mctree.sources.protocol import RawDocument, Skipped
from mctree.sources.records import Fields, key_fault, shown_text

__all__ = ["LONGEST_LINE", "Line", "jsonl_documents", "jsonl_file_documents", "split_lines"]

LONGEST_LINE = 256 << 20
_MARK = b"\xef\xbb\xbf"
_BLANK = b" \t\r"


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        number: counted from 1.
        offset: of its first byte.
        length: in bytes, without the LF.
        data: the bytes without the LF; None if they were more than the limit.
    """

    number: int
    offset: int
    length: int
    data: bytes | None


def split_lines(chunks: Iterable[bytes], limit: int) -> Iterator[Line]:
    """Split at LF; what follows the last LF is a line if it is not empty.

    Holds one chunk and at most `limit` bytes.
    """
    number, offset, length = 1, 0, 0
    parts: list[bytes] = []
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            newline = chunk.find(b"\n", start)
            stop = len(chunk) if newline < 0 else newline
            length += stop - start
            if length > limit:
                parts.clear()
            elif stop > start:
                parts.append(chunk[start:stop])
            start = stop + 1
            if newline >= 0:
                yield Line(number, offset, length, b"".join(parts) if length <= limit else None)
                parts.clear()
                number, offset, length = number + 1, offset + length + 1, 0
    if length:
        yield Line(number, offset, length, b"".join(parts) if length <= limit else None)


def jsonl_file_documents(file: RegularFile, fields: Fields, limit: int) -> Iterator[RawDocument | Skipped]:
    """The documents of a JSONL file.

    Raises:
        SourceError: it is damaged, or changed while it was read.
    """
    opened = file.open()
    if isinstance(opened, Skipped):
        yield opened
        return
    with opened:
        # Neither JSON nor gzip has long runs of zeros: reading a terabyte of them would lead to nothing.
        if file.stamp.size > HEAD and opened.has_hole():
            raise SourceError(f"{shown(file.name)} is sparse, with a hole of zero bytes: restore it or exclude it")
        yield from jsonl_documents(file.name, opened.chunks(), fields, limit)


def jsonl_documents(
    name: bytes, chunks: Iterable[bytes], fields: Fields, limit: int = LONGEST_LINE
) -> Iterator[RawDocument | Skipped]:
    """The documents of the JSONL container `name`, whose bytes arrive in chunks.

    Raises:
        SourceError: the bytes are compressed, and damaged; or whatever `chunks` raises.
    """
    try:
        for line in split_lines(inflated(chunks), limit):
            found = _document(name, line, fields, limit)
            if found:
                yield found
    except zlib.error as error:
        raise SourceError(f"{shown(name)} is damaged gzip ({error}): restore it or exclude it") from error


class _BadRecordError(Exception):
    """Why a line gives no document."""


def _document(container: bytes, line: Line, fields: Fields, limit: int) -> RawDocument | Skipped | None:
    """What a line holds; nothing if it is blank."""
    marked = line.number == 1 and line.data is not None and line.data.startswith(_MARK)
    key: str | int | None = None
    record: dict[str, object] | None = None
    try:
        if line.data is None:
            raise _BadRecordError(f"longer than {limit} bytes ({line.length})")
        data = (line.data[len(_MARK) :] if marked else line.data).removesuffix(b"\r")
        if not data.strip(_BLANK):
            return None
        record = _parsed(data)
        key = line.number if fields.id is None else _key(record, fields.id)
        body = _text(record, fields)
    except _BadRecordError as fault:
        name = inside(container, line.number if key is None else key)
        certain = record is not None and (fields.id is None or key is not None)
        return Skipped(name, f"line {line.number}: {fault}", certain)
    offset = line.offset + (len(_MARK) if marked else 0)
    locator: dict[str, int | str] = {"line": line.number, "offset": offset, "length": len(data)}
    return RawDocument(inside(container, key), locator, lambda: iter((body,)))


def _parsed(data: bytes) -> dict[str, object]:
    try:
        record = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _BadRecordError(f"not UTF-8 at byte {error.start} of the line") from error
    except json.JSONDecodeError as error:
        # Some of its messages end in "at" or a colon already.
        what = error.msg.rstrip(": ").removesuffix(" at")
        raise _BadRecordError(f"not JSON: {what} at column {error.colno}") from error
    except RecursionError as error:
        raise _BadRecordError("nested too deeply") from error
    except ValueError as error:
        raise _BadRecordError("holds a number of too many digits") from error
    if not isinstance(record, dict):
        raise _BadRecordError(f"is {_called(record)}, not an object")
    return record


def _key(record: dict[str, object], field: str) -> str | int:
    key = record.get(field)
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise _BadRecordError(f"field '{shown_text(field)}' is {_called(key)}, not an id")
    if fault := key_fault(key):
        raise _BadRecordError(f"field '{shown_text(field)}' {fault}")
    return key


def _text(record: dict[str, object], fields: Fields) -> bytes:
    text = record.get(fields.text)
    if not isinstance(text, str):
        raise _BadRecordError(f"field '{shown_text(fields.text)}' is {_called(text)}, not a string")
    body = text.encode("utf-8", "surrogatepass")
    if fields.max_bytes is not None and len(body) > fields.max_bytes:
        raise _BadRecordError(f"larger than {fields.max_bytes} bytes ({len(body)})")
    return body


def _called(value: object) -> str:
    if value is None:
        return "missing or null"
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a string", list: "a list"}
    return names.get(type(value), "an object")
