"""Which inputs does somebody make who means harm, or does not care?  Files for ingest, and tokenizers, with names.

`read_input` ingests one and reads back what came of it: whatever was taken is there, byte for byte.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import mctree
from mctree.encoders import load_tokenizer
from mctree.ingest import ingest

__all__ = ["inputs", "read_input", "tokenizers", "use_tokenizer"]

Make = Callable[[Path], None]
"""Makes an input in a folder."""

UNICODE = {
    "lone surrogates": b"\xed\xa0\x80\xed\xb0\x80 end",
    "overlong and truncated UTF-8": b"\xc0\xaf \xf8\x88\x80\x80\x80 \xf0\x9f\x90",
    "a thousand accents on one letter": ("a" + "\u0301" * 1000).encode(),
    "right to left, and back": "\u202e\u2066\u2067abc\u2069\u202c".encode(),
    "joiners": ("\U0001f468\u200d" * 3000).encode(),
    "nothing but marks": ("\ufeff\u200b\u2060\u00ad" * 500).encode(),
    "noncharacters and the last one": "\ufffe\uffff\U0010ffff\U000e0001".encode(),
    "line ends of all kinds": "a\nb\r\nc\rd\x0be\x0cf\x85g\u2028h\u2029".encode(),
    "forms that normalise": "ﬁ Å Å ﷺ İ ß".encode(),
    "escape sequences": b"\x1b[2J\x1b]0;owned\x07\x9b31m",
    "one very long word": b"x" * 300_000,
    "zero bytes behind a mark": b"\xff\xfe" + b"a\0b\0",
}


def inputs() -> Iterator[tuple[str, Make]]:
    """What to ingest, by what is strange about it."""
    for what, content in UNICODE.items():
        yield f"text: {what}", partial(_put, "a.txt", content)
        yield f"name: {what}", partial(_named, content)
        record = {"text": content.decode("utf-8", "surrogateescape")}
        yield f"JSONL: {what}", partial(_jsonl, json.dumps(record).encode())
    for what, line in {
        "a deep list": b'{"text": ' + b"[" * 500_000,
        "a deep object": b'{"a":' * 500_000,
        "a number of a million digits": b'{"text": "x", "n": ' + b"9" * 1_000_000 + b"}",
        "many keys": b"{" + b",".join(b'"%d":{}' % i for i in range(200_000)) + b"}",
        "one key again and again": b"{" + b'"text":"a",' * 100_000 + b'"text":"b"}',
        "not a number": b'{"text": NaN}',
        "infinite": b'{"text": "x", "n": 1e999999999}',
        "no JSON at all": random.Random(0).randbytes(50_000),
        "escapes": b'{"text": "\\ud800\\udc00\\u0000\\u001b[31m"}',
    }.items():
        yield f"JSONL: {what}", partial(_jsonl, line)
    for what, name, begin in (
        ("JSONL", "a.jsonl", b""),
        ("JSONL, gzip", "a.jsonl.gz", b"\x1f\x8b\x08"),
        ("text", "a.txt", b"text"),
        ("Parquet", "a.parquet", b"PAR1"),
        ("ignore file", ".gitignore", b""),
    ):
        yield f"{what}: a sparse terabyte", partial(_sparse, name, begin)
    bomb = _bomb(b'{"text": "a"}\n', 1100)  # more than the child may have
    yield "JSONL, gzip: a bomb", partial(_put, "a.jsonl.gz", bomb)
    yield "JSONL, gzip: cut off", partial(_put, "a.jsonl.gz", bomb[:5000])
    for what, content in _parquets().items():
        yield f"Parquet: {what}", partial(_put, "a.parquet", content)
    yield "links, FIFOs, devices and sockets", _unusual
    yield "folders that lead in a circle", _circle
    yield "folders three hundred deep", _deep
    yield "an ignore file that takes for ever", _slow_patterns


def read_input(make: Make, folder: Path) -> None:
    """Make an input, ingest it as a stranger's, and read back all that was taken."""
    (folder / "in").mkdir(exist_ok=True)
    make(folder / "in")
    store = folder / "out.mctree"
    report = ingest([folder / "in"], store, names=["in"], tokenizer="bytes", encoder="none", chunk_bytes=1 << 16)
    assert report is not None
    assert all(skipped.reason.isprintable() for skipped in report.skipped), f"it says {report.skipped!r}"
    with mctree.open(store) as tree, tree.snapshot() as snapshot:
        assert not list(tree.verify())
        for document in snapshot.documents():
            path = os.fsencode(folder) + b"/" + document.source
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    assert document.read() == file.read(), f"{document.source!r} came back otherwise"


