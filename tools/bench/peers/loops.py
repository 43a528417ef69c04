"""What feeds a training loop with windows of tokens?  The plain ways, and the libraries, asked for the same windows.

Window k is the tokens k·L to k·L + L - 1 as inputs, and those one further on as labels.  Everybody is asked for windows
by their numbers, a batch at a time, and gives two contiguous int64 tensors on the CPU; shuffling, workers and queues
are left out.  Who stores rows and not a stream stores each window with its L + 1 tokens as a row.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tools.bench.peers.megatron import read_index, write_index
from tools.bench.peers.protocol import About, library
from tools.bench.sizes import Sizes

__all__ = ["BareMemmap", "GetBatch", "HuggingFaceRows", "LitData", "Loop", "MegatronSamples", "Mosaic", "WindowLoop"]

_DOCUMENT = 1000


class Loop(Protocol):
    """An open store of windows."""

    def batch(self, windows: NDArray[np.int64]) -> tuple[Any, Any]:
        """Inputs and labels of windows: int64 tensors `[n, length]`, contiguous."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


class WindowLoop(Protocol):
    """A way to store windows, and to read them in a training loop."""

    @property
    def about(self) -> About: ...

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """Store the tokens, which also lie in `file`, in `folder`, which is empty."""
        ...

    def open(self, folder: Path) -> Loop:
        """Open what `write` stored."""
        ...


class BareMemmap:
    """A mapped file, copied window by window into the batch: the least that there is to do."""

    def __init__(self, sizes: Sizes) -> None:
        self._length = sizes.window
        note = "a mapped array; slices into one buffer for inputs and one for labels"
        self.about = About("bare memmap", "the limit", note, requires=("torch",))

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """Link the file."""
        os.link(file, folder / "tokens.bin")

    def open(self, folder: Path) -> _BareLoop:
        """Map it."""
        return _BareLoop(folder, self._length)


class _BareLoop:
    def __init__(self, folder: Path, length: int) -> None:
        self._torch = library("torch")
        # Slices of a plain array are made faster than those of a `np.memmap`.
        self._tokens = np.asarray(np.memmap(folder / "tokens.bin", np.uint32, mode="r"))
        self._length = length

    def batch(self, windows: NDArray[np.int64]) -> tuple[Any, Any]:
        """Two slices a window."""
        length = self._length
        inputs, labels = np.empty((2, len(windows), length), np.int64)
        for k, window in enumerate(windows.tolist()):
            start = window * length
            inputs[k] = self._tokens[start : start + length]
            labels[k] = self._tokens[start + 1 : start + 1 + length]
        return self._torch.from_numpy(inputs), self._torch.from_numpy(labels)

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        del self._tokens


class GetBatch(BareMemmap):
    """The same as nanoGPT's `get_batch` does it: a tensor for each window, stacked."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        note = "np.memmap; torch.stack of a tensor for each window"
        self.about = About("nanoGPT's get_batch", "token file", note, requires=("torch",))

    def open(self, folder: Path) -> _GetBatchLoop:
        """Map it."""
        return _GetBatchLoop(folder, self._length)


class _GetBatchLoop(_BareLoop):
    def __init__(self, folder: Path, length: int) -> None:
        super().__init__(folder, length)
        self._tokens = np.memmap(folder / "tokens.bin", np.uint32, mode="r")

    def batch(self, windows: NDArray[np.int64]) -> tuple[Any, Any]:
        """As in `get_batch`."""
        torch, data, length = self._torch, self._tokens, self._length
        starts = (windows * length).tolist()
        inputs = torch.stack([torch.from_numpy(data[i : i + length].astype(np.int64)) for i in starts])
        labels = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + length].astype(np.int64)) for i in starts])
        return inputs, labels


class MegatronSamples:
    """Samples as in Megatron-LM's GPTDataset: pieces of documents, joined, one sample at a time, then collated."""

    def __init__(self, sizes: Sizes) -> None:
        self._length = sizes.window
        note = f"bin/idx, documents of {_DOCUMENT} tokens; a sample index, frombuffer per piece, default_collate"
        self.about = About("Megatron-style", "token file", note, requires=("torch",))

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """Link the tokens as `.bin`, and index them as documents."""
        os.link(file, folder / "tokens.bin")
        full, rest = divmod(len(tokens), _DOCUMENT)
        write_index(folder / "tokens.idx", np.array([_DOCUMENT] * full + [rest] * bool(rest), np.int32))

    def open(self, folder: Path) -> _MegatronLoop:
        """Map `.bin`, read `.idx`, make the index of samples."""
        return _MegatronLoop(folder, self._length)


class _MegatronLoop:
    def __init__(self, folder: Path, length: int) -> None:
        self._torch = library("torch")
        self._collate = library("torch.utils.data").default_collate
        self._lengths, self._offsets = read_index(folder / "tokens.idx")
        with (folder / "tokens.bin").open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        ends = np.cumsum(self._lengths, dtype=np.int64)
        first = np.arange(0, int(ends[-1]), length)
        document = np.searchsorted(ends, first, side="right")
        self._samples = np.column_stack((document, first - (ends - self._lengths)[document]))
        self._length = length

    def batch(self, windows: NDArray[np.int64]) -> tuple[Any, Any]:
        """A sample at a time."""
        found = self._collate([self._sample(window) for window in windows.tolist()])
        return found["tokens"], found["labels"]

    def _sample(self, window: int) -> dict[str, Any]:
        document, begin = self._samples[window].tolist()
        pieces, missing = [], self._length + 1
        while missing:
            count = min(int(self._lengths[document]) - begin, missing)
            offset = int(self._offsets[document]) + 4 * begin
            pieces.append(np.frombuffer(self._map, np.uint32, count, offset))
            missing, document, begin = missing - count, document + 1, 0
        text = self._torch.from_numpy(np.concatenate(pieces).astype(np.int64))
        return {"tokens": text[:-1].contiguous(), "labels": text[1:].contiguous()}

    def close(self) -> None:
        """Unmap, when the last view is gone."""


