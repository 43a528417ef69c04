"""Can a store be read from docs/format.md alone?

A reader of format version 1, written from that page and from nothing else: it shares no code with mctree, and is checked
against it. It copies the index into memory at its opening, so it holds no transaction, and every value's checksum has been
compared before anything is answered. It is meant to be read beside the page; it does not try to be fast.
"""

from __future__ import annotations

import bisect
import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

BLOCK = 32
FAN = 32
LOD0, COUNT, BEFORE = 0, 1, 2
Bytes = bytes
Array = NDArray[Any]


class DamagedError(Exception):
    """The store is not what the page says it must be."""


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC of ``data``."""
    return int(google_crc32c.value(data))


def u32(*numbers: int) -> bytes:
    """A key's u32 fields."""
    return struct.pack(f">{len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    """A key's u64 fields."""
    return struct.pack(f">{len(numbers)}Q", *numbers)


def unpack(payload: bytes) -> dict[Any, Any]:
    """A MessagePack map."""
    found = msgpack.unpackb(payload, strict_map_key=False)
    if not isinstance(found, dict):
        raise DamagedError("a payload is no map")
    return found


class Index:
    """§3: every record of the index, each compared with its checksum, in the order of the keys."""

    def __init__(self, path: Path) -> None:
        with lmdb.open(str(path), readonly=True, lock=False, create=False) as environment, environment.begin() as transaction:
            stored = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
        self.keys = [key for key, _ in stored]
        self.payloads = [value[4:] for _, value in stored]
        self.sums = [struct.unpack_from("<I", value)[0] for _, value in stored]
        for key, payload, check in zip(self.keys, self.payloads, self.sums, strict=True):
            if crc32c(key + payload) != check:
                raise DamagedError(f"the record {key.hex()} does not fit its checksum")

    def get(self, key: bytes) -> bytes | None:
        at = bisect.bisect_left(self.keys, key)
        return self.payloads[at] if at < len(self.keys) and self.keys[at] == key else None

    def items(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """The records whose keys start so; keys are given without the prefix."""
        first = bisect.bisect_left(self.keys, prefix)
        found = []
        for key, payload in zip(self.keys[first:], self.payloads[first:], strict=True):
            if not key.startswith(prefix):
                break
            found.append((key[len(prefix) :], payload))
        return found

    def since(self, fact: bytes, commit: int) -> tuple[int, bytes] | None:
        """A versioned fact as of a commit: the commit since which it holds, and its payload."""
        at = bisect.bisect_right(self.keys, fact + u64(commit)) - 1
        if at < 0 or len(self.keys[at]) != len(fact) + 8 or not self.keys[at].startswith(fact) or not self.payloads[at]:
            return None
        return int.from_bytes(self.keys[at][-8:], "big"), self.payloads[at]

    def facts(self, prefix: bytes, commit: int) -> dict[bytes, bytes]:
        """All versioned facts below a prefix that hold at a commit, by what follows the prefix."""
        held: dict[bytes, bytes] = {}
        for key, payload in self.items(prefix):
            if int.from_bytes(key[-8:], "big") <= commit:
                held[key[:-8]] = payload  # keys ascend: the last is the newest
        return {key: payload for key, payload in held.items() if payload}


@dataclass(frozen=True)
class Tail:
    """The tokens of an open document's unfinished block, and the source bytes at which they start and end."""

    start: int
    tokens: list[int]
    stops: list[int]


class Store:
    """§1, §4, §5: a store and its commits."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.index = Index(self.path / "index.lmdb")
        record = self.index.get(b"m")
        if record is None:
            raise DamagedError("no store record")
        self.record = unpack(record)
        if self.record["format"] != 1:
            raise DamagedError(f"format {self.record['format']} is not known")
        said = json.loads((self.path / "zarr.json").read_text())["attributes"]["mctree"]
        if (said["format"], said["store"], said["epoch"]) != (1, self.record["store"].hex(), self.record["epoch"]):
            raise DamagedError("zarr.json speaks of another store")
        self.commits = [int.from_bytes(key, "big") for key, _ in self.index.items(b"c")]
        head = self.path / "head"
        if head.exists() and len(data := head.read_bytes()) == 12 and struct.unpack("<I", data[8:])[0] == crc32c(data[:8]):
            if struct.unpack("<Q", data[:8])[0] > self.commits[-1]:
                raise DamagedError("an older index stands in the newest one's place")

    def snapshot(self, commit: int | None = None) -> Snapshot:
        return Snapshot(self, self.commits[-1] if commit is None else commit)

    def check_tables(self) -> None:
        """Compare the whole index with what the newest commit says of it (§5)."""
        for tag, (records, total) in unpack(self.index.get(b"c" + u64(self.commits[-1])) or b"")["tables"].items():
            sums = [check for key, check in zip(self.index.keys, self.index.sums, strict=True) if key[:1] == tag.encode()]
            if (len(sums), sum(sums) % 2**64) != (records, total):
                raise DamagedError(f"table {tag} has {len(sums)} records, and should have {records}")


class Snapshot:
    """A store as of one commit."""

    def __init__(self, store: Store, commit: int) -> None:
        record = store.index.get(b"c" + u64(commit))
        if record is None or store.index.get(b"v" + u64(commit)) is not None:
            raise DamagedError(f"commit {commit} cannot be opened")
        self.store, self.index, self.commit, self.record = store, store.index, commit, unpack(record)
        self.blocks: int = self.record["blocks"]
        self.rows = {int(number): rows for number, (rows, _) in self.record["arrays"].items()}
        # §7: the deaths until this commit, as (commit, first block, block after the last, tokens).
        self.deaths = [
            struct.unpack(">QQ", key) + struct.unpack("<QQ", payload) for key, payload in self.index.items(b"x")
        ]
        self.deaths = [death for death in self.deaths if death[0] <= commit]
        self.live = np.ones(self.blocks, bool)
        for _, first, stop, _ in self.deaths:
            self.live[first:stop] = False
        self.counts = self.array(COUNT)

    # §2, §6: arrays

    def array_record(self, number: int) -> dict[str, Any]:
        found = self.index.since(b"a" + u32(number), self.commit)
        if found is None:
            raise DamagedError(f"no array {number}")
        return unpack(found[1])

    def chunk(self, number: int, chunk: int) -> tuple[int, Bytes]:
        """The generation of a chunk that this commit sees, and its file's content."""
        record = self.array_record(number)
        found = self.index.since(b"k" + u32(number) + u64(chunk), self.commit)
        if found is None:
            raise DamagedError(f"array {number} has no chunk {chunk}")
        kept = self.store.path / "generations" / f"{number}.{chunk}.{found[0]}"
        name = ".".join(["c", str(chunk), *["0"] * len(record["row"])])
        if kept.exists():
            return found[0], kept.read_bytes()
        data = (self.store.path / record["path"] / name).read_bytes()
        return found[0], kept.read_bytes() if kept.exists() else data

    def array(self, number: int) -> Array:
        """The rows of an array that this commit sees."""
        record, rows = self.array_record(number), self.rows[number]
        dtype, per_chunk = np.dtype(record["dtype"]).newbyteorder("<"), record["rows_per_chunk"]
        parts = [np.zeros((0, *record["row"]), dtype)]
        for chunk in range(-(-rows // per_chunk)):
            data = np.frombuffer(self.chunk(number, chunk)[1], dtype)
            parts.append(data.reshape(per_chunk, *record["row"])[: rows - chunk * per_chunk])
        return np.concatenate(parts)

    # §2, §7: blocks and nodes

    def block_records(self) -> list[tuple[int, int, int, int, int]]:
        """(document, start, stop, checksum, count) of every block."""
        pages = b"".join(payload for _, payload in self.index.items(b"b"))
        return list(struct.iter_unpack("<QQQII", pages[: 32 * self.blocks]))

    def span(self, level: int, index: int) -> slice:
        width = FAN ** (level - 1)
        return slice(index * width, (index + 1) * width)

    def exists(self, level: int, index: int) -> bool:
        span = self.span(level, index)
        return span.stop <= self.blocks and bool(self.live[span].any())

    def token_count(self, level: int, index: int) -> int:
        """Real tokens of the node's blocks that are not dead."""
        span = self.span(level, index)
        return int(self.counts[span][self.live[span]].sum())

    def children(self, level: int, index: int) -> list[int]:
        """The nodes of the level below that exist; a block has positions below it, not nodes."""
        return [i for i in range(index * FAN, (index + 1) * FAN) if level > 1 and self.exists(level - 1, i)]

    # §8: documents

    def documents(self) -> dict[int, dict[str, Any]]:
        return {int.from_bytes(key, "big"): unpack(found) for key, found in self.index.facts(b"d", self.commit).items()}

    def find(self, source: bytes) -> list[int]:
        """The live documents of a source's name."""
        digest = hashlib.blake2b(source, digest_size=16).digest()
        facts = self.index.facts(b"s" + digest, self.commit).items()
        return [int.from_bytes(key, "big") for key, payload in facts if payload[1:] == source]

    def document_blocks(self, document: int) -> list[int]:
        blocks: list[int] = []
        for _, payload in self.index.items(b"r" + u64(document)):
            first, count = struct.unpack("<QQ", payload)
            blocks += range(first, min(first + count, self.blocks))
        return blocks

    def tail(self, document: int) -> Tail | None:
        found = self.index.since(b"t" + u64(document), self.commit)
        if found is None:
            return None
        start, count = struct.unpack_from("<QI", found[1])
        fields = struct.unpack_from(f"<{count}I{count}Q", found[1], 12)
        return Tail(start, list(fields[:count]), list(fields[count:]))

    def ranges(self, document: int) -> list[tuple[int, int]]:
        """The source bytes that each block of a document stands for, in the document's order."""
        records = self.block_records()
        return [records[block][1:3] for block in self.document_blocks(document)]

    def tokens(self, document: int) -> list[int]:
        lod0, tail, found = self.array(LOD0), self.tail(document), []
        for block in self.document_blocks(document):
            found += lod0[BLOCK * block : BLOCK * block + int(self.counts[block])].tolist()
        return found + (tail.tokens if tail else [])

    def size(self, document: int) -> int:
        """Bytes of a document: where its last token ends."""
        tail, ranges = self.tail(document), self.ranges(document)
        return tail.stops[-1] if tail and tail.stops else ranges[-1][1] if ranges else 0

    def source_bytes(self, document: int) -> bytes:
        tokens, size, found, at = self.tokens(document), self.size(document), b"", 0
        for key, payload in self.index.items(b"o" + u64(document)):
            stop, token, count = struct.unpack_from("<QQQ", payload)
            if stop > size:
                continue
            found += self.decode(tokens[at:token])
            if len(found) != int.from_bytes(key, "big"):
                raise DamagedError(f"document {document} does not lead up to its stretch of original bytes")
            found += zlib.decompress(payload[24:])
            at = token + count
        return found + self.decode(tokens[at:])

    # §9: tokenizer and gist sets

    def setting(self, name: str) -> bytes | None:
        found = self.index.since(b"n" + name.encode(), self.commit)
        return found[1] if found else None

    def decode(self, tokens: list[int]) -> bytes:
        """What the tokenizer makes of tokens."""
        record = unpack(self.setting("tokenizer") or b"\x80")
        if record.get("kind") == "bytes":
            return bytes(tokens)
        if record.get("kind") != "hf":
            raise DamagedError("the store's tokens have no bytes that this reader knows")
        found = json.loads(self.index.get(b"f" + record["blob"]) or b"{}")
        pieces = {number: byte_level(piece) for piece, number in found["model"]["vocab"].items()}
        pieces |= {added["id"]: added["content"].encode() for added in found["added_tokens"]}
        return b"".join(pieces[token] for token in tokens)

    def gist_sets(self) -> dict[int, dict[str, Any]]:
        return {int.from_bytes(key, "big"): unpack(found) for key, found in self.index.facts(b"g", self.commit).items()}

    def default_set(self) -> int | None:
        found = self.setting("default-set")
        return None if found is None else int.from_bytes(found, "big")

    def gists(self, gist_set: int, level: int) -> Array:
        """[rows, dim]: row i is the gist of node i."""
        return self.array(self.gist_sets()[gist_set]["levels"][level - 1])

    def stale(self, gist_set: int, level: int, index: int) -> bool:
        span, known = self.span(level, index), {int(key): value for key, value in self.record["refreshed"].items()}
        return level >= 2 and any(
            commit > known.get(gist_set, 0) and first < span.stop and span.start < stop for commit, first, stop, _ in self.deaths
        )

    # §10: links

    def links(self) -> dict[int, dict[str, Any]]:
        return {int.from_bytes(key, "big"): unpack(found) for key, found in self.index.facts(b"l", self.commit).items()}

    def links_of(self, level: int, index: int) -> list[int]:
        """The links whose cover has this node of the text timeline."""
        prefix = b"i" + u32(0) + bytes([level]) + u64(index)
        return [int.from_bytes(key, "big") for key in self.index.facts(prefix, self.commit)]

    # §7, §6, §8: checks

    def check(self) -> None:
        """Compare everything that this commit sees with its checksums and with what the commit says of it."""
        lod0, records, documents = self.array(LOD0), self.block_records(), self.documents()
        for block, (document, _, _, check, count) in enumerate(records):
            data = lod0[BLOCK * block : BLOCK * (block + 1)]
            if crc32c(data.tobytes()) != check or count != self.counts[block] or data[count:].any():
                raise DamagedError(f"block {block} of document {document} is damaged")
        before = [int(self.counts[: BLOCK * row].sum(dtype=np.uint64)) for row in range(self.rows[BEFORE])]
        if self.array(BEFORE).tolist() != before:
            raise DamagedError("text/before does not fit text/count")
        for gist_set in self.gist_sets().values():
            for number in gist_set["levels"]:
                self._check_rows(number)
        tokens = {number: self.tokens(number) for number in documents}
        found = (len(documents), sum(map(len, tokens.values())), int((~self.live).sum()))
        if found != (self.record["documents"], self.record["tokens"], self.record["dead_blocks"]):
            raise DamagedError(f"the commit speaks of other documents, tokens or deaths than {found}")
        for number, record in documents.items():
            if not record["open"] and (record["tokens"], record["size"]) != (len(tokens[number]), self.size(number)):
                raise DamagedError(f"document {number} has not the size that is said of it")
            if record["digest"] and hashlib.blake2b(self.source_bytes(number), digest_size=32).digest() != record["digest"]:
                raise DamagedError(f"document {number} does not fit its digest")

    def _check_rows(self, number: int) -> None:
        rows, per_chunk = self.array(number), self.array_record(number)["rows_per_chunk"]
        for chunk in range(-(-len(rows) // per_chunk)):
            generation = self.chunk(number, chunk)[0]
            pages = b"".join(found for _, found in self.index.items(b"q" + u32(number) + u64(chunk, generation)))
            held = rows[chunk * per_chunk : (chunk + 1) * per_chunk]
            if [crc32c(row.tobytes()) for row in held] != np.frombuffer(pages, "<u4")[: len(held)].tolist():
                raise DamagedError(f"rows of array {number}, chunk {chunk}, do not fit their checksums")


def byte_level(piece: str) -> bytes:
    """The bytes of a piece of a byte-level vocabulary: printable Latin-1 stands for itself, the rest from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(rest)}
    return bytes(table[letter] for letter in piece)
