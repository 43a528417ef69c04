"""mctree, behind the protocols of the benchmark, by its public interface alone.

Gists come from an encoder, so the benchmark's gists need one that gives them: in the store of gists every token of a
block is the block's number, and the encoder answers with the row of that number.  The tokens that windows are read
from lie in a second store, as one document.

The engine is imported when it is first used: processes that measure a peer must not load it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.data import Data
from tools.bench.errors import WrongValuesError
from tools.bench.peers import About, Ingested
from tools.bench.peers.protocol import library
from tools.bench.peers.tokenizing import corpus_files, in_order
from tools.bench.sizes import Sizes

__all__ = ["KIND", "NAME", "Mctree", "MctreeAppend", "MctreeGrowth", "MctreeIngest", "MctreeTokenizer"]

NAME = "mctree"
KIND = "ours"
_BLOCK = 32
_PIECE = 1 << 22
_COMMIT = 1 << 26
_SMALL_CHUNK = 1 << 16
_HUGE_PAGE = 1 << 21
_CORES = 2
_COMPARED = 20
_APPEND_VOCABULARY = 1 << 15
_GROWN_VOCABULARY = 1 << 16


class _Given:
    """An encoder of vectors that are there already.

    Level 1 looks its vector up; above, a gist is the first child's, which costs next to nothing.
    """

    kind = "given"
    modalities = frozenset({"text"})
    span_level = 0
    fingerprint = "0" * 64

    def __init__(self, gists: NDArray[np.float16]) -> None:
        self._gists = gists
        self.dim = gists.shape[1]

    def encode(
        self, level: int, children: NDArray[Any], mask: NDArray[np.bool_], span: object = None
    ) -> NDArray[np.float32]:
        """The row that the first token names; above level 1 the first child."""
        made = self._gists[children[:, 0]] if level == 1 else children[:, 0]
        return made.astype(np.float32)

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """No question means anything to these vectors."""
        return np.zeros(self.dim, np.float32)

    def dump(self) -> bytes:
        """Nothing: the vectors are in the store."""
        return b""


def _fill(folder: Path, pieces: Iterator[NDArray[np.uint32]], **options: Any) -> None:
    """Make a store of one document."""
    with library("mctree").create(folder, **options) as tree:
        writer = tree.writer()
        try:
            document = writer.begin("document")
            waiting = 0
            for piece in pieces:
                document.extend(piece)
                waiting += len(piece)
                if waiting >= _COMMIT:
                    writer.commit(gists=False)
                    waiting = 0
            document.close()
            writer.commit(gists=False)
        finally:
            writer.close()


def _chunks(sizes: Sizes) -> dict[str, int]:
    """The default chunks where there are enough rows for many of them, small ones otherwise."""
    return {} if sizes.chunk_rows * sizes.dim * 2 >= _HUGE_PAGE else {"chunk_bytes": _SMALL_CHUNK}


class Mctree:
    """A store of gists and a store of tokens."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        note = "one gather from the mapped level; windows as slices of its view"
        self.about = About(NAME, KIND, note, requires=("mctree",), loads=("mctree.tree",))

    def write(self, data: Data, folder: Path) -> None:
        """The gists, and the tokens."""
        self.write_gists(data, folder)
        pieces = (data.tokens[first : first + _PIECE] for first in range(0, len(data.tokens), _PIECE))
        _fill(folder / "tokens", pieces, vocabulary=1 << 17, **_chunks(self._sizes))

    def write_gists(self, data: Data, folder: Path) -> None:
        """Blocks that name their gists, and the gists."""
        rows = self._sizes.rows
        step = _PIECE // _BLOCK
        numbers = (np.arange(first, min(first + step, rows), dtype=np.uint32) for first in range(0, rows, step))
        _fill(folder / "gists", (np.repeat(some, _BLOCK) for some in numbers), vocabulary=rows, **_chunks(self._sizes))
        with library("mctree").open(folder / "gists") as tree:
            tree.build_gists(_Given(data.gists))

    def open(self, folder: Path) -> _MctreeReader:
        """Open the store of gists; that of tokens when it is first asked."""
        return _MctreeReader(folder)


class _MctreeReader:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tree = library("mctree").open(folder / "gists", writable=False)
        self._snapshot = self._tree.snapshot()
        self._gists = self._snapshot.gists().level(1)
        self._open: list[Any] = [self._snapshot, self._tree]
        self._tokens: NDArray[np.uint32] | None = None

    def gather(self, rows: NDArray[np.int64], out: NDArray[np.float16]) -> None:
        """One gather, wherever the rows lie."""
        self._gists.gather(rows, out)

    def runs(self, starts: NDArray[np.int64], length: int, out: NDArray[np.float16]) -> None:
        """One gather of runs."""
        self._gists.runs(starts, length, out.reshape(len(starts), length, -1))

    def windows(self, starts: NDArray[np.int64], out: NDArray[np.uint32]) -> None:
        """A slice per window, of the level as one array."""
        if self._tokens is None:
            self._tokens = self._view()
        length = out.shape[1]
        for k, start in enumerate(starts.tolist()):
            out[k] = self._tokens[start : start + length]

    def _view(self) -> NDArray[np.uint32]:
        tree = library("mctree").open(self._folder / "tokens", writable=False)
        snapshot = tree.snapshot()
        self._open = [snapshot, tree, *self._open]
        view: NDArray[np.uint32] = snapshot.view()
        return view

    def scan(self, out: NDArray[np.float16]) -> Iterator[int]:
        """One read per piece."""
        for start in range(0, len(self._gists), len(out)):
            count = min(len(out), len(self._gists) - start)
            self._gists.read(start, start + count, out[:count])
            yield count

    def close(self) -> None:
        """Close everything, snapshots first."""
        del self._gists, self._tokens
        for one in self._open:
            one.close()