class _Rows:
    """Rows of L + 1 tokens, split."""

    def __init__(self) -> None:
        self._torch = library("torch")

    def split(self, rows: Any) -> tuple[Any, Any]:
        """Inputs and labels of a tensor of rows."""
        rows = rows.long()
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


def _rows(tokens: NDArray[np.uint32], length: int) -> NDArray[np.uint32]:
    """All windows, without copying: uint32 `[windows, length + 1]`."""
    return np.lib.stride_tricks.sliding_window_view(tokens, length + 1)[::length]


class HuggingFaceRows:
    """Datasets on a mapped Arrow file, in the `numpy` format, which was faster than `torch`."""

    def __init__(self, sizes: Sizes) -> None:
        self._length = sizes.window
        note = "a row for each window, mapped, format 'numpy', indexed by a batch"
        self.about = About("HF datasets", "table store", note, requires=("torch", "datasets", "pyarrow"))

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """An Arrow stream of lists, as datasets keeps them."""
        arrow = library("pyarrow")
        schema = arrow.schema([("tokens", arrow.list_(arrow.uint32()))])
        rows = _rows(tokens, self._length)
        with (folder / "rows.arrow").open("wb") as sink, library("pyarrow.ipc").new_stream(sink, schema) as writer:
            for first in range(0, len(rows), 1000):
                some = np.ascontiguousarray(rows[first : first + 1000])
                ends = np.arange(len(some) + 1, dtype=np.int32) * some.shape[1]
                lists = arrow.ListArray.from_arrays(ends, some.reshape(-1))
                writer.write_batch(arrow.record_batch([lists], schema=schema))

    def open(self, folder: Path) -> _HuggingFaceLoop:
        """Open the dataset."""
        dataset = library("datasets").Dataset.from_file(str(folder / "rows.arrow"))
        return _HuggingFaceLoop(dataset.with_format("numpy"))


class _HuggingFaceLoop(_Rows):
    def __init__(self, rows: Any) -> None:
        super().__init__()
        self._held = rows

    def batch(self, windows: NDArray[np.int64]) -> tuple[Any, Any]:
        """One indexing by a list."""
        return self.split(self._torch.from_numpy(np.asarray(self._held[windows.tolist()]["tokens"])))

    def close(self) -> None:
        """Unmap, when the last view is gone."""
        del self._held


class LitData:
    """litdata with its loader for tokens, asked for one window after another."""

    def __init__(self, sizes: Sizes) -> None:
        self._length = sizes.window
        note = "TokensLoader, StreamingDataset[i], stacked"
        self.about = About("litdata", "sample store", note, requires=("torch", "litdata"))

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """Chunks of about 64 MB."""
        torch, streaming = library("torch"), library("litdata.streaming")
        wide = self._length + 1
        loader = streaming.TokensLoader(block_size=wide)
        cache = streaming.Cache(str(folder), chunk_size=wide * max((1 << 24) // wide, 1), item_loader=loader)
        for k, row in enumerate(_rows(tokens, self._length)):
            cache[k] = torch.from_numpy(row.astype(np.int32))
        cache.done()
        cache.merge()

    def open(self, folder: Path) -> _OneByOne:
        """Open the dataset."""
        loader = library("litdata.streaming").TokensLoader(block_size=self._length + 1)
        return _OneByOne(library("litdata").StreamingDataset(str(folder), item_loader=loader, shuffle=False), None)


class Mosaic:
    """MosaicML streaming with local shards, asked for one window after another."""

    def __init__(self, sizes: Sizes) -> None:
        self._length = sizes.window
        note = "MDS, ndarray column, LocalDataset[i], stacked"
        self.about = About("MosaicML streaming", "sample store", note, requires=("torch", "streaming"))

    def write(self, tokens: NDArray[np.uint32], file: Path, folder: Path) -> None:
        """Shards of the default size."""
        columns = {"tokens": f"ndarray:uint32:{self._length + 1}"}
        with library("streaming").MDSWriter(out=str(folder / "mds"), columns=columns, compression=None) as writer:
            for row in _rows(tokens, self._length):
                writer.write({"tokens": np.ascontiguousarray(row)})

    def open(self, folder: Path) -> _OneByOne:
        """Open the dataset."""
        return _OneByOne(library("streaming").LocalDataset(local=str(folder / "mds")), "tokens")


class _OneByOne(_Rows):
    """A dataset that gives rows one at a time, as tensors or as arrays under a name."""

    def __init__(self, dataset: Any, name: str | None) -> None:
        super().__init__()
        self._dataset = dataset
        self._name = name

    def batch(self, windows: NDArray[np.int64]) -> tuple[Any, Any]:
        """One indexing for each window."""
        torch, name = self._torch, self._name
        if name is None:
            return self.split(torch.stack([self._dataset[i] for i in windows.tolist()]))
        rows = [self._dataset[i][name].astype(np.int64) for i in windows.tolist()]
        return self.split(torch.stack([torch.from_numpy(row) for row in rows]))

    def close(self) -> None:
        """Let go of it."""
        del self._dataset
