"""Which samples are whose next batch, and where does training stand?  One number says it: samples taken so far.

Samples are numbered through all epochs: number g is sample g mod n of epoch g div n.  A *global batch* is the next
`batch_size * world_size` of them, and each rank takes its own stretch of that.  So which samples are left depends on
nothing but how many were taken: not on the number of ranks, of workers, of epochs begun, nor on what was prefetched.

Every global batch is full.  Going through an epoch ends with the batch that reaches its end, which takes what it lacks
from the next epoch; that goes on where this batch ended.  So all ranks get equally many batches, no sample is left out,
and none comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch.distributed
from torch.utils.data import DataLoader, Sampler

from mctree.errors import UsageError
from mctree.tree.arguments import as_integer
from mctree_torch.samples import Sample, SampleDataset, collate, shown_value

__all__ = ["GlobalBatches", "Loader", "resume_point"]

_TAKEN = "samples_taken"
_MOST_TAKEN = 1 << 62


class GlobalBatches(Sampler[list[tuple[int, int]]]):
    """This rank's batches of a dataset, in order: a `batch_sampler` for `DataLoader` and `StatefulDataLoader`.

    Each pass goes on to the end of an epoch.  The state is exact wherever the loader saves the sampler's state as it
    was when it drew the batch that it hands out, as `StatefulDataLoader` does; a plain `DataLoader` with workers draws
    ahead of what it hands out, so use a `Loader` there.

    Args:
        dataset: what is read.
        batch_size: samples in a batch of one rank.
        rank: which rank this is; that of `torch.distributed` where it is running when the first batch is drawn, or 0.
        world_size: how many ranks there are; likewise, or 1.
        endless: whether a pass goes on through all epochs, and has no length.

    Attributes:
        taken: how many samples all ranks together have taken, in all epochs so far.
    """

    def __init__(
        self,
        dataset: SampleDataset,
        batch_size: int,
        *,
        rank: int | None = None,
        world_size: int | None = None,
        endless: bool = False,
    ) -> None:
        self.dataset = dataset
        self.endless = endless
        self.batch_size = as_integer(batch_size, "the size of a batch")
        self.taken = 0
        self._rank, self._world_size = rank, world_size
        if self.batch_size < 1 or (rank is None) != (world_size is None):
            raise UsageError("a batch has at least one sample; rank and world_size are given both or neither")
        if rank is not None and world_size is not None and not 0 <= rank < world_size:
            raise UsageError(f"rank {rank} is not one of {world_size}")

    @property
    def rank(self) -> int:
        """Which rank this is."""
        if self._rank is not None:
            return self._rank
        return torch.distributed.get_rank() if _running() else 0

    @property
    def world_size(self) -> int:
        """How many ranks there are."""
        if self._world_size is not None:
            return self._world_size
        return torch.distributed.get_world_size() if _running() else 1

    @property
    def global_size(self) -> int:
        """Samples in a global batch."""
        return self.batch_size * self.world_size

    @property
    def epoch(self) -> int:
        """The epoch of the next sample."""
        return self.taken // len(self.dataset)

    def __len__(self) -> int:
        """Batches in an epoch; one fewer where the batch before reached far enough into it.

        Raises:
            TypeError: it is endless.
        """
        if self.endless:
            raise TypeError("a pass through all epochs has no length")
        return (len(self.dataset) + self.global_size - 1) // self.global_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        n, size, world = len(self.dataset), self.batch_size, self.global_size
        stop = (self.taken // n + 1) * n
        while self.endless or self.taken < stop:
            first = self.taken + self.rank * size
            self.taken += world
            yield [divmod(number, n) for number in range(first, first + size)]

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, as plain values that JSON can hold."""
        return {**self.dataset.state_dict(), "epoch": self.epoch, _TAKEN: self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whatever batch size and number of ranks it was saved with.

        Raises:
            UsageError: it is no state, or one of another dataset.
            CommitGoneError: the commit that was read was collected.
        """
        found = resume_point(state)
        taken = as_integer(found[_TAKEN], "the number of samples taken")
        if not 0 <= taken < _MOST_TAKEN:
            raise UsageError(f"no run has taken {shown_value(taken)} samples")
        self.dataset.load_state_dict(found)
        self.dataset.set_epoch(taken // len(self.dataset))
        self.taken = taken


class Loader:
    """A `DataLoader` that knows what it has handed out: any number of workers, exact state, every epoch in turn.

        loader = Loader(dataset, batch_size=8, num_workers=2)
        for batch in loader:            # to the end of the epoch
            ...
            state = loader.state_dict() # everything up to this batch

    Args:
        dataset: what is read.
        batch_size: samples in a batch of one rank.
        rank: see `GlobalBatches`.
        world_size: see `GlobalBatches`.
        endless: see `GlobalBatches`.
        collate_fn: makes a batch of samples.
        options: what else `DataLoader` takes, such as `num_workers`, `pin_memory`, `persistent_workers`.
    """

    def __init__(
        self,
        dataset: SampleDataset,
        batch_size: int,
        *,
        rank: int | None = None,
        world_size: int | None = None,
        endless: bool = False,
        collate_fn: Callable[[Any], Any] = collate,
        **options: Any,
    ) -> None:
        self.dataset = dataset
        self._batches = GlobalBatches(dataset, batch_size, rank=rank, world_size=world_size, endless=endless)
        self._loader: DataLoader[Sample] = DataLoader(
            dataset, batch_sampler=self._batches, collate_fn=collate_fn, **options
        )
        self.taken = 0

    @property
    def batch_size(self) -> int:
        """Samples in a batch of one rank."""
        return self._batches.batch_size

    def __len__(self) -> int:
        """Batches in an epoch; one fewer where the batch before reached far enough into it.

        Raises:
            TypeError: it is endless.
        """
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        self._batches.taken = self.taken
        self.dataset.set_epoch(self._batches.epoch)
        for batch in self._loader:
            self.taken += self._batches.global_size
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where training stands once the batch that was handed out last is done."""
        epoch = self.taken // len(self.dataset)
        return {**self.dataset.state_dict(), "epoch": epoch, _TAKEN: self.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, whatever batch size, number of ranks and number of workers it was saved with.

        Call it before a pass begins, not within one.

        Raises:
            UsageError: it is no state, or one of another dataset.
            CommitGoneError: the commit that was read was collected.
        """
        self._batches.load_state_dict(state)
        self.taken = self._batches.taken


def resume_point(state: object) -> Mapping[str, Any]:
    """The state of a `GlobalBatches` or a `Loader`, also where somebody else's state holds it, however deep.

    `StatefulDataLoader` wraps the sampler's state in its own, which it takes back only with the number of workers that
    it was saved with; the sampler takes it back with any.

    Raises:
        UsageError: there is none, or there are several that differ, or it is nested too deeply to be searched.
    """
    try:
        found = list(_points(state))
        several = any(point != found[0] for point in found)
    except RecursionError as error:
        raise UsageError("that is nested too deeply to hold a state of a loader over mctree") from error
    if not found or several:
        raise UsageError(
            "that holds no state of a loader over mctree" if not found else "that holds several states: choose one"
        )
    return found[0]


def _points(state: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(state, Mapping):
        if "mctree" in state and _TAKEN in state:
            yield state
        else:
            for value in state.values():
                yield from _points(value)
    elif isinstance(state, list | tuple):
        for value in state:
            yield from _points(value)


def _running() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
