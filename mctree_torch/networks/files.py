"""How is a network kept?  As one safetensors file, whose metadata hold its config as JSON.  No pickle, no code.

What comes from a file is not trusted.  A config must have known sizes, each in its range.  The tensors that a network
of these sizes has are worked out without making them, and compared with those that the file says it has: names, types
and shapes.  So what is allocated is never more than the file holds, whatever its numbers say; and of a file nothing but
its header is read before its length is known to be that of such a network.
"""

from __future__ import annotations

import json
import os
import stat
import struct
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors import torch as tensors

from mctree.errors import CorruptError, UsageError
from mctree.sources.files import too_sparse
from mctree.sources.records import shown_text
from mctree_torch.networks.gistnet import GistNet
from mctree_torch.networks.lensnet import LensNet
from mctree_torch.networks.visual import VisualGistNet

__all__ = ["Network", "dumps", "load", "loads", "save"]

Network = GistNet | VisualGistNet | LensNet
_Net = TypeVar("_Net", GistNet, VisualGistNet, LensNet)

_KEY = "mctree"
_FORMAT = 1
_MOST_HEADER = 1 << 20
_LENGTH = struct.Struct("<Q")


def dumps(net: Network) -> bytes:
    """A network as bytes, the same for the same weights."""
    said = {"format": _FORMAT, "kind": net.Config.kind, "config": asdict(net.config)}
    weights = {name: value.detach().to("cpu").contiguous() for name, value in net.state_dict().items()}
    return tensors.save(weights, {_KEY: json.dumps(said, sort_keys=True)})


def save(net: Network, path: str | os.PathLike[str]) -> None:
    """Write a network to a file, by way of another beside it, so that there is never half a one."""
    beside = f"{os.fspath(path)}.writing"
    with open(beside, "wb") as file:
        file.write(dumps(net))
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def loads(data: bytes, kind: type[_Net]) -> _Net:
    """A network from what `dumps` gave, on the CPU, for inference until `train` is called.

    Args:
        data: the bytes.
        kind: `GistNet`, `VisualGistNet` or `LensNet`.

    Raises:
        CorruptError: they are no network, not one of this kind, or hold numbers that are not finite.
    """
    return _filled(_planned(_header(data, len(data)), kind), data)


def load(path: str | os.PathLike[str], kind: type[_Net]) -> _Net:
    """A network from a file; see `loads`.

    Raises:
        CorruptError: also, it is no regular file, not as long as the network is, or has more than 16 GiB of holes.
        OSError: it cannot be opened or read.
    """
    # A FIFO would be waited for, and a device may have no end.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CorruptError("that is no file, and so no network")
        begin = file.read(_LENGTH.size + _MOST_HEADER)
        header = _header(begin, status.st_size)
        net = _planned(header, kind)
        (length,) = _LENGTH.unpack_from(begin)
        size = _LENGTH.size + length + sum(value.nbytes for value in net.state_dict().values())
        if size != status.st_size:
            raise CorruptError(f"the file has {status.st_size} bytes, and a network of its config {size}")
        if found := too_sparse(file.fileno()):
            raise CorruptError(f"the file is no network: {found}")
        file.seek(0)
        return _filled(net, file.read(size))


def _planned(header: dict[str, Any], kind: type[_Net]) -> _Net:
    """A network without weights, which are those that a header speaks of."""
    said = _said(header)
    if said.get("kind") != kind.Config.kind or said.get("format") != _FORMAT:
        raise CorruptError(f"the file holds no {kind.Config.kind} network that this release can read")
    try:
        config = kind.Config.of(said["config"])
    except UsageError as error:
        raise CorruptError(f"the file's config cannot be: {error}") from error
    with torch.device("meta"):
        net: _Net = kind(config)
    wanted = {name: list(value.shape) for name, value in net.state_dict().items()}
    found = {name: entry.get("shape") for name, entry in header.items() if name != "__metadata__"}
    if found != wanted or any(header[name].get("dtype") != "F32" for name in wanted):
        raise CorruptError("the file's tensors are not those of a network of its config")
    return net


def _filled(net: _Net, data: bytes) -> _Net:
    """The network with the weights that are in a file."""
    try:
        weights = tensors.load(data)
    except SafetensorError as error:
        raise CorruptError(f"the file is no safetensors file: {shown_text(error)}") from error
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise CorruptError("the file's tensors hold numbers that are not finite")
    frozen = {name for name, value in net.named_parameters() if not value.requires_grad}
    net.load_state_dict(weights, assign=True)
    for name, value in net.named_parameters():
        value.requires_grad_(name not in frozen)
    return net.eval()


def _header(data: bytes, size: int) -> dict[str, Any]:
    """What a safetensors file of so many bytes says of itself, by its beginning."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        if length > min(_MOST_HEADER, size - _LENGTH.size):
            raise CorruptError("the file's header is longer than the file, or than that of any network")
        header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    except (struct.error, ValueError, RecursionError) as error:
        raise CorruptError("the file is no safetensors file") from error
    if not isinstance(header, dict) or not all(isinstance(entry, dict) for entry in header.values()):
        raise CorruptError("the file is no safetensors file")
    return header


def _said(header: dict[str, Any]) -> dict[str, Any]:
    """What the metadata say of the network."""
    try:
        said = json.loads(header["__metadata__"][_KEY])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptError("the file does not say what network it holds") from error
    if not isinstance(said, dict) or not isinstance(said.get("config"), dict):
        raise CorruptError("the file does not say what network it holds")
    return said
