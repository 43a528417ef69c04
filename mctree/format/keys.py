"""Under which key does each fact stand in the index?  One table of tags, and the byte layout of every key.

All facts share one LMDB key space.  A key is one tag byte and then big-endian unsigned integers, so that keys of one
table sort by their numbers.  Three kinds of table:

* *versioned*: the key ends in the commit (8 bytes) since which the value holds; an empty value says that the fact ended
  there.  What holds at commit c is the last version not after c.
* *growing*: records are added and extended, never taken back while anybody can see them; the lengths in a commit's
  record say how much of them that commit sees.
* *plain*: one value, replaced in place: things that no snapshot depends on.

Keys name no branch; a later format can put one between the tag and the numbers under new tags.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from struct import Struct

__all__ = [
    "GROWING",
    "PLAIN",
    "VERSIONED",
    "Table",
    "block_page_key",
    "checked_key",
    "checksum_key",
    "commit_key",
    "death_key",
    "graft_page_key",
    "grave_key",
    "group_key",
    "link_node_key",
    "parse_grave",
    "source_digest",
    "split_version",
    "u32",
    "u64",
    "version_key",
]

u32 = Struct(">I")
u64 = Struct(">Q")


class Table(bytes, Enum):
    """The tag byte that starts every key of a table."""

    META = b"m"
    COMMIT = b"c"
    CONDEMNED = b"v"
    ARRAY = b"a"
    CHUNK = b"k"
    CHECKSUMS = b"q"
    PUBLISH = b"p"
    BLOCKS = b"b"
    DEATH = b"x"
    DOCUMENT = b"d"
    RUN = b"r"
    TAIL = b"t"
    ORIGINAL = b"o"
    SOURCE = b"s"
    STAMP = b"h"
    GIST_SET = b"g"
    SETTING = b"n"
    BLOB = b"f"
    LINK = b"l"
    LINK_NODE = b"i"
    GRAVE = b"z"
    IMAGE = b"e"
    GRAFTS = b"j"
    PAGES = b"u"
    PIECES = b"w"


VERSIONED = frozenset(
    {
        Table.ARRAY,
        Table.CHUNK,
        Table.DOCUMENT,
        Table.TAIL,
        Table.SOURCE,
        Table.GIST_SET,
        Table.SETTING,
        Table.LINK,
        Table.LINK_NODE,
        Table.IMAGE,
        Table.PAGES,
        Table.PIECES,
    }
)
"""Tables whose keys end in the commit since which the value holds."""
GROWING = frozenset({Table.BLOCKS, Table.DEATH, Table.RUN, Table.ORIGINAL, Table.CHECKSUMS, Table.BLOB, Table.GRAFTS})
"""Tables whose records are added to or extended, and cut to a commit's lengths by its reader."""
PLAIN = frozenset(set(Table) - VERSIONED - GROWING)
"""Tables whose values are replaced in place."""

_KEY_BYTES: dict[bytes, int] = {
    Table.META: 1,
    Table.COMMIT: 9,
    Table.CONDEMNED: 9,
    Table.ARRAY: 13,
    Table.CHUNK: 21,
    Table.CHECKSUMS: 25,
    Table.PUBLISH: 13,
    Table.BLOCKS: 9,
    Table.DEATH: 17,
    Table.DOCUMENT: 17,
    Table.RUN: 17,
    Table.TAIL: 17,
    Table.ORIGINAL: 17,
    Table.SOURCE: 33,
    Table.STAMP: 17,
    Table.GIST_SET: 13,
    Table.BLOB: 33,
    Table.LINK: 17,
    Table.LINK_NODE: 30,
    Table.IMAGE: 17,
    Table.GRAFTS: 9,
    Table.PAGES: 21,
    Table.PIECES: 21,
}
"""How long the keys of each table are, its tag included."""
_LEAST_KEY_BYTES: dict[bytes, int] = {Table.SETTING: 10, Table.GRAVE: 22}
"""How long the keys of the other tables are at least: a name and a commit; a commit and a versioned key."""

_PAIR = Struct(">QQ")
_GROUP = Struct(">IQ")
_CHECKSUM = Struct(">IQQI")
_LINK_NODE = Struct(">IBQQ")


def checked_key(key: bytes) -> bool:
    """Whether a key is one of some table: whoever takes its fields apart need not look again."""
    known = _KEY_BYTES.get(key[:1])
    return len(key) == known if known else len(key) >= _LEAST_KEY_BYTES.get(key[:1], len(key) + 1)


def version_key(table: Table, key: bytes, commit: int) -> bytes:
    """The key of the version of `key` that holds since `commit`."""
    return table + key + u64.pack(commit)


def split_version(full: bytes) -> tuple[bytes, int]:
    """Split the key of a versioned record into (the fact's key without its tag, the commit it holds since)."""
    return full[1:-8], u64.unpack(full[-8:])[0]


def commit_key(table: Table, commit: int) -> bytes:
    """The key of a commit's record (in `COMMIT`, or in `CONDEMNED` once it may no longer be opened)."""
    return table + u64.pack(commit)


def block_page_key(page: int) -> bytes:
    """The key of a page of block records."""
    return Table.BLOCKS + u64.pack(page)


def death_key(commit: int, start: int) -> bytes:
    """The key of a run of blocks, from block `start`, that died in `commit`."""
    return Table.DEATH + _PAIR.pack(commit, start)


def checksum_key(array: int, chunk: int, generation: int, page: int) -> bytes:
    """The key of a page of row checksums of one generation of a chunk."""
    return Table.CHECKSUMS + _CHECKSUM.pack(array, chunk, generation, page)


def graft_page_key(page: int) -> bytes:
    """The key of a page of graft records."""
    return Table.GRAFTS + u64.pack(page)


def group_key(array: int, group: int) -> bytes:
    """The fact key (no tag, no commit) of what is known of one group of an array: its pages, or its pieces."""
    return _GROUP.pack(array, group)


def link_node_key(space: int, level: int, index: int, link: int) -> bytes:
    """The fact key (no tag, no commit) that says that a link's span has a cover node here."""
    return _LINK_NODE.pack(space, level, index, link)


def source_digest(source: bytes) -> bytes:
    """16 bytes that stand for a source's name in keys: names may be longer than a key can be."""
    return hashlib.blake2b(source, digest_size=16).digest()


def grave_key(ended: int, version: bytes) -> bytes:
    """The key that remembers that the versioned record at `version` was replaced in commit `ended`."""
    return Table.GRAVE + u64.pack(ended) + version


def parse_grave(key: bytes) -> tuple[int, bytes]:
    """Split a grave's key into (the commit that ended the version, the version's own key)."""
    return u64.unpack(key[1:9])[0], key[9:]
