"""Which decoders of `mctree_torch` are given bytes by somebody?  Those of networks, and of where training stood.

Without PyTorch there is nothing to be decoded: what needs it is loaded when a target runs, and a target says what it
needs, so that whoever goes through all of them can pass it over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import mctree
from mctree.encoders import CosineEncoder
from mctree.errors import CorruptError
from mctree.testing.stores import scratch
from tools.crash.fuzz.target import Target, as_path

__all__ = ["TORCH_TARGETS"]

_NETWORKS = ("torch", "safetensors", "mctree_torch.networks")
_DATASETS = ("torch", "mctree_torch.batches", "mctree_torch.tokens")
_PATCHES = CosineEncoder(1, 2)
"""Of vectors of four numbers, as the networks of the seeds take."""


def _kinds() -> tuple[Any, ...]:
    from mctree_torch import networks  # noqa: PLC0415

    return networks.GistNet, networks.VisualGistNet, networks.LensNet


def _network(data: bytes) -> None:
    """A network, from bytes and from a file, of the kind that the first byte says; or two of them, as one encoder."""
    if not data:
        return
    from mctree_torch import networks  # noqa: PLC0415

    kinds, content = _kinds(), data[1:]
    if data[0] % 4 == len(kinds):
        _joint(content)
        return
    kind = kinds[data[0] % 4]
    with as_path(content) as path:
        try:
            net = networks.loads(content, kind)
        except CorruptError:
            _refused(lambda: networks.load(os.fsdecode(path), kind))
            raise
        same = networks.dumps(net)
        assert networks.dumps(networks.loads(same, kind)) == same
        assert networks.dumps(networks.load(os.fsdecode(path), kind)) == same


def _refused(look: Callable[[], object]) -> None:
    try:
        look()
    except CorruptError:
        return
    raise AssertionError("a file is taken whose bytes are refused")


def _joint(dump: bytes) -> None:
    from mctree_torch import networks  # noqa: PLC0415

    found = networks.JointEncoder.load(
        dump,
        lambda part: networks.GistEncoder.load(part, device="cpu"),
        lambda part: networks.VisualGistEncoder.load(part, _PATCHES, "cpu"),
    )
    found.encode(1, np.zeros((1, 2), np.uint32), np.ones((1, 2), np.bool_))


def _network_seeds() -> Iterator[bytes]:
    import torch  # noqa: PLC0415

    from mctree_torch import networks  # noqa: PLC0415

    small: dict[str, int] = {"width": 2, "heads": 1, "layers": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gist = networks.GistNet(networks.GistConfig(dim=4, vocabulary=3, fanout=2, slots=1, levels=1, **small))
        sight = networks.VisualGistNet(networks.VisualConfig(dim=4, slots=1, levels=1, **small))
        lens = networks.LensNet(networks.LensConfig(dim=4, features=2, linked=0, **small))
    dumps = [networks.dumps(net) for net in (gist, sight, lens)]
    for kind, dump in enumerate(dumps):
        yield bytes([kind]) + dump
    yield bytes([3]) + len(dumps[0]).to_bytes(8, "little") + dumps[0] + dumps[1]
    length = int.from_bytes(dumps[0][:8], "little")
    changes: tuple[dict[str, object], ...] = (
        {"shape": [1 << 62, 4]},
        {"dtype": "F64"},
        {"data_offsets": [0, 1 << 60]},
        {"\x1b[31m\ud800": {}},
    )
    for change in changes:
        header = json.loads(dumps[0][8 : 8 + length])
        header["level.weight"].update(change)
        head = json.dumps(header, separators=(",", ":")).encode()
        yield b"\0" + len(head).to_bytes(8, "little") + head + dumps[0][8 + length :]
    for text in (b"[" * 3000, b'{"__metadata__":{"mctree":"' + b"[" * 3000 + b'"}}'):
        yield b"\0" + len(text).to_bytes(8, "little") + text


@contextmanager
def _trained_on() -> Iterator[mctree.Tree]:
    """A store to train on, for the length of a block."""
    with scratch() as folder:
        path = os.path.join(folder, "s")
        with mctree.create(path, vocabulary=9, chunk_bytes=1 << 16) as tree, tree.writer() as writer:
            document = writer.begin("a")
            document.extend(np.arange(40, dtype=np.uint32) % 9)
            document.close()
        with mctree.open(path, writable=False) as tree:
            yield tree


def _training_state(data: bytes) -> None:
    """What a checkpoint says of where training stood, as JSON; of another store, which it is taken to mean."""
    from mctree_torch.batches import GlobalBatches, resume_point  # noqa: PLC0415
    from mctree_torch.tokens import TokenDataset  # noqa: PLC0415

    try:
        state = json.loads(data)
    except (ValueError, RecursionError):  # as whoever kept it finds out
        return
    found = dict(resume_point(state))
    with _trained_on() as tree:
        batches = GlobalBatches(TokenDataset(tree, 8), 2)
        named = batches.state_dict()
        batches.load_state_dict({**found, **{key: named[key] for key in ("store", "store_epoch") if key in found}})
        assert json.loads(json.dumps(batches.state_dict())) == batches.state_dict()
        next(iter(batches), None)


def _training_state_seeds() -> Iterator[bytes]:
    from mctree_torch.batches import GlobalBatches  # noqa: PLC0415
    from mctree_torch.tokens import TokenDataset  # noqa: PLC0415

    with _trained_on() as tree:
        state = GlobalBatches(TokenDataset(tree, 8), 2).state_dict()
    changes: tuple[dict[str, object], ...] = (
        {},
        {"commit": 1 << 70},
        {"commit": -1},
        {"epoch": 1 << 70},
        {"samples_taken": 10**30},
        {"samples_taken": -(10**3000)},
        {"epoch": 10**3000},
        {"commit": 10**3000},
        {"seed": "\x1b" * 300},
        {"kind": [[]]},
    )
    for change in changes:
        yield json.dumps({**state, **change}).encode()
    yield json.dumps({"a": [{"b": state}]}).encode()
    yield b'{"a":' * 900 + b"1" + b"}" * 900


TORCH_TARGETS: dict[str, Target] = {
    "network": Target(_network, _network_seeds, longest=16384, needs=_NETWORKS),
    "training state": Target(_training_state, _training_state_seeds, longest=8192, needs=_DATASETS),
}
"""By the names of their corpora."""
