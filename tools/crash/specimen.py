"""Which store is small and has everything in it?  What is damaged.

The specimen has documents that are dead, superseded, open with a tail, spread over runs, and kept as original bytes;
images whose pixels are kept, sparse, changed in part, dead, and coarse, with nothing below what an overview showed;
gist sets of which one was refreshed, so that a chunk has two generations, covers text and images, and one dropped that
old commits still see; links of both spaces, of which one ended; settings; and every commit from its compaction on.  Its
index has a branch, leaves, large records and a list of free pages.  Beside what is committed there are an epoch that
somebody held when the store was compacted, and counts of reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mctree
from mctree.encoders import HFTokenizer
from mctree.format.facts import Stamp
from mctree.sources.images import Box
from mctree.testing import ProceduralSource
from mctree.testing.toys import ToyEncoder, ToySight
from tools.crash.naming import INDEX, Naming
from tools.crash.shown import described, shown

__all__ = ["ENCODERS", "Specimen", "is_advisory", "kind_of", "make", "opened"]

ENCODERS = (ToySight(dim=2, channels=1), ToyEncoder(dim=2, seed=1))
_CHUNK_BYTES = 1 << 16
_ANY = 1 << 64
"""So many rows may be told of where no commit that is left knows how many there were."""
_ICON = (np.arange(16)[:, None, None] * 3 + np.arange(130)[None, :, None] // 2).astype(np.uint8)
_SPARSE = ProceduralSource(20, 250, 1, covered=[Box(0, 0, 20, 16), Box(16, 16, 32, 20)])
_COARSE = ProceduralSource(100, 250, 1, seed=3, levels=(1, 2))


def is_advisory(file: str) -> bool:
    """Whether no read of a commit depends on a file."""
    return file.partition("/")[0] in ("epochs", "telemetry", "leases") or file in (
        "head",
        "lock",
        "index.lmdb/lock.mdb",
    )


def kind_of(file: str) -> str:
    """What a file of a store, or a folder, is for."""
    folder, _, name = file.rpartition("/")
    if file.startswith("epochs/"):
        return "an older epoch (nothing committed)"
    if file.startswith("telemetry/"):
        return "counts of reads (nothing committed)"
    if is_advisory(file):
        return f"`{file}` (nothing committed)"
    if file.startswith("generations/"):
        return "an older generation"
    if file == INDEX:
        return "the index"
    if name == "zarr.json":
        return "`zarr.json`"
    if not name.startswith("c."):
        return "a folder"
    if folder.startswith("gists/"):
        return "gists of images" if "/arena1/" in folder else "gists of text"
    return f"`{folder if folder.startswith('text/') else folder.partition('/lod')[0]}`"


@dataclass(frozen=True)
class Specimen:
    """The specimen as it was when it was whole.

    Attributes:
        path: where it is.
        before: all that it showed.
        described: what its metadata told other readers, and of how many rows they may tell at most.
        naming: what each byte of it stands for.
    """

    path: str
    before: dict[str, object]
    described: dict[str, tuple[object, int]]
    naming: Naming

    @classmethod
    def make(cls, path: Path, stage: Callable[[], object] = lambda: None) -> Specimen:
        """Make it at `path`; `stage` is called now and then between two commits."""
        make(str(path), stage)
        with opened(str(path)) as tree, tree.snapshot() as newest:
            seen = {f"{newest.store.array(array, newest.commit).path}/zarr.json" for array in newest.record.arrays}
            told = {file: (said, rows if file in seen else _ANY) for file, (said, rows) in described(str(path)).items()}
            return cls(str(path), shown(tree), told, Naming(tree))

    @property
    def files(self) -> list[str]:
        """Its files."""
        found = (os.path.join(folder, name) for folder, _, names in os.walk(self.path) for name in names)
        return sorted(os.path.relpath(file, self.path) for file in found)

    @property
    def committed(self) -> dict[str, int]:
        """How many bytes of each file of rows are committed."""
        return {file: rows.bytes for file, rows in self.naming.rows.items()}

    def size(self, file: str) -> int:
        """How long a file is."""
        return os.path.getsize(f"{self.path}/{file}")


def tokenizer() -> HFTokenizer:
    """A token for each printable byte but capital letters, which it does not give back: such text is kept as it was."""
    letters = [chr(byte) for byte in range(0x21, 0x7F)] + [chr(0x100 + 0x0A), chr(0x100 + 0x20)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    described = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {letter: n for n, letter in enumerate(letters)}, "merges": []},
    }
    return HFTokenizer(json.dumps(described, separators=(",", ":")).encode())


def make(path: str, stage: Callable[[], object] = lambda: None) -> None:
    """Make the specimen at `path`; `stage` is called now and then between two commits."""
    text = np.random.default_rng(7).choice(np.frombuffer(b"abcdefgh ijklm\n", np.uint8), 4096).tobytes()
    with (
        mctree.create(path, tokenizer=tokenizer(), chunk_bytes=_CHUNK_BYTES, keep=0, encoders=ENCODERS) as tree,
        ExitStack() as held,
    ):
        with tree.writer() as writer:
            writer.add("first", b"in an epoch of its own")
        held.enter_context(tree.snapshot())
        tree.compact()
        with tree.writer() as writer:
            writer.add("long", text[:800])
            writer.add("gone", text[1200:1360])
            writer.add("Capitals", b"Some Text That Is Kept As It Was, Byte By Byte.")
            writer.add_image("icon", _ICON)
            writer.add_image("blank", np.full((3, 3, 1), 7, np.uint8))
            writer.link((0, 64), (100, 700), kind="about", score=0.5)
            writer.link((0, 1), (1, 2), kind="ended")
        stage()
        tree.build_gists(ENCODERS[0], "kept")
        tree.build_gists(ENCODERS[1], "dropped", default=False)
        stage()
        with tree.writer() as writer:
            stream, other = writer.begin("stream"), writer.begin("other")
            for i in range(2):
                stream.write(text[1600 + 50 * i : 1650 + 50 * i])
                other.write(text[1800 + 40 * i : 1840 + 40 * i])
                writer.commit(gists=i == 0)
                stage()
            other.close()
            writer.add("gone", text[2000:2100], replace=True)
            writer.add_image("sparse", _SPARSE, region=Box(0, 0, 128, 20))
            writer.add_image("coarse", _COARSE, finest=2, keep_pixels=0)
            writer.change_image("icon", np.full((4, 4, 1), 9, np.uint8), Box(1, 1, 5, 5))
            writer.remove("blank")
            writer.link((0, 64), (64, 128), kind="shows", spaces=(1, 0))
            writer.unlink(2)
            writer.stamp(b"long", Stamp(1, 2, 3, 4, 5, b"digest"))
        stage()
        tree.refresh_gists("kept")
        stage()
        tree.drop_gists("dropped")
        with tree.access() as counts:
            counts.record(1, [0, 1, 1])


def opened(path: str) -> mctree.Tree:
    """The specimen, to look at it."""
    return mctree.open(path, writable=False, encoders=ENCODERS)
