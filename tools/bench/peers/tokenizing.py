"""What does it cost to turn text into tokens, before anything is stored?

The limit is the tokenizer alone: two threads that each read a file, tokenize it and drop the ids.  Beside it stand the
two usual ways to keep them: a Megatron-style bin/idx, and a Hugging Face dataset.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.megatron import write_index
from tools.bench.peers.protocol import About, Ingested, library
from tools.bench.sizes import Sizes

__all__ = ["HuggingFaceIngest", "MegatronIngest", "TokenizerAlone", "corpus_files", "in_order"]

_THREADS = 2
_AHEAD = 8
_BATCH = 64


def corpus_files(corpus: Path) -> list[Path]:
    """The files of a corpus, in order of their names."""
    return sorted(path for path in corpus.rglob("*") if path.is_file())


def _load(tokenizer: Path) -> Any:
    return library("tokenizers").Tokenizer.from_file(str(tokenizer))


def _ids(engine: Any, held: bytes) -> NDArray[np.uint32]:
    encoding = engine.encode_batch_fast([held.decode("utf-8", "replace")], add_special_tokens=False)[0]
    return np.frombuffer(array("I", encoding.ids), np.uint32)


def in_order(ids_of: Callable[[bytes], NDArray[np.uint32]], files: list[Path]) -> Iterator[NDArray[np.uint32]]:
    """The ids of each file, made by two threads, a few files ahead of who asks."""

    def ids(path: Path) -> NDArray[np.uint32]:
        return ids_of(path.read_bytes())

    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = [pool.submit(ids, path) for path in files[:_AHEAD]]
        for path in files[_AHEAD:]:
            yield waiting.pop(0).result()
            waiting.append(pool.submit(ids, path))
        for future in waiting:
            yield future.result()


class TokenizerAlone:
    """Tokenizes and stores nothing."""

    def __init__(self, sizes: Sizes) -> None:
        note = "two threads, encode_batch_fast per file; ids are dropped"
        self.about = About("tokenizer alone", "the limit", note, requires=("tokenizers",))

    def ingest(self, corpus: Path, tokenizer: Path, folder: Path) -> Ingested:
        """Count the tokens."""
        engine = _load(tokenizer)
        began = time.perf_counter()
        tokens = sum(len(ids) for ids in in_order(partial(_ids, engine), corpus_files(corpus)))
        return Ingested(tokens, time.perf_counter() - began)


class MegatronIngest:
    """Tokenizes with two threads, and writes `.bin` and `.idx`."""

    def __init__(self, sizes: Sizes) -> None:
        note = "two threads as above, one file written, not synced"
        self.about = About("Megatron bin/idx", "token file", note, requires=("tokenizers",))

    def ingest(self, corpus: Path, tokenizer: Path, folder: Path) -> Ingested:
        """Append each file's ids to `.bin`; the index comes last."""
        engine = _load(tokenizer)
        began = time.perf_counter()
        lengths: list[int] = []
        with (folder / "tokens.bin").open("wb") as file:
            for ids in in_order(partial(_ids, engine), corpus_files(corpus)):
                file.write(ids.tobytes())
                lengths.append(len(ids))
        write_index(folder / "tokens.idx", np.asarray(lengths, np.int32))
        return Ingested(sum(lengths), time.perf_counter() - began)


class HuggingFaceIngest:
    """`Dataset.map` over batches of files; the tokenizer's own threads use both cores."""

    def __init__(self, sizes: Sizes) -> None:
        note = "Dataset.map(batched=True) in one process, tokenizer's own two threads"
        self.about = About("HF datasets", "table store", note, requires=("datasets", "tokenizers"))

    def ingest(self, corpus: Path, tokenizer: Path, folder: Path) -> Ingested:
        """Map texts to ids, into an Arrow file."""
        datasets = library("datasets")
        datasets.disable_progress_bars()
        engine = _load(tokenizer)

        def texts() -> Iterator[dict[str, str]]:
            for path in corpus_files(corpus):
                yield {"text": path.read_bytes().decode("utf-8", "replace")}

        def ids(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
            encodings = engine.encode_batch_fast(batch["text"], add_special_tokens=False)
            return {"ids": [np.asarray(encoding.ids, np.uint32) for encoding in encodings]}

        began = time.perf_counter()
        dataset = datasets.Dataset.from_list(list(texts())).map(
            ids,
            batched=True,
            batch_size=_BATCH,
            remove_columns=["text"],
            cache_file_name=str(folder / "tokens.arrow"),
            new_fingerprint="bench",
        )
        seconds = time.perf_counter() - began
        lengths = library("pyarrow.compute").list_value_length(dataset.data.column("ids"))
        return Ingested(int(library("pyarrow.compute").sum(lengths).as_py()), seconds)