class MctreeAppend:
    """One open document; a piece and a commit per append."""

    def __init__(self, sizes: Sizes) -> None:
        note = "OpenDocument.extend and Writer.commit, without gists"
        self.about = About(NAME, KIND, note, requires=("mctree",))

    def create(self, folder: Path) -> None:
        """A store with a writer and a document that stay open."""
        self._tree = library("mctree").create(folder / "store", vocabulary=_APPEND_VOCABULARY)
        self._writer = self._tree.writer()
        self._document = self._writer.begin("document")
        self._writer.commit()

    def append(self, tokens: NDArray[np.uint16]) -> None:
        """One commit."""
        self._document.extend(tokens)
        self._writer.commit()

    def close(self) -> None:
        """Give up the writer, close the store."""
        self._writer.close()
        self._tree.close()

    def read(self, folder: Path) -> NDArray[np.uint16]:
        """The document's tokens, tail included."""
        with library("mctree").open(folder / "store", writable=False) as tree, tree.snapshot() as snapshot:
            tokens: NDArray[np.uint16] = snapshot.document("document").read_tokens()
            return tokens


class MctreeTokenizer:
    """mctree's tokenizer without mctree's store: the same ids, and for each the byte at which it ends."""

    def __init__(self, sizes: Sizes) -> None:
        note = (
            "two threads, HFTokenizer.encode per file: checks that the ids give the text back; ids are dropped; fewer "
            "words are remembered than the library does by itself"
        )
        self.about = About(f"{NAME}'s tokenizer alone", "part of ours", note, requires=("mctree", "tokenizers"))

    def ingest(self, corpus: Path, tokenizer: Path, folder: Path) -> Ingested:
        """Count the tokens."""
        engine = library("mctree.encoders").HFTokenizer(tokenizer.read_bytes())
        began = time.perf_counter()
        pieces = in_order(lambda held: engine.encode([held])[0].ids, corpus_files(corpus))
        return Ingested(sum(map(len, pieces)), time.perf_counter() - began)


class MctreeIngest:
    """`mctree.ingest` into a new store, with the default gists or with none, on two cores or on one."""

    def __init__(self, sizes: Sizes, *, gists: bool, cores: int = _CORES) -> None:
        self._gists = gists
        self._cores = cores
        name, note = (NAME, "the default gists, fitting included") if gists else (f"{NAME} without gists", "no gists")
        if cores == 1:
            name, note = f"{name}, one core", f"{note}; one thread on one core"
        self.about = About(name, KIND, f"mctree.ingest, {note}; durable", requires=("mctree", "tokenizers"))

    def ingest(self, corpus: Path, tokenizer: Path, folder: Path) -> Ingested:
        """Ingest, then see that some documents come back byte for byte."""
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: self._cores])
        engine = library("mctree.encoders").HFTokenizer(tokenizer.read_bytes())
        ingest = library("mctree.ingest").ingest
        began = time.perf_counter()
        encoder = None if self._gists else "none"
        report = ingest([corpus], folder / "store", tokenizer=engine, encoder=encoder, workers=self._cores)
        seconds = time.perf_counter() - began
        files = {path.name: path for path in corpus_files(corpus)}
        with library("mctree").open(folder / "store", writable=False) as tree, tree.snapshot() as snapshot:
            right = snapshot.documents_count == len(files)
            for document in islice(snapshot.documents(), _COMPARED):
                right = right and document.read() == files[Path(document.name).name].read_bytes()
        if not right:
            raise WrongValuesError("the documents that were ingested are not the files")
        return Ingested(report.tokens, seconds)


class MctreeGrowth:
    """Stores of one document of any length."""

    def __init__(self, sizes: Sizes) -> None:
        self.about = About(NAME, KIND, "one document, no gists", requires=("mctree",), loads=("mctree.tree",))

    def grow(self, folder: Path, positions: int) -> None:
        """Random tokens."""
        rng = np.random.default_rng(0)
        counts = (min(_PIECE, positions - first) for first in range(0, positions, _PIECE))
        pieces = (rng.integers(0, _GROWN_VOCABULARY, count, dtype=np.uint32) for count in counts)
        _fill(folder / "store", pieces, vocabulary=_GROWN_VOCABULARY)

    def open(self, folder: Path) -> _MctreeGrown:
        """Open the store, and take a snapshot."""
        return _MctreeGrown(folder / "store")


class _MctreeGrown:
    def __init__(self, folder: Path) -> None:
        self._tree = library("mctree").open(folder, writable=False)
        self._snapshot = self._tree.snapshot()

    def find(self, position: int) -> int:
        """The node of level 1."""
        return int(self._snapshot.at(position).index)

    def cover(self) -> int:
        """The smallest cover of everything, made anew."""
        return len(self._snapshot.cover())

    def close(self) -> None:
        """Close the snapshot and the store."""
        self._snapshot.close()
        self._tree.close()
