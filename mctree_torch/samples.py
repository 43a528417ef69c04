"""What is a dataset that can be resumed anywhere?  One whose samples are a function of seed, epoch and index alone.

Nothing is drawn and nothing is counted: which ranks and workers there are, what was read before and in which order,
changes no sample.  So where training stands is one number, which `mctree_torch.GlobalBatches` keeps, and a dataset
remembers no more than which epoch its plain indices mean.

Samples are read a batch at a time: `DataLoader` asks for `__getitems__`, which reads all of them at once and gives a
`Batch`, and `collate` takes the tensors out of that as they are.  To other collating functions a batch is a sequence of
samples.
"""

from __future__ import annotations

import os
import reprlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Dataset, default_collate

from mctree.errors import UsageError
from mctree.tree import Snapshot, Tree
from mctree.tree.arguments import as_integer
from mctree_torch.held import Held

__all__ = ["Batch", "Sample", "SampleDataset", "collate", "shown_value"]

Sample = dict[str, torch.Tensor]
"""One sample: tensors by name; or a batch of them, with one more dimension before the others."""

Index = int | tuple[int, int]
"""Which sample: its index in the current epoch, or (epoch, index)."""

_MOST_EPOCHS = 1 << 31

_SHORT = reprlib.Repr()
_SHORT.maxstring = 100


class Batch(Sequence[Sample]):
    """Samples that were read together.

    Attributes:
        stacked: their tensors, `[n, …]` each.
    """

    def __init__(self, stacked: Sample) -> None:
        self.stacked = stacked

    def __len__(self) -> int:
        return len(next(iter(self.stacked.values())))

    @overload
    def __getitem__(self, i: int) -> Sample: ...
    @overload
    def __getitem__(self, i: slice) -> Batch: ...
    def __getitem__(self, i: int | slice) -> Sample | Batch:
        found = {name: tensor[i] for name, tensor in self.stacked.items()}
        return Batch(found) if isinstance(i, slice) else found


def collate(samples: Sequence[Sample]) -> Sample:
    """The `collate_fn` for datasets of this package: what was read together stays together, without a copy."""
    if isinstance(samples, Batch):
        return samples.stacked
    stacked: Sample = default_collate(list(samples))
    return stacked


class SampleDataset(Dataset[Sample]):
    """A map-style dataset over one commit of a store; safe to fork, to pickle and to be read by several threads.

    Indices are either whole numbers, which mean samples of the current epoch, or pairs (epoch, index).

    Args:
        on: a snapshot, or a tree or the path of a store, of which the newest commit is read.
        seed: what orders follow from, 0 to 2^64 - 1.
        commit: another commit of the store.
    """

    kind: str

    def __init__(self, on: Snapshot | Tree | str | os.PathLike[str], seed: int, commit: int | None) -> None:
        self.seed = as_integer(seed, "a seed")
        if not 0 <= self.seed < 1 << 64:
            raise UsageError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}")
        self._held = Held(on, commit)
        # In memory that workers share, so that those which outlive an epoch hear of the next one.
        self._epoch = _shared(torch.zeros((), dtype=torch.int64))

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch = _shared(self._epoch)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} of {self.snapshot.tree.path} commit {self.commit}: {len(self)} samples an epoch>"
        )

    @property
    def snapshot(self) -> Snapshot:
        """What is read, open in this process."""
        return self._held.snapshot

    @property
    def commit(self) -> int:
        """The number of the commit that is read."""
        return self._held.commit

    @property
    def epoch(self) -> int:
        """The epoch that plain indices mean."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let plain indices mean samples of an epoch from now on, in this process and in workers made of it."""
        self._epoch.fill_(_as_epoch(epoch))

    @abstractmethod
    def __len__(self) -> int:
        """Samples in an epoch: the same in every one."""

    def __getitem__(self, index: Index) -> Sample:
        """One sample; see the class for its tensors."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[Index]) -> Batch:
        """Several samples, read together."""
        wanted = np.asarray(indices, np.int64)
        if wanted.ndim == 1:
            return Batch(self.read(wanted))
        epochs = np.unique(wanted[:, 0])
        if len(epochs) == 1:
            return Batch(self.read(wanted[:, 1], int(epochs[0])))
        places = [np.flatnonzero(wanted[:, 0] == epoch) for epoch in epochs]
        parts = [self.read(wanted[at, 1], int(epoch)) for at, epoch in zip(places, epochs, strict=True)]
        order = torch.from_numpy(np.argsort(np.concatenate(places)))
        return Batch({name: torch.cat([part[name] for part in parts])[order] for name in parts[0]})

    def read(self, index: ArrayLike, epoch: int | None = None) -> Sample:
        """Samples as one batch.

        Args:
            index: their indices in the epoch, integers `[n]`, n > 0; negative ones count from the end.
            epoch: which; the current one if None.

        Returns:
            Their tensors, `[n, …]` each.

        Raises:
            IndexError: there is no such sample.
        """
        wanted = np.atleast_1d(np.asarray(index, np.int64))
        n = len(self)
        low, high = (wanted.item(wanted.argmin()), wanted.item(wanted.argmax())) if wanted.size else (n, n)
        if low < -n or high >= n:
            raise IndexError(f"there are samples 0 to {n - 1} in an epoch")
        if low < 0:
            wanted = np.where(wanted < 0, wanted + n, wanted)
        return self._read(self.epoch if epoch is None else _as_epoch(epoch), wanted)

    @abstractmethod
    def _read(self, epoch: int, index: NDArray[np.int64]) -> Sample:
        """Samples whose indices are in range."""

    @abstractmethod
    def _settings(self) -> dict[str, int | str | None]:
        """All that samples follow from besides the commit, the seed and the epoch, as plain values."""

    def _moved(self) -> None:
        """Another commit is held: forget what was found in the one before."""

    # Where it stands

    def state_dict(self) -> dict[str, Any]:
        """What samples follow from, as plain values that JSON can hold."""
        store, store_epoch = self._held.store
        named = {"mctree": self.kind, "store": store, "store_epoch": store_epoch, "commit": self.commit}
        return {**named, "seed": self.seed, **self._settings(), "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to the commit and the epoch of a state; all else must be what it was.

        Raises:
            UsageError: it is the state of something else; the message says what differs.
            CommitGoneError: the commit was collected: keep it (`Tree.keep`), or the process that holds it, for as long
                as training may go on.
        """
        now = self.state_dict()
        moving = ("commit", "epoch")
        for name in now:
            if name not in state:
                raise UsageError(f"that is no state of a dataset of this kind: it names no {name}")
            if name not in moving and state[name] != now[name]:
                # Of what a state says, however long and deep that is.
                theirs, ours = shown_value(state[name]), shown_value(now[name])
                raise UsageError(
                    f"the state is of samples with {name} {theirs}, and these have {ours}: make the dataset as it was "
                    "made then"
                )
        epoch = _as_epoch(state["epoch"])
        commit = as_integer(state["commit"], "the number of a commit")
        if commit != self.commit:
            self._held.move(commit)
            self._moved()
        self._epoch.fill_(epoch)


def _shared(number: torch.Tensor) -> torch.Tensor:
    share: Callable[[], torch.Tensor] = number.share_memory_
    return share()


def shown_value(value: object) -> str:
    """A value of a state that may be anything, for a message: cut short, however long and deep it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:
        return "a number of too many digits"


def _as_epoch(epoch: object) -> int:
    found = as_integer(epoch, "an epoch")
    if not 0 <= found < _MOST_EPOCHS:
        raise UsageError(f"an epoch is a whole number from 0 to {_MOST_EPOCHS - 1}, not {shown_value(found)}")
    return found
