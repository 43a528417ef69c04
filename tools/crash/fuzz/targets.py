"""Which decoders are fuzzed, and what must hold of each?  Whatever the bytes, it returns, or raises one typed error.

A target takes bytes to pieces as mctree takes those of a stranger.  `attempt` calls it: an error of mctree in one
printable line is as good as an answer; anything else that is raised is a fault.  That it ends soon, in little memory
and in this process is looked at from outside: by the fuzzer's limits, and by those of `tools.crash.confined`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from mctree.cli.escaping import escape, unescape
from mctree.encoders import BytesTokenizer, LexicalEncoder, MeanEncoder, load_encoder, load_tokenizer, train_bpe
from mctree.errors import MctreeError, SourceError
from mctree.format import commits, facts, records
from mctree.format.arrays import ArrayLayout
from mctree.format.keys import Table, checked_key, parse_grave, split_version
from mctree.format.values import frame, number, pack, unframe, unframe_fixed, unpack
from mctree.geometry import Address
from mctree.ingest.utf8 import Utf8
from mctree.sources.files import RegularFile
from mctree.sources.ignore import parse_option
from mctree.sources.inflate import inflated
from mctree.sources.jsonl import jsonl_documents
from mctree.sources.parquet import parquet_documents
from mctree.sources.patterns import Rules
from mctree.sources.protocol import RawDocument, Skipped
from mctree.sources.records import Fields
from mctree.storage.gate import check_index
from mctree.storage.leases import _parse as parse_lease
from mctree.storage.pages import damaged_below, read_meta
from mctree.testing.stores import scratch
from tools.crash.fuzz.folder_targets import FOLDER_TARGETS
from tools.crash.fuzz.forged import LONGEST as LONGEST_FORGERY
from tools.crash.fuzz.forged import forgeries, through_a_forged_store
from tools.crash.fuzz.image_targets import IMAGE_TARGETS
from tools.crash.fuzz.side_targets import SIDE_TARGETS
from tools.crash.fuzz.target import Target, as_path, attempt
from tools.crash.fuzz.torch_targets import TORCH_TARGETS

__all__ = ["TARGETS", "Target", "attempt"]

_MOST_OUTPUT = 1 << 24
_PAGE = 4096


# Records of the index

_MAPS: tuple[Callable[[bytes], object], ...] = (
    lambda data: unpack(data, "a map"),
    commits.Meta.decode,
    partial(commits.Commit.decode, 7),
    commits.array_layout,
    facts.DocumentRecord.decode,
    facts.GistSetRecord.decode,
    facts.LinkRecord.decode,
    facts.Stamp.decode,
)


def _map(data: bytes) -> None:
    """A map, of the kind that the first byte says; what was decoded can be written, and is then the same."""
    decode = _MAPS[data[0] % len(_MAPS)] if data else _MAPS[0]
    found = decode(data[1:])
    if isinstance(found, ArrayLayout):
        assert commits.array_layout(commits.array_fact(found)) == found
    elif hasattr(found, "encode"):
        again: Any = decode(found.encode())
        # Not a number is not itself.
        assert repr(again) == repr(found), f"{found} was written as {again}"


def _maps() -> Iterator[bytes]:
    arrays = {0: commits.ArrayState(1280), 3: commits.ArrayState(40, 6)}
    commit = commits.Commit(7, 6, 1, 40, 900, 3, 2, arrays, {1: 5}, tables={"d": (3, 99)})
    found: list[Any] = [
        commits.Meta(bytes(16), 1, 2, 1 << 22),
        commit,
        None,
        facts.DocumentRecord(b"a/b\xff", True, 5, 6, bytes(32), {"line": 3, "path": "x"}, "text", 2),
        facts.GistSetRecord("default", "default", "lexical", "ab", bytes(32), 512, "float16", ("text",), (3, 4)),
        facts.LinkRecord((0, 1, 2), (0, 64, 96), "about", 0.5),
        facts.Stamp(1, 2, 3, 4, 5, bytes(32)),
    ]
    yield b"\0" + pack({"a": [1, 2.5, None, True, b"x", "y", {"z": -1}]})
    for kind, record in enumerate(found, 1):
        layout = ArrayLayout("text/lod0", "uint16", (), 32768)
        yield bytes([kind]) + (commits.array_fact(layout) if record is None else record.encode())
    for hostile in (
        b"\xdf\xff\xff\xff\xff",
        b"\x81" * 3000,
        b"\x91" * 3000,
        b"\xc7\xff\x01",
        b"\xdd\x7f\xff\xff\xff",
        b"\x81\x90\x00",
        b"\xc6\xff\xff\xff\xff",
        b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    ):
        yield b"\0" + hostile


_PACKED: tuple[Callable[[bytes], object], ...] = (
    records.Run.decode,
    records.Tail.decode,
    records.Original.decode,
    records.decode_blocks,
    records.decode_sums,
    lambda data: number(data, 4, "a setting"),
    parse_lease,
)


def _packed(data: bytes) -> None:
    """A packed record, of the kind that the first byte says."""
    found = _PACKED[data[0] % len(_PACKED)](data[1:]) if data else None
    if isinstance(found, records.Run | records.Tail | records.Original):
        assert found.encode() == data[1:]


def _packed_seeds() -> Iterator[bytes]:
    tail = records.Tail(3, np.arange(5, dtype=np.uint32), np.arange(5, dtype=np.uint64))
    block = np.zeros(2, records.BLOCK_DTYPE)
    for kind, seed in enumerate(
        [
            records.Run(5, 6).encode(),
            tail.encode(),
            records.Original(9, 1, 2, zlib.compress(b"text")).encode(),
            block.tobytes(),
            bytes(16),
            b"\0\0\0\1",
            (2).to_bytes(8, "little") + bytes(16) + bytes(4),
        ]
    ):
        yield bytes([kind]) + seed


def _framed(data: bytes) -> None:
    """A key and a value as they stand in the index; the first byte says how long the key is, the second who made it."""
    length = data[0] if data else 0
    key, value = data[2 : 2 + length], data[2 + length :]
    if len(data) > 1 and data[1] % 2:
        value = frame(key, value)
    payload = unframe(key, value)
    if checked_key(key):
        split_version(key) if key[:1] != Table.META else None
        if key[:1] == Table.GRAVE:
            parse_grave(key)
    keys, payloads = unframe_fixed([(key, value)] * 2, 1, max(len(key) - 1, 0), len(payload))
    assert keys[0].tobytes() == key[1:]
    assert payloads[1].tobytes() == payload


def _framed_seeds() -> Iterator[bytes]:
    for key in (b"m", b"c" + bytes(8), b"d" + bytes(16), b"z" + bytes(8) + b"d" + bytes(16)):
        yield bytes([len(key), 1]) + key + b"payload"
        yield bytes([len(key), 0]) + key + frame(key, b"payload")


# The index as a file


def _index(data: bytes) -> None:
    """An index of small pages, judged as it is before LMDB sees it."""
    fd = os.memfd_create("index")
    try:
        os.write(fd, data)
        check_index(fd, "somewhere")
        size = read_meta(data).page_bytes
        metas = [read_meta(data[at * size :]) for at in range(2)]
        newest = max(metas, key=lambda meta: meta.number)
        for fault in damaged_below(fd, size, newest):
            assert str(fault.what).isprintable()
    finally:
        os.close(fd)


@cache
def _small_index() -> bytes:
    """An index with all kinds of pages: branches, leaves, large records, lists of free pages."""
    import lmdb  # noqa: PLC0415  # only to make a seed

    with scratch() as folder:
        with lmdb.open(folder, map_size=1 << 20) as index:
            for step in range(3):
                with index.begin(write=True) as txn:
                    for i in range(40):
                        txn.put(b"d%03d" % i, bytes([step]) * (60 + 9 * i))
                    txn.put(b"f", bytes(9000))
        with open(os.path.join(folder, "data.mdb"), "rb") as file:
            return file.read()


def _index_seeds() -> Iterator[bytes]:
    whole = _small_index()
    yield whole
    yield whole[: 2 * _PAGE]
    yield whole[: len(whole) // _PAGE // 2 * _PAGE]


# Tokenizers and encoders


def _tokenizer(data: bytes) -> None:
    made = load_tokenizer("hf", data)
    for encoded in made.encode([b"", b"The quick brown fox, \xff\xed\xa0\x80 jumps.\n", "émigré 🐳 e\u0301".encode()]):
        made.decode(encoded.ids)


@cache
def _small_tokenizer() -> bytes:
    return train_bpe([b"the quick brown fox jumps over the lazy dog " * 9], 270).dump()


def _tokenizer_seeds() -> Iterator[bytes]:
    whole = json.loads(_small_tokenizer())
    yield json.dumps(whole, separators=(",", ":")).encode()
    small = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"the": 0, "[UNK]": 1}, "unk_token": "[UNK]"}}
    yield json.dumps(small).encode()
    for pre in ({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False},):
        yield json.dumps({**small, "pre_tokenizer": pre}).encode()
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["▁", -2.0]]}
    yield json.dumps({"version": "1.0", "model": unigram, "decoder": {"type": "Metaspace"}}).encode()
    yield b"[" * 3000
    yield b'{"model":' * 500


def _encoder(data: bytes) -> None:
    kind = ("lexical", "mean")[data[0] % 2] if data else "mean"
    made = load_encoder(kind, data[1:], BytesTokenizer())
    tokens = np.frombuffer(b"some text to be encoded, 32 long"[:32], np.uint8).reshape(1, 32)
    made.encode(1, tokens, np.ones((1, 32), np.bool_))
    made.encode_query("some text")
    assert made.dump() == data[1:]


def _encoder_seeds() -> Iterator[bytes]:
    yield b"\0" + LexicalEncoder.fit(BytesTokenizer(), [b"some text"], dim=8).dump()
    yield b"\1" + MeanEncoder(BytesTokenizer(), 16).dump()


# Input


def _read_all(found: Iterable[RawDocument | Skipped]) -> None:
    total = 0
    for one in found:
        if isinstance(one, RawDocument):
            for part in one.read():
                total += len(part)
        if total > _MOST_OUTPUT:
            return


def _jsonl(data: bytes) -> None:
    """Lines of JSON, in pieces; the first byte says whether documents are named by ids, the second cuts the pieces."""
    fields = Fields(id="id" if data[:1] > b"\x7f" else None)
    step = 1 + (data[1] if len(data) > 1 else 0)
    body = data[2:]
    _read_all(jsonl_documents(b"x", (body[i : i + step] for i in range(0, len(body), step)), fields, 1000))


def _jsonl_seeds() -> Iterator[bytes]:
    lines = b'{"id": "a", "text": "first"}\n{"id": 2, "text": "\\ud800 \\u0000 \\u202e"}\n\n{"text": 3}\nnot json\r\n'
    yield b"\0\7" + lines
    yield b"\xff\xff" + b"\xef\xbb\xbf" + lines
    yield b"\0\7" + gzip.compress(lines, mtime=0)
    yield b"\0\7" + gzip.compress(bytes(10000), mtime=0) + gzip.compress(lines, mtime=0)
    yield b"\0\xff" + b"[" * 900
    yield b"\0\xff" + b'{"text": ' + b"9" * 900 + b"}"


def _gzip(data: bytes) -> None:
    total = 0
    try:
        for part in inflated([data[:7], data[7:]]):
            total += len(part)
            if total > _MOST_OUTPUT:
                return
    except zlib.error as error:  # as `jsonl_documents` does
        raise SourceError("it is damaged") from error


def _gzip_seeds() -> Iterator[bytes]:
    yield gzip.compress(b"some text", mtime=0)
    yield gzip.compress(b"", mtime=0) + gzip.compress(bytes(1 << 16), mtime=0) + bytes(9)
    yield b"no gzip at all"


def _parquet(data: bytes) -> None:
    with as_path(data) as path:
        _read_all(parquet_documents(RegularFile.seen(b"file", path, os.stat(path)), Fields(id="id")))


def _parquet_seeds() -> Iterator[bytes]:
    import pyarrow  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    table = pyarrow.table({"id": ["a", "b", None], "text": ["first", None, "third"], "other": [1.0, 2.0, 3.0]})
    for options in ({"compression": "none"}, {"compression": "snappy", "use_dictionary": ["text"]}, {"version": "1.0"}):
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out, **options)
        yield out.getvalue()


def _utf8(data: bytes) -> None:
    """Whether bytes are a text, or go on within a character of one, in pieces whose size the first byte tells."""
    step, text = 4 + (data[0] & 15 if data else 0), data[1:]
    for within in (False, True):
        judged = Utf8(within=within)
        for i in range(0, len(text), step):
            judged.update(text[i : i + step])
        begun = next((i for i, byte in enumerate(text[:3]) if byte & 0xC0 != 0x80), min(len(text), 3)) if within else 0
        try:
            text[begun:].decode("utf-8")
        except UnicodeDecodeError:
            assert not judged.ended()
        else:
            assert judged.ended()


def _utf8_seeds() -> Iterator[bytes]:
    yield "\7a\u00e9\u20ac\U0001f600 and so on\u0301".encode()
    yield b"\0\x80\xbf\xbfrest" + b"\xed\xa0\x80\xf4\x90\x80\x80\xc0\xaf"


def _patterns(data: bytes) -> None:
    """An ignore file, and an option, held against paths."""
    rules = Rules.parse(data.split(b"\n"))
    for path in (b"a", b"a/b/c.txt", b"x" * 60, b"a/" * 30 + b"b", b"\xff\n[", data[:80].strip(b"/") or b"a"):
        rules.decide(path, folder=True)
    try:
        parse_option("include", [data.decode("utf-8", "surrogateescape")])
    except UnicodeError as error:
        raise AssertionError("a pattern that cannot be text") from error


def _patterns_seeds() -> Iterator[bytes]:
    yield b"# comment\n*.py\n!keep.py\n/a/**/b\n[a-z]?\\ \n"
    yield b"*a*a*a*a*a*a*a*b\n**/a/**/b/**/c\n[[:alpha:]!-/]\n"


def _names(data: bytes) -> None:
    """An address, and the name of a source, as somebody types them."""
    text = data.decode("utf-8", "surrogateescape")
    assert unescape(escape(data)) == data
    assert escape(data).isprintable()
    for parse in (unescape, Address.parse):
        try:
            parse(text)
        except MctreeError as error:
            assert str(error).isprintable()


def _names_seeds() -> Iterator[bytes]:
    yield from (b"2:17", b"a3/4:5", b"\x1b[31m\\x41\\\\", "\u202e\ufeff\U000e0041".encode(), b"\\ud800 \\U00110000")


TARGETS: dict[str, Target] = {
    "map": Target(_map, _maps),
    "packed": Target(_packed, _packed_seeds),
    "framed": Target(_framed, _framed_seeds),
    "index": Target(_index, _index_seeds, longest=24 * _PAGE),
    "store": Target(through_a_forged_store, forgeries, longest=LONGEST_FORGERY),
    "tokenizer": Target(_tokenizer, _tokenizer_seeds, longest=16384),
    "encoder": Target(_encoder, _encoder_seeds, longest=8192),
    "jsonl": Target(_jsonl, _jsonl_seeds),
    "gzip": Target(_gzip, _gzip_seeds),
    "parquet": Target(_parquet, _parquet_seeds),
    "utf8": Target(_utf8, _utf8_seeds, longest=256),
    "patterns": Target(_patterns, _patterns_seeds, longest=400),
    "names": Target(_names, _names_seeds, longest=400),
    **IMAGE_TARGETS,
    **FOLDER_TARGETS,
    **SIDE_TARGETS,
    **TORCH_TARGETS,
}
"""By the names of their corpora."""
