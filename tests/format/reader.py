"""Can a store be read from docs/format.md alone?

A reader of format versions 1 and 2, written from that page: it shares no code with mctree, and is compared with it. It
takes the whole index into memory when it is made, so it holds no transaction, and nothing that fails its checksum is
used.
It is meant to be read beside the page, whose sections it names, and not to be fast.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import json
import re
import struct
import zlib
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

BLOCK = FAN = 32
TILE, IMAGE_FAN = 64, 4
CRC32C = list(range(256))
for _ in range(8):
    CRC32C = [value >> 1 ^ 0x82F63B78 * (value & 1) for value in CRC32C]
LOD0, COUNT, BEFORE = 0, 1, 2


class DamagedError(Exception):
    """The store is not what the page says that it must be."""


def require(holds: object, what: str) -> None:
    if not holds:
        raise DamagedError(what)


def crc32c(data: bytes) -> int:
    """The Castagnoli CRC, a byte at a time: reflected, of polynomial 0x1EDC6F41, begun and ended with all bits set."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc32c_of_rows(rows: NDArray[Any]) -> NDArray[np.uint32]:
    """The same of each row, all of them a byte further at a time."""
    table = np.array(CRC32C, np.uint32)
    crc = np.full(len(rows), 0xFFFFFFFF, np.uint32)
    for column in np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8).T:
        crc = table[(crc ^ column) & 0xFF] ^ crc >> np.uint32(8)
    return crc ^ np.uint32(0xFFFFFFFF)


def u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def u64(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}Q", *numbers)


def number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def unpack(payload: bytes) -> dict[Any, Any]:
    return dict(msgpack.unpackb(payload, strict_map_key=False))


class Index:
    """§3: all records of the index, in the order of their keys."""

    def __init__(self, path: Path) -> None:
        with lmdb.open(str(path), readonly=True, lock=False, create=False) as env, env.begin() as transaction:
            stored = {bytes(key): bytes(value) for key, value in transaction.cursor()}
        self.keys = list(stored)
        self.sums = {key: struct.unpack_from("<I", value)[0] for key, value in stored.items()}
        self.payloads = {key: value[4:] for key, value in stored.items()}
        for key, payload in self.payloads.items():
            require(crc32c(key + payload) == self.sums[key], f"the record {key.hex()} does not fit its checksum")

    def get(self, key: bytes) -> bytes:
        require(key in self.payloads, f"there is no record {key.hex()}")
        return self.payloads[key]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The records whose keys begin so: what follows in the key, and the payload."""
        for key in itertools.islice(self.keys, bisect.bisect_left(self.keys, prefix), None):
            if not key.startswith(prefix):
                return
            yield key[len(prefix) :], self.payloads[key]

    def held(self, fact: bytes, commit: int) -> tuple[int, bytes] | None:
        """A versioned fact as of a commit: the commit since which it holds, and its payload."""
        versions = [(number(rest), payload) for rest, payload in self.scan(fact) if len(rest) == 8]
        until = [version for version in versions if version[0] <= commit]
        return until[-1] if until and until[-1][1] else None

    def surely_held(self, fact: bytes, commit: int) -> tuple[int, bytes]:
        if (found := self.held(fact, commit)) is None:
            raise DamagedError(f"{fact.hex()} does not hold at commit {commit}")
        return found

    def all_held(self, prefix: bytes, commit: int) -> dict[bytes, bytes]:
        """All versioned facts whose keys begin so, by what follows in the key before the commit."""
        until = {rest[:-8]: payload for rest, payload in self.scan(prefix) if number(rest[-8:]) <= commit}
        return {fact: payload for fact, payload in until.items() if payload}


class Store:
    """§1, §4, §5: a store and the commits that can be opened."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.index = Index(self.path / "index.lmdb")
        self.record = unpack(self.index.get(b"m"))
        require(self.record["format"] in (1, 2), f"format {self.record['format']} is not known")
        said = json.loads((self.path / "zarr.json").read_text())["attributes"]["mctree"]
        wanted = {"format": self.record["format"], "store": self.record["store"].hex(), "epoch": self.record["epoch"]}
        require(said == wanted, "zarr.json speaks of another store")
        self.commits = [number(key) for key, _ in self.index.scan(b"c")]
        head = self.path / "head"
        if head.exists() and len(data := head.read_bytes()) == 12:
            newest, total = struct.unpack("<QI", data)
            require(total != crc32c(data[:8]) or newest <= self.commits[-1], "this is an older index")

    def snapshot(self, commit: int | None = None) -> Snapshot:
        return Snapshot(self, self.commits[-1] if commit is None else commit)

    def check_tables(self) -> None:
        tables = unpack(self.index.get(b"c" + u64(self.commits[-1])))["tables"]
        for tag in "makqbxdrtosgnfliejuw":
            sums = [total for key, total in self.index.sums.items() if key.startswith(tag.encode())]
            require(tables.get(tag, [0, 0]) == [len(sums), sum(sums) % 2**64], f"records of table {tag} are missing")


