"""One store with everything in it that the format has: what is done to it, commit by commit, always the same."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np

from mctree.encoders import HFTokenizer, LexicalEncoder
from mctree.format.facts import Stamp
from mctree.sources.images import ArraySource, Box
from mctree.testing import ToyEncoder
from mctree.testing.strategies import patterned
from mctree.testing.toys import ToySight
from mctree.tree import Tree, create

WORDS = [
    "the",
    "harbour",
    "lies",
    "under",
    "a",
    "thin",
    "moon",
    "and",
    "other",
    "boats",
    "come",
    "in",
    "over",
    "the",
    "ground",
    "swell",
    "without",
    "a",
    "sound",
]
ENCODERS = (
    ToyEncoder(64),
    ToyEncoder(4, seed=1, span_level=2),
    ToyEncoder(8, seed=2),
    ToySight(6, seed=3),
)

Contents = dict[bytes, bytes]
"""The bytes of the live documents, by their names."""


def prose(seed: int, words: int) -> str:
    """So many words, with signs and line ends between them."""
    chosen = patterned(seed, words, 2**20).tolist()
    ends = [" ", " ", " ", " ", ", ", ".\n"]
    return "".join(WORDS[n % len(WORDS)] + ends[n // 64 % len(ends)] for n in chosen)


def tokenizer() -> HFTokenizer:
    """A small byte-level vocabulary that knows lower case only and drops tildes: so not all text is exact."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in plain] + [chr(0x100 + n) for n in range(256 - len(plain))]
    merges = [("t", "h"), ("th", "e"), ("\u0120", "the"), ("i", "n"), ("e", "r"), ("\u0120", "a"), ("o", "u")]
    vocabulary = {token: n for n, token in enumerate([*letters, *(a + b for a, b in merges)])}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    steps = [{"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": "~"}, "content": ""}]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    described = {
        "version": "1.0",
        "added_tokens": [{"id": len(vocabulary), "content": "<|end|>", **special}],
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [list(pair) for pair in merges]},
    }
    return HFTokenizer(json.dumps(described).encode())


def tell(path: str | Path) -> dict[int, Contents]:
    """Make the store at ``path``.

    Returns:
        What every commit of its last epoch holds.
    """
    teller = _Teller(path)
    with teller.tree:
        for chapter in (
            teller.compacts,
            teller.grows,
            teller.changes,
            teller.refreshes,
            teller.shows,
            teller.ends,
        ):
            chapter()
    return teller.told