def _bomb(begin: bytes, mebibytes: int) -> bytes:
    """What begins so and goes on with so many MiB of zeros, as one gzip member: packed once, and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    check = zlib.crc32(begin)
    for _ in range(mebibytes):
        check = zlib.crc32(bytes(1 << 20), check)
    sizes = struct.pack("<II", check, len(begin) + (mebibytes << 20))
    return gzip.compress(b"", mtime=0)[:10] + first + mebibytes * again + packer.flush() + sizes


def _put(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)


def _named(content: bytes, folder: Path) -> None:
    name = content.replace(b"/", b"_").replace(b"\0", b"_")[:255]
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write(b"the content is harmless")


def _jsonl(line: bytes, folder: Path) -> None:
    (folder / "a.jsonl").write_bytes(b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')


def _sparse(name: str, begin: bytes, folder: Path) -> None:
    (folder / name).write_bytes(begin)
    os.truncate(folder / name, 1 << 40)


def _circle(folder: Path) -> None:
    (folder / "in").symlink_to(folder)


def _unusual(folder: Path) -> None:
    os.mkfifo(folder / "fifo.jsonl")
    os.mkfifo(folder / ".mctreeignore")
    for name, target in {
        "zero.txt": "/dev/zero",
        "passwords.txt": "/etc/passwd",
        "loop.txt": "loop.txt",
        "nowhere.parquet": "../../../../nowhere",
        "process.jsonl": "/proc/self/environ",
        "up": "..",
    }.items():
        (folder / name).symlink_to(target)
    if os.geteuid() == 0:
        os.mknod(folder / "random.txt", 0o20666, os.makedev(1, 9))


def _deep(folder: Path) -> None:
    at = os.open(folder, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def _slow_patterns(folder: Path) -> None:
    (folder / ".gitignore").write_bytes(b"*a" * 200 + b"b\n" + b"**/a/" * 60 + b"b\n" + b"[[:alnum:]!-~]*" * 50 + b"\n")
    (folder / ("a" * 250)).write_bytes(b"text")


def _parquets() -> dict[str, bytes]:
    import io  # noqa: PLC0415

    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    def written(table: pa.Table, **options: object) -> bytes:
        out = io.BytesIO()
        pq.write_table(table, out, **options)
        return out.getvalue()

    plain = written(pa.table({"text": ["one", "two"] * 50}), compression="none")
    footer = struct.unpack("<I", plain[-8:-4])[0]
    # An extension type of old, whose description is a pickle that runs a program.
    pickle = b"cos\nsystem\n(S'touch executed'\ntR."
    field = pa.field(
        "text",
        pa.binary(),
        metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickle},
    )
    found = {
        "types that are pickles": written(pa.table([pa.array([b"x"])], schema=pa.schema([field]))),
        "a repeated value of a megabyte": written(pa.table({"text": ["x" * (1 << 20)] * 12})),
        "nothing but nulls": written(pa.table({"text": pa.nulls(50_000, pa.string())})),
        "nested text": written(pa.table({"text": [[["a"]]]})),
        "a footer as long as can be": plain[:-8] + b"\xff\xff\xff\x7fPAR1",
        "no footer": b"PAR1" + bytes(1000) + b"PAR1",
        "a cut off file": plain[: len(plain) // 2],
        "two columns of one name": written(pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])),
        "a name with escapes": written(pa.table({"\x1b[31m\u202e": ["a"]})),
    }
    for i in range(8):
        data = bytearray(plain)
        at = len(data) - 8 - footer + i * footer // 8
        data[at : at + 3] = b"\xff\xff\xff"
        found[f"a footer that was scribbled on, {i}"] = bytes(data)
    return found


def tokenizers() -> Iterator[tuple[str, bytes]]:
    """Files that say that they are a tokenizer, by what is strange about them."""
    model = {"type": "WordLevel", "vocab": {"the": 0, "[UNK]": 1}, "unk_token": "[UNK]"}

    def dump(**parts: object) -> bytes:
        return json.dumps({"version": "1.0", "model": model, **parts}).encode()

    split = {"type": "Split", "behavior": "Isolated", "invert": False}
    yield "a regular expression that takes for ever", dump(pre_tokenizer={**split, "pattern": {"Regex": "(a+)+$"}})
    yield "another one", dump(pre_tokenizer={**split, "pattern": {"Regex": "^(([a-z])+.)+[A-Z]([a-z])+$"}})
    yield "an expression that is none", dump(pre_tokenizer={**split, "pattern": {"Regex": "(((("}})
    yield (
        "a replacement that grows",
        dump(normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 999}),
    )
    yield "a deep list", b"[" * 2_000_000
    yield "deep parts", b'{"normalizer":' + b'{"type":"Sequence","normalizers":[' * 50_000
    junk = b",".join([b"{}"] * 2_000_000)
    yield "millions of nothings", dump()[:-1] + b', "junk": [' + junk + b"]}"
    yield "an id above all others", dump(model={**model, "vocab": {"the": 0, "[UNK]": 0xFFFFFFFF}})
    yield "a negative id", dump(model={**model, "vocab": {"the": -1}})
    yield "no words", dump(model={**model, "vocab": {}})
    yield "ids with gaps", dump(model={**model, "vocab": {"the": 0, "[UNK]": 4_000_000}})
    yield "merges that are none", dump(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a b c", "x"]})
    yield "a decoder that is a list", dump(decoder=[1, 2])
    yield (
        "an added token of escapes",
        dump(
            added_tokens=[
                {
                    "id": 2,
                    "content": "\x1b[31m",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            ]
        ),
    )
    yield (
        "an empty added token",
        dump(
            added_tokens=[
                {
                    "id": 2,
                    "content": "",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": False,
                }
            ]
        ),
    )
    yield (
        "probabilities that are none",
        json.dumps(
            {"version": "1.0", "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 1e308], ["a", -1e308]]}}
        ).encode(),
    )
    yield (
        "padding to a billion",
        dump(
            padding={
                "strategy": {"Fixed": 1_000_000_000},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            }
        ),
    )
    yield "no JSON", random.Random(0).randbytes(10_000)
    yield "nothing", b""


def use_tokenizer(dump: bytes) -> None:
    """Load a tokenizer, and let it encode what is hard."""
    with open(os.devnull, "wb") as nowhere:  # the library tells of what it runs into on standard error
        os.dup2(nowhere.fileno(), 2)
    made = load_tokenizer("hf", dump)
    for piece in (b"the quick brown fox", b"a" * 3000 + b"!", *UNICODE.values()):
        for encoded in made.encode([piece]):
            assert len(encoded.ids) == len(encoded.stops)
            made.decode(encoded.ids)
