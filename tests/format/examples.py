"""The worked examples of docs/format.md, made from the bytes of a store that is kept.

    python tests/format/examples.py

writes them anew; a test compares them with the page.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from tests.format.reader import BLOCK, LOD0, Store, crc32c, u32, u64, unpack

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "format.md"
FIXTURE = ROOT / "tests" / "fixtures" / "v1.mctree"
FIRST, LAST = "<!-- examples: made by tests/format/examples.py -->\n", "<!-- end of examples -->\n"
SETTING = b"n" + b"default-set"
GISTS, DEATH_COMMIT, SHORT_BLOCK = 6, 16, 16


def with_examples(page: str, examples: str) -> str:
    """The page with these examples in place of those it has."""
    before, _, rest = page.partition(FIRST)
    return before + FIRST + examples + LAST + rest.partition(LAST)[2]


def rendered(path: Path = FIXTURE) -> str:
    """The examples, as Markdown."""
    store = Store(path)
    parts = [a_packed_record(store), a_map(store), a_block(store), a_lookup(store), a_generation(store)]
    return "\n" + "\n".join(parts) + "\n"


def spaced(data: bytes) -> str:
    return f"`{data.hex(' ')}`"


def table(head: str, rows: list[tuple[str, ...]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns, *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"


def a_packed_record(store: Store) -> str:
    key = next(key for key in store.index.keys if key.startswith(b"x" + u64(DEATH_COMMIT)))
    payload = store.index.payloads[key]
    commit, first, stop, tokens = struct.unpack(">QQ", key[1:]) + struct.unpack("<QQ", payload)
    total = store.index.sums[key]
    rows = [
        (spaced(key[:1]), "key: tag", "`x`, a death"),
        (spaced(key[1:9]), "key: commit, big-endian", str(commit)),
        (spaced(key[9:]), "key: first block, big-endian", str(first)),
        (spaced(struct.pack("<I", total)), "value: crc32c of the key and the payload", f"0x{total:08x}"),
        (spaced(payload[:8]), "payload: block after the last, little-endian", str(stop)),
        (spaced(payload[8:]), "payload: real tokens", str(tokens)),
    ]
    said = (
        f"**A packed record.** In commit {commit} blocks {first} … {stop - 1} died, and {tokens} tokens with them:\n\n"
    )
    return said + table("bytes | field | says", rows)


def a_map(store: Store) -> str:
    since = struct.unpack(">Q", next(key for key, _ in store.index.scan(b"a" + u32(LOD0))))[0]
    key = b"a" + u32(LOD0) + u64(since)
    payload = store.index.payloads[key]
    rows = [
        (spaced(key[:1]), "key: tag", "`a`, an array"),
        (spaced(key[1:5]), "key: array", str(LOD0)),
        (spaced(key[5:]), "key: the commit since which it holds", str(since)),
        (spaced(struct.pack("<I", store.index.sums[key])), "value: crc32c", f"0x{store.index.sums[key]:08x}"),
        (spaced(payload), "payload: MessagePack", f"`{json.dumps(unpack(payload))}`"),
    ]
    return "**A record that is a map.** The array of the tokens:\n\n" + table("bytes | field | says", rows)


def a_block(store: Store) -> str:
    snapshot = store.snapshot()
    page, at = divmod(SHORT_BLOCK, 127)
    record = store.index.payloads[b"b" + u64(page)][32 * at : 32 * at + 32]
    fields = struct.unpack("<QQQII", record)
    tokens = snapshot.lod0[SHORT_BLOCK]
    size = tokens.nbytes
    layout = snapshot.layout(LOD0)
    chunk, row = divmod(BLOCK * SHORT_BLOCK, layout["rows_per_chunk"])
    offset = row * tokens.itemsize
    stored = snapshot.file(LOD0, chunk)[offset : offset + size]
    assert stored == tokens.tobytes()
    assert crc32c(stored) == fields[3]
    names = ("document", "start: byte of its source", "stop", "crc32c of the 64 bytes below", "count")
    shown = [*map(str, fields[:3]), f"0x{fields[3]:08x}", str(fields[4])]
    parts = [record[0:8], record[8:16], record[16:24], record[24:28], record[28:32]]
    rows = [(str(sum(map(len, parts[:n]))), spaced(parts[n]), names[n], shown[n]) for n in range(5)]
    lines = "\n".join(stored[n : n + 16].hex(" ") for n in range(0, size, 16))
    return (
        f"**A block.** Block {SHORT_BLOCK} is the last of its document, and short. Its record is at byte {32 * at} of "
        f"the payload of page {page} (key `62` and `{u64(page).hex(' ')}`):\n\n"
        + table("offset | bytes | field | says", rows)
        + f"\nIts tokens are at byte {offset} of `{layout['path']}/c.{chunk}` (32 tokens of {tokens.itemsize} bytes, "
        f"of which {fields[4]} are real, and the rest is padding):\n\n```\n{lines}\n```\n"
    )


def a_lookup(store: Store) -> str:
    versions = [(int.from_bytes(key, "big"), payload) for key, payload in store.index.scan(SETTING)]
    rows = [
        (f"`6e` `{SETTING[1:].hex(' ')}` `{u64(since).hex(' ')}`", spaced(payload) if payload else "empty")
        for since, payload in versions
    ]
    answers = []
    for commit in sorted({*(since for since, _ in versions), versions[0][0] - 1, versions[-1][0] + 1}):
        held = store.index.held(SETTING, commit)
        which = f"since {held[0]}" if held else ("none so far" if commit < versions[0][0] else "the empty one")
        number = store.snapshot(commit).default_set()
        answers.append((str(commit), which, "no set" if number is None else f"set {number}"))
    return (
        "**A versioned fact.** All versions of the setting `default-set`; the keys are the tag, the name, and the "
        "commit since which it says so:\n\n"
        + table("key | payload", rows)
        + "\nSo the default gist set is:\n\n"
        + table("at commit | by the version | is", answers)
    )


def a_generation(store: Store) -> str:
    key = b"k" + u32(GISTS) + u64(0)
    generations = [int.from_bytes(rest, "big") for rest, _ in store.index.scan(key)]
    layout = store.snapshot().layout(GISTS)
    published = f"{layout['path']}/c.0.0"
    rows = []
    for generation in generations:
        kept = f"generations/{GISTS}.0.{generation}"
        here = (store.path / kept).exists()
        snapshot = store.snapshot(generation)
        gist = snapshot.rows(GISTS)[0].tobytes()
        page = store.index.payloads[b"q" + u32(GISTS) + u64(0, generation) + u32(0)]
        assert crc32c(gist) == struct.unpack_from("<I", page)[0]
        until = next((f"… {later - 1}" for later in generations if later > generation), "and later")
        file = f"`{kept}`" if here else f"`{kept}` is not there, so `{published}`"
        rows.append((f"{generation} {until}", str(generation), file, spaced(gist[:8]) + " …", f"`{page[:4].hex(' ')}`"))
    versions = ", ".join(f"`{(key + u64(generation)).hex(' ')}`" for generation in generations)
    return (
        f"**A chunk that was replaced.** The keys in `k` of chunk 0 of array {GISTS} (`{layout['path']}`) are "
        f"{versions}. The checksum of row 0 is the first entry of page 0 in `q` of that generation:\n\n"
        + table("commits | generation | file | row 0 | its crc32c in `q`", rows)
    )


if __name__ == "__main__":
    PAGE.write_text(with_examples(PAGE.read_text(), rendered()))