class _Teller:
    def __init__(self, path: str | Path) -> None:
        self.tree: Tree = create(path, tokenizer=tokenizer(), chunk_bytes=1 << 16, keep=0, encoders=ENCODERS)
        self.now: Contents = {}
        self.told: dict[int, Contents] = {}

    def note(self, number: int) -> None:
        """Remember what the commits since the last one hold."""
        for commit in self.tree.commits():
            if commit.number <= number:
                self.told.setdefault(commit.number, dict(self.now))

    def compacts(self) -> None:
        """A document goes, and the store is written anew without it: epoch 1."""
        first = prose(1, 120).encode()
        with self.tree.writer() as writer:
            writer.add("gone.txt", prose(0, 200))
            writer.add("first.txt", first)
        with self.tree.writer() as writer:
            writer.remove("gone.txt")
        self.tree.compact()
        self.now = {b"first.txt": first}
        self.note(self._newest())

    def grows(self) -> None:
        """Gist sets, and a document of more than 32² blocks, not all of which the tokenizer gives back."""
        self.tree.build_gists(ENCODERS[0])
        self.tree.build_gists(ENCODERS[1], "small", dtype="float32")
        self.tree.build_gists(LexicalEncoder.fit(tokenizer(), [prose(2, 3000).encode()], 32), "words", default=False)
        self.note(self._newest())
        pieces = [prose(seed, 300) for seed in range(2, 42)]
        pieces[1] = pieces[1].title()
        pieces[9] = "~~~"
        pieces[10] = "Tildes ~ are dropped.\n"
        self.now = {**self.now, b"harbour.txt": "".join(pieces).encode()}
        with self.tree.writer() as writer:
            document = writer.begin("harbour.txt", locator={"line": 7, "file": "ports.jsonl"})
            for piece in pieces:
                document.write(piece)
            document.close()
            self.note(writer.commit(gists=True))

    def changes(self) -> None:
        """Documents that stay open, grow in turn, are no text, are superseded; and links."""
        with self.tree.writer() as writer:
            log, raw = writer.begin("log"), writer.begin(b"\xff\xfe.bin")
            for turn in range(3):
                for source, document, data in (
                    (b"log", log, f"{turn}: {prose(50 + turn, 30)}".encode()),
                    (b"\xff\xfe.bin", raw, bytes(islice(b"\xff\x00\xc3\x28 the Moon" * 20, 90 + turn))),
                ):
                    document.write(data)
                    self.now = {**self.now, source: self.now.get(source, b"") + data}
                self.note(writer.commit(gists=False))
            raw.close()
            writer.add("empty", b"")
            self.now = {**self.now, b"empty": b"", b"first.txt": prose(60, 150).encode()}
            writer.add("first.txt", self.now[b"first.txt"], replace=True)
            writer.link((0, 5), (64, 32 * 40 + 1), kind="caption", score=0.5)
            writer.link((32 * 31, 32 * 32), (0, 1), kind="")
            writer.stamp(b"first.txt", Stamp(1, 2, 3, 4, 5, b"digest"))
            self.note(writer.commit(gists=True))

    def refreshes(self) -> None:
        """One set is brought up to date, so that chunks of it have older generations; another comes and goes."""
        self.tree.refresh_gists("default")
        self.tree.build_gists(ENCODERS[2], "short", default=True)
        self.tree.drop_gists("short")
        self.tree.set_default_gists("small")
        self.note(self._newest())

    def shows(self) -> None:
        """Images among the texts: one that changes, one that goes, one of which parts are missing."""
        self.tree.build_gists(ENCODERS[3], "sight", dtype="float32", default=False)
        self.note(self._newest())
        places = np.add.outer(np.arange(150) * 3, np.arange(200) * 5)[..., None]
        picture = (places * np.arange(1, 4) % 251).astype(np.uint8)
        mask = np.ones((150, 200), np.bool_)
        mask[20:140, 100:180] = False
        with self.tree.writer() as writer:
            writer.add_image("map.png", picture)
            writer.add_image("icon.png", picture[:16, :20])
            writer.add_image("depth.tif", ArraySource((picture[..., :1] * np.uint16(257)), mask), sets=[])
            writer.add("caption.txt", b"Soundings, in the harbour.")
            self.now = {**self.now, b"map.png": b"", b"icon.png": b"", b"depth.tif": b""}
            self.now[b"caption.txt"] = b"Soundings, in the harbour."
            self.note(writer.commit(gists=True))
            image = writer.snapshot.image("map.png")
            block = writer.snapshot.document("caption.txt").runs[0].block
            writer.change_image("map.png", picture[:30, :30][::-1].copy(), Box(100, 110, 130, 140))
            writer.remove("icon.png")
            del self.now[b"icon.png"]
            writer.link(
                image.spans(Box(0, 0, 200, 150))[0], (32 * block, 32 * block + 9), kind="caption", spaces=(1, 0)
            )
            self.note(writer.commit(gists=True))

    def ends(self) -> None:
        """A closed document goes on, a link ends, another document goes: what is above it is stale."""
        with self.tree.writer() as writer:
            writer.unlink(2)
            document = writer.reopen(b"\xff\xfe.bin")
            document.write(b"And on.")
            document.extend([263, 0])
            self.now = {**self.now, b"\xff\xfe.bin": self.now[b"\xff\xfe.bin"] + b"And on.<|end|>!"}
            document.close()
            writer.remove("first.txt")
            del self.now[b"first.txt"]
            self.note(writer.commit(gists=True))

    def _newest(self) -> int:
        return self.tree.commits()[-1].number