class Tail(NamedTuple):
    """§8: the tokens of an open document's unfinished block, where they start, and where each ends."""

    start: int
    tokens: list[int]
    stops: list[int]


class BlockRecord(NamedTuple):
    """§7."""

    document: int
    start: int
    stop: int
    crc32c: int
    real: int


class Death(NamedTuple):
    """§7: blocks [first, stop) died in a commit, and so many tokens with them."""

    commit: int
    first: int
    stop: int
    tokens: int


class Graft(NamedTuple):
    """§11: an image's place."""

    block: int
    document: int
    base: int
    height: int
    width: int
    space: int
    level: int
    channels: int


class Snapshot:
    """A store as one commit saw it."""

    def __init__(self, store: Store, commit: int) -> None:
        require(commit in store.commits, f"commit {commit} cannot be opened")
        self.store, self.index, self.commit = store, store.index, commit
        self.record = unpack(self.index.get(b"c" + u64(commit)))
        self.blocks: int = self.record["blocks"]
        deaths = (struct.unpack(">QQ", key) + struct.unpack("<QQ", payload) for key, payload in self.index.scan(b"x"))
        self.deaths = [death for death in map(Death._make, deaths) if death.commit <= commit]
        self.live = np.ones(self.blocks, bool)
        for death in self.deaths:
            self.live[death.first : death.stop] = False

    # §2, §6: arrays

    def layout(self, array: int) -> dict[str, Any]:
        return unpack(self.index.surely_held(b"a" + u32(array), self.commit)[1])

    def generation(self, array: int, chunk: int) -> int:
        return self.index.surely_held(b"k" + u32(array) + u64(chunk), self.commit)[0]

    def file(self, array: int, chunk: int) -> bytes:
        layout = self.layout(array)
        key = ".".join(["c", str(chunk)] + ["0"] * len(layout["row"]))
        kept = self.store.path / "generations" / f"{array}.{chunk}.{self.generation(array, chunk)}"
        if kept.exists():
            return kept.read_bytes()
        published = (self.store.path / layout["path"] / key).read_bytes()
        return kept.read_bytes() if kept.exists() else published

    def rows(self, array: int) -> NDArray[Any]:
        """All rows of an array that the commit sees."""
        layout, rows = self.layout(array), self.record["arrays"][array][0]
        dtype, shape = np.dtype(layout["dtype"]).newbyteorder("<"), (layout["rows_per_chunk"], *layout["row"])
        chunks = range(-(-rows // layout["rows_per_chunk"]))
        parts = [np.frombuffer(self.file(array, chunk), dtype).reshape(shape) for chunk in chunks]
        return np.concatenate([np.empty((0, *shape[1:]), dtype), *parts])[:rows]

    @cached_property
    def lod0(self) -> NDArray[Any]:
        return self.rows(LOD0).reshape(-1, BLOCK)

    @cached_property
    def counts(self) -> NDArray[Any]:
        return self.rows(COUNT).astype(np.int64)

    # §2, §7: blocks and nodes

    @cached_property
    def block_records(self) -> list[BlockRecord]:
        pages = [payload for _, payload in self.index.scan(b"b")]
        places = [divmod(block, 127) for block in range(self.blocks)]
        return [BlockRecord(*struct.unpack_from("<QQQII", pages[page], 32 * at)) for page, at in places]

    def blocks_of(self, level: int, node: int) -> slice:
        return slice(node * FAN ** (level - 1), (node + 1) * FAN ** (level - 1))

    def exists(self, level: int, node: int) -> bool:
        blocks = self.blocks_of(level, node)
        return blocks.stop <= self.blocks and bool(self.live[blocks].any())

    def token_count(self, level: int, node: int) -> int:
        blocks = self.blocks_of(level, node)
        return int(self.counts[blocks][self.live[blocks]].sum())

    def children(self, level: int, node: int) -> list[int]:
        """Which nodes of the level below it exist, for a level from 2 up."""
        return [child for child in range(FAN * node, FAN * node + FAN) if self.exists(level - 1, child)]

    # §8: documents

    def documents(self) -> dict[int, dict[str, Any]]:
        return {number(key): unpack(payload) for key, payload in self.index.all_held(b"d", self.commit).items()}

    def find(self, source: bytes) -> int | None:
        """The live document of a name."""
        digest = hashlib.blake2b(source, digest_size=16).digest()
        for key, payload in self.index.all_held(b"s" + digest, self.commit).items():
            if payload == b"\x01" + source:
                return number(key)
        return None

    def blocks_in(self, document: int) -> list[int]:
        runs = [struct.unpack("<QQ", payload) for _, payload in self.index.scan(b"r" + u64(document))]
        return [block for first, blocks in runs for block in range(first, first + blocks) if block < self.blocks]

    def tail(self, document: int) -> Tail:
        found = self.index.held(b"t" + u64(document), self.commit)
        if not found:
            return Tail(0, [], [])
        start, n = struct.unpack_from("<QI", found[1])
        fields = struct.unpack_from(f"<{n}I{n}Q", found[1], 12)
        return Tail(start, [*fields[:n]], [*fields[n:]])

    def ranges(self, document: int) -> list[tuple[int, int]]:
        """The bytes of its source that each of its blocks stands for."""
        return [self.block_records[block][1:3] for block in self.blocks_in(document)]

    def tokens(self, document: int) -> list[int]:
        placed = (self.lod0[block, : self.counts[block]].tolist() for block in self.blocks_in(document))
        return [*itertools.chain.from_iterable(placed), *self.tail(document).tokens]

    def size(self, document: int) -> int:
        record = self.documents()[document]
        stops = [record["size"], *self.tail(document).stops[-1:], *(stop for _, stop in self.ranges(document)[-1:])]
        return int(max(stops) if record["open"] else record["size"])

    def read(self, document: int) -> bytes:
        """A document's bytes."""
        tokens, size, data, at = self.tokens(document), self.size(document), b"", 0
        for key, payload in self.index.scan(b"o" + u64(document)):
            stop, first, count = struct.unpack_from("<QQQ", payload)
            if stop <= size:
                data += self.decode(tokens[at:first])
                require(len(data) == number(key), f"document {document} does not reach its original bytes")
                data += zlib.decompress(payload[24:])
                at = first + count
        data += self.decode(tokens[at:])
        require(len(data) == size, f"document {document} has not the size that it says")
        return data

    # §9: settings and gist sets

    def setting(self, name: str) -> bytes | None:
        found = self.index.held(b"n" + name.encode(), self.commit)
        return found[1] if found else None

    def decode(self, tokens: list[int]) -> bytes:
        return b"".join(map(self.pieces.__getitem__, tokens))

    @cached_property
    def pieces(self) -> dict[int, bytes]:
        """What each token stands for."""
        record = unpack(self.setting("tokenizer") or b"\x80")
        if record.get("kind") == "bytes":
            return {byte: bytes([byte]) for byte in range(256)}
        return hugging_face_pieces(self.index.get(b"f" + record["blob"])) if record.get("kind") == "hf" else {}

    def gist_sets(self) -> dict[int, dict[str, Any]]:
        return {number(key): unpack(payload) for key, payload in self.index.all_held(b"g", self.commit).items()}

    def default_set(self) -> int | None:
        payload = self.setting("default-set")
        return number(payload) if payload else None

    def gists(self, gist_set: int, level: int) -> NDArray[Any]:
        """[rows, dim]: row i is the gist of node i."""
        return self.rows(self.gist_sets()[gist_set]["levels"][level - 1])

    def stale(self, gist_set: int, level: int, node: int) -> bool:
        blocks, since = self.blocks_of(level, node), self.record["refreshed"][gist_set][0]
        met = [death for death in self.deaths if death.first < blocks.stop and blocks.start < death.stop]
        slots = [graft for graft in self.grafts if blocks.start <= graft.block < blocks.stop]
        return any(self._stale_root(gist_set, graft) for graft in slots) or (
            level > 1 and any(death.commit > since for death in met)
        )

    def _stale_root(self, gist_set: int, graft: Graft) -> bool:
        """Whether a set of text and images has a stale gist of an image's root."""
        one = self.gist_sets()[gist_set]
        if "text" not in one["modalities"] or graft.level >= len(one.get("images", [])):
            return False
        root = graft.base // (16 * 4**graft.level)
        _, present, _, stale, _ = self.all_pages[one["images"][graft.level]].get(root // 64, (0,) * 5)
        return bool(present & stale & 1 << root % 64)

    # §10: links

    def links(self) -> dict[int, dict[str, Any]]:
        return {number(key): unpack(payload) for key, payload in self.index.all_held(b"l", self.commit).items()}

    def links_at(self, space: int, level: int, node: int) -> list[int]:
        """The links in the cover of one of whose spans a node of a space is."""
        prefix = b"i" + u32(space) + bytes([level]) + u64(node)
        return [number(key) for key in self.index.all_held(prefix, self.commit)]

    # §11: images

    @cached_property
    def grafts(self) -> list[Graft]:
        """The images that live."""
        pages = [payload for _, payload in self.index.scan(b"j")]
        places = [divmod(n, 101) for n in range(self.record["next"].get("graft", [0])[0])]
        placed = [Graft(*struct.unpack_from("<QQQIIIHH", pages[page], 40 * at)) for page, at in places]
        return [graft for graft in placed if self.live[graft.block]]

    def image(self, document: int) -> dict[str, Any]:
        return unpack(self.index.surely_held(b"e" + u64(document), self.commit)[1])

    def statistics(self, channels: int) -> list[int]:
        return list(unpack(self.setting(f"statistics-{channels}") or b"\x81\xa6levels\x90")["levels"])

    def pages(self, array: int) -> dict[int, tuple[int, ...]]:
        """Row and masks of each page."""
        found = {}
        for payload in self.index.all_held(b"u" + u32(array), self.commit).values():
            for page, *rest in struct.iter_unpack("<6Q", payload):
                found[page] = tuple(rest)
        return found

    def node_rows(self, array: int) -> dict[int, int]:
        """The row of each node that has one."""
        found = {}
        for page, (row, present, *_) in self.pages(array).items():
            nodes = [64 * page + bit for bit in range(64) if present >> bit & 1]
            found |= {node: row + n for n, node in enumerate(nodes)}
        return found

    def known_of(self, graft: Graft, level: int, node: int) -> str:
        """What is known of a node of an image: that it is `present`, or `empty`; or nothing, as it is `unknown`."""
        region = self.image(graft.document)["region"]
        width = 1 if level == 0 else 16 * 4**level
        code, side = node - graft.base // width, 16 if level == 0 else 64 << level
        x, y = (sum((code >> 2 * k + axis & 1) << k for k in range(31)) * side for axis in (0, 1))
        box = x, y, min(x + side, graft.width), min(y + side, graft.height)
        within = region[0] <= box[0] and region[1] <= box[1] and box[2] <= region[2] and box[3] <= region[3]
        arrays, above, at = self.statistics(graft.channels), level, node
        while above <= graft.level:
            _, present, empty, _, overview = self.all_pages[arrays[above]].get(at // 64, (0,) * 5)
            bit = 1 << at % 64
            if empty & bit:
                return "empty"
            if present & bit:
                return "present" if above == level else "unknown" if overview & bit or not within else "empty"
            at, above = at // (4 if above else 64), above + 1
        raise DamagedError(f"node {level}:{node} lies below no root")

    @cached_property
    def all_pages(self) -> dict[int, dict[int, tuple[int, ...]]]:
        return {array: self.pages(array) for array in self.image_arrays()}

    def nodes(self, graft: Graft, level: int, array: int) -> dict[int, NDArray[Any]]:
        """The rows of an image's nodes in an array of a level, by the nodes."""
        width = 1 if level == 0 else 16 * 4**level
        first, stop = graft.base // width, (graft.base + 16 * 4**graft.level) // width
        rows = self.rows(array)
        return {node: rows[row] for node, row in sorted(self.node_rows(array).items()) if first <= node < stop}

    def pixels(self, graft: Graft) -> tuple[NDArray[Any], NDArray[Any]]:
        """All kept pixels of an image, and which of them are real."""
        record = self.image(graft.document)
        dtype = np.dtype(record["dtype"]).newbyteorder("<")
        values = np.zeros((graft.height, graft.width, graft.channels), dtype)
        real = np.zeros(values.shape[:2], bool)
        array = unpack(self.setting("pixels") or b"")["array"]
        column = self.rows(array)
        first, stop = graft.base // 64, (graft.base + 16 * 4**graft.level) // 64
        for payload in self.index.all_held(b"w" + u32(array), self.commit).values():
            for tile, start, size, total in struct.iter_unpack("<QQII", payload):
                if first <= tile < stop:
                    packed = column[start : start + size].tobytes()
                    require(crc32c(packed) == total, f"the pixels of tile {tile} are damaged")
                    data = zlib.decompress(packed)
                    x, y = (sum((tile - first >> 2 * k + axis & 1) << k for k in range(31)) * 128 for axis in (0, 1))
                    h, w = min(128, graft.height - y), min(128, graft.width - x)
                    steps = np.frombuffer(data, dtype, h * w * graft.channels).reshape(h, w, graft.channels)
                    values[y : y + h, x : x + w] = np.cumsum(steps, axis=1, dtype=dtype)
                    bits = np.unpackbits(np.frombuffer(data[steps.nbytes :], np.uint8))[: h * w]
                    real[y : y + h, x : x + w] = bits.reshape(h, w) if len(bits) else True
        return values, real

    def image_arrays(self) -> list[int]:
        channels = sorted({graft.channels for graft in self.grafts})
        arrays = [array for count in channels for array in self.statistics(count)]
        return arrays + [array for gist_set in self.gist_sets().values() for array in gist_set.get("images", [])]

    # Checksums, and what the commit says of the rest

    def summed_arrays(self) -> list[int]:
        """The arrays each row of which has a checksum."""
        texts = [array for gist_set in self.gist_sets().values() for array in gist_set["levels"]]
        return [*texts, *self.image_arrays()]

    def check(self, rows_of: Collection[int] | None = None) -> None:
        """Look at everything, or of the arrays whose rows have checksums only at some."""
        for block, record in enumerate(self.block_records):
            tokens, padding = self.lod0[block], self.lod0[block, record.real :]
            require(crc32c(tokens.tobytes()) == record.crc32c, f"the tokens of block {block} are damaged")
            require(record.real == self.counts[block] and not padding.any(), f"block {block} has another count")
        before = np.concatenate([[0], np.cumsum(self.counts)])[: self.blocks : FAN]
        require(np.array_equal(self.rows(BEFORE), before), "text/before does not fit text/count")
        for array in self.summed_arrays():
            if rows_of is not None and array not in rows_of:
                continue
            rows, per_chunk = self.rows(array), self.layout(array)["rows_per_chunk"]
            for first in range(0, len(rows), per_chunk):
                prefix = b"q" + u32(array) + u64(first // per_chunk, self.generation(array, first // per_chunk))
                pages = [page for _, page in self.index.scan(prefix)]
                found = crc32c_of_rows(rows[first : first + per_chunk])
                totals = np.concatenate([np.frombuffer(page, "<u4")[:1016] for page in pages])[: len(found)]
                wrong = first + np.flatnonzero(found != totals)
                require(not len(wrong), f"rows {wrong[:9].tolist()} of array {array} are damaged")
        documents = self.documents()
        tokens = {document: self.tokens(document) for document in documents}
        sums = [len(documents), sum(map(len, tokens.values())), int((~self.live).sum())]
        require(sums == [self.record[name] for name in ("documents", "tokens", "dead_blocks")], "something is missing")
        for document, fields in documents.items():
            require(fields["open"] or fields["tokens"] == len(tokens[document]), f"document {document} is incomplete")
            if fields["digest"]:
                digest = hashlib.blake2b(self.read(document), digest_size=32).digest()
                require(digest == fields["digest"], f"document {document} does not fit its digest")


def hugging_face_pieces(blob: bytes) -> dict[int, bytes]:
    """§9: what the tokens of a tokenizer.json stand for; none if its decoder is not one that says."""
    described = json.loads(blob)
    vocabulary = described["model"]["vocab"]
    if isinstance(vocabulary, list):  # of a unigram model: [token, score]
        vocabulary = {token: at for at, (token, _) in enumerate(vocabulary)}
    decoder = described["decoder"] or {}
    kinds = {step["type"] for step in decoder.get("decoders", [decoder]) if step}
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain} | {chr(0x100 + at): byte for at, byte in enumerate(others)}

    def piece(token: str) -> bytes:
        if "ByteLevel" in kinds:
            return bytes(map(table.__getitem__, token)) if set(token) <= set(table) else token.encode()
        byte = re.fullmatch("<0x([0-9A-Fa-f]{2})>", token)
        return bytes.fromhex(byte[1]) if byte else token.replace("\u2581", " ").encode()

    if not kinds & {"ByteLevel", "Metaspace", "ByteFallback"}:
        return {}
    pieces = {at: piece(token) for token, at in vocabulary.items()}
    return pieces | {token["id"]: token["content"].encode() for token in described.get("added_tokens", [])}
