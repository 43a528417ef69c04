"""One of two processes of `test_frameworks`: trains by DDP, then by Accelerate, and writes down what it was given.

python -m tests.torch.two_processes STORE FOLDER, with RANK and WORLD_SIZE in the environment.
"""

from __future__ import annotations

import json
import os
import sys
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate import Accelerator

from mctree_torch import Loader, TokenDataset
from tests.torch.test_frameworks import WINDOW, Tiny


def main(store: Path, folder: Path) -> None:
    """Take two steps by DDP and two by Accelerate, on from the state in the folder; put the new state there."""
    torch.set_num_threads(1)
    meet(folder)
    rank = dist.get_rank()
    given: list[list[list[int]]] = []

    loader = Loader(TokenDataset(store, WINDOW, seed=5), 3, num_workers=1)
    loader.load_state_dict(json.loads((folder / "state.json").read_text()))
    model = torch.nn.parallel.DistributedDataParallel(Tiny())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for batch in islice(loader, 2):
        given.append(batch["input_ids"].tolist())
        model(batch).backward()
        optimizer.step()
    state = loader.state_dict()

    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    again = Loader(TokenDataset(store, WINDOW, seed=5), 2)
    again.load_state_dict(state)
    tiny = Tiny()
    model, optimizer = accelerator.prepare(tiny, torch.optim.SGD(tiny.parameters(), 0.1))
    for batch in islice(again, 2):
        given.append(batch["input_ids"].tolist())
        accelerator.backward(model(batch))
        optimizer.step()

    (folder / f"given-{rank}.json").write_text(json.dumps(given))
    dist.barrier()
    if rank == 0:
        (folder / "state.json").write_text(json.dumps(again.state_dict()))
    dist.barrier()
    dist.destroy_process_group()


def meet(folder: Path) -> None:
    """Join the other process: by a file, since a port that is free now may be taken by then."""
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
