"""GistNet, VisualGistNet and LensNet: masks, shapes, what they begin as, that they learn, and their files."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mctree.errors import CorruptError, UsageError
from mctree.geometry import morton
from mctree_torch.networks import (
    GistConfig,
    GistNet,
    LensConfig,
    LensNet,
    VisualConfig,
    VisualGistNet,
    dumps,
    load,
    loads,
    save,
)
from tests.sources.sparse import lengthened
from tests.torch.drawing import drawn

GIST = GistConfig(dim=12, vocabulary=50, width=16, heads=2, layers=1, slots=2, levels=3)
VISUAL = VisualConfig(dim=12, text_dim=6, width=16, heads=2, layers=1, slots=2)
LENS = LensConfig(dim=12, width=16, heads=2, layers=2)


def gist_net() -> GistNet:
    return drawn(GistNet(GIST))


def visual_net() -> VisualGistNet:
    return drawn(VisualGistNet(VISUAL))


def lens_net() -> LensNet:
    return drawn(LensNet(LENS))


def test_an_untrained_gist_is_the_mean_of_what_exists() -> None:
    table = torch.randn(50, 12)
    net = GistNet(GIST, table)
    tokens, mask = torch.randint(0, 50, (6, 32)), torch.rand(6, 32) < 0.5
    mask[0] = False
    expected = torch.stack(
        [table[row[there]].mean(0) if there.any() else torch.zeros(12) for row, there in zip(tokens, mask, strict=True)]
    )
    with torch.no_grad():
        assert torch.allclose(net(tokens, mask, 1), expected, atol=1e-6)
        children = torch.randn(6, 32, 12)
        mean = (children * mask[..., None]).sum(1) / mask.sum(1).clamp(min=1)[:, None]
        assert torch.allclose(net(children, mask, 2), mean, atol=1e-6)
        patches, seen = torch.randn(3, 64, 12), torch.rand(3, 64) < 0.5
        visual = (patches * seen[..., None]).sum(1) / seen.sum(1).clamp(min=1)[:, None]
        assert torch.allclose(VisualGistNet(VISUAL)(patches, seen, 1), visual, atol=1e-6)


@settings(max_examples=12)
@given(
    st.integers(0, 2**32), st.integers(1, 32), st.integers(1, 5), st.sampled_from([float("nan"), float("inf"), 1e30])
)
def test_gists_depend_on_what_exists_and_its_order_and_on_nothing_else(
    seed: int, count: int, level: int, junk: float
) -> None:
    net = gist_net()
    generator = torch.Generator().manual_seed(seed)
    children = torch.randn(3, count, 12, generator=generator)
    mask = torch.rand(3, count, generator=generator) < 0.7
    with torch.no_grad():
        made = net(children, mask, level)
        other = torch.where(mask[..., None], children, junk)
        assert torch.equal(net(other, mask, level), made)
        assert not made[~mask.any(1)].any()
        # Padding at the end is as if it were not there, so any number of children will do.
        wide, more = functional.pad(children, (0, 0, 0, 32 - count)), functional.pad(mask, (0, 32 - count))
        assert torch.allclose(net(wide, more, level), made, atol=1e-4)
        if count > 1 and bool(mask.all()):
            assert not torch.allclose(net(children.flip(1), mask, level), made, atol=1e-4)


def test_levels_are_told_apart_up_to_the_last() -> None:
    net, children, mask = gist_net(), torch.randn(1, 32, 12), torch.ones(1, 32, dtype=torch.bool)
    with torch.no_grad():
        one, two, three, nine = (net(children, mask, level) for level in (1, 2, 3, 9))
    assert not torch.allclose(one, two) and not torch.allclose(two, three) and torch.equal(three, nine)
    for wrong in (lambda: net(children, mask, 0), lambda: net(torch.randn(1, 33, 12), torch.ones(1, 33) > 0, 1)):
        with pytest.raises(UsageError, match="level above 0"):
            wrong()
    with pytest.raises(UsageError, match="no vocabulary"):
        GistNet(GistConfig(dim=12, vocabulary=0))(torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3) > 0, 1)
    with pytest.raises(UsageError, match="by the config"):
        GistNet(GIST, torch.zeros(3, 12))


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 4, 8]))
def test_squares_are_read_as_rows_and_columns(seed: int, side: int) -> None:
    net = visual_net()
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(2, side * side, 12, generator=generator)
    mask = torch.rand(2, side * side, generator=generator) < 0.7
    with torch.no_grad():
        made = net(patches, mask, 1)
        assert torch.equal(net(torch.where(mask[..., None], patches, float("nan")), mask, 1), made)
        assert not made[~mask.any(1)].any()
        # Without places, rows and columns alone decide who sees whom: turning the square over changes nothing.
        bare = visual_net()
        bare.row.weight.zero_(), bare.column.weight.zero_()
        codes = torch.tensor([int(morton.encode(x, y)) for y in range(side) for x in range(side)])
        mirrored = torch.tensor([int(morton.encode(side - 1 - x, y)) for y in range(side) for x in range(side)])
        turned, there = torch.empty_like(patches), torch.empty_like(mask)
        turned[:, mirrored], there[:, mirrored] = patches[:, codes], mask[:, codes]
        assert torch.allclose(bare(turned, there, 1), bare(patches, mask, 1), atol=1e-4)
        if side > 1 and bool(mask.all()):
            assert not torch.allclose(net(turned, there, 1), made, atol=1e-4)


def test_linked_text_counts_where_there_is_some() -> None:
    net = visual_net()
    patches, mask = torch.randn(2, 64, 12), torch.ones(2, 64, dtype=torch.bool)
    text, said = torch.randn(2, 5, 6), torch.tensor([[True] * 3 + [False] * 2, [False] * 5])
    with torch.no_grad():
        plain, linked = net(patches, mask, 1), net(patches, mask, 1, (text, said))
        assert not torch.allclose(linked[0], plain[0], atol=1e-3) and torch.equal(linked[1], plain[1])
        text[0, 3:] = float("nan")
        assert torch.equal(net(patches, mask, 1, (text, said)), linked)
    with pytest.raises(UsageError, match="takes no linked text"):
        VisualGistNet(VisualConfig(dim=12))(patches, mask, 1, (text, said))
    with pytest.raises(UsageError, match="square"):
        net(patches[:, :3], mask[:, :3], 1)


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 9))
def test_scores_do_not_depend_on_what_is_masked_nor_on_the_batch(seed: int, n: int, m: int) -> None:
    net = lens_net()
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    features, vectors, tail, linked = random(2, n, 16), random(2, n, 12), random(2, m, 12), random(2, n, 12)
    known = random(2, n) > 0
    with torch.no_grad():
        made = net(features, vectors, known, tail, linked=linked)
        assert made.shape == (2, n) and bool((made.abs() <= 1).all())
        junk = torch.where(known[..., None], vectors, float("nan"))
        assert torch.equal(net(features, junk, known, tail, linked=linked), made)
        alone = net(features[1:], vectors[1:], known[1:], tail[1:], linked=linked[1:])
        assert torch.allclose(alone, made[1:], atol=1e-4)
        # Longer contexts and tails with the rest masked are the same contexts and tails.
        more = [functional.pad(each, (0, 0, 0, 3), value=7.0) for each in (features, vectors, tail, linked)]
        there, said = torch.arange(n + 3) < n, torch.arange(m + 3) < m
        padded = net(
            more[0], more[1], functional.pad(known, (0, 3), value=True), more[2], linked=more[3],
            mask=there.expand(2, -1), tail_mask=said.expand(2, -1),
        )  # fmt: skip
        assert torch.allclose(padded[:, :n], made, atol=1e-4)


def test_a_lens_sees_forwards_and_backwards_and_links() -> None:
    net = lens_net()
    features, vectors, tail = torch.randn(1, 8, 16), torch.randn(1, 8, 12), torch.randn(1, 4, 12)
    known, linked = torch.ones(1, 8, dtype=torch.bool), torch.zeros(1, 8, 12)
    with torch.no_grad():
        made = net(features, vectors, known, tail, linked=linked)
        late = vectors.clone()
        late[0, 7] = torch.randn(12)
        assert not torch.allclose(net(features, late, known, tail, linked=linked)[0, 0], made[0, 0], atol=1e-6)
        assert not torch.allclose(
            net(features, vectors, known, tail.flip(2), linked=linked)[0, 0], made[0, 0], atol=1e-6
        )
        linked[0, 3] = 1
        assert not torch.allclose(net(features, vectors, known, tail, linked=linked)[0, 3], made[0, 3], atol=1e-6)


def test_gradients_reach_every_weight_and_the_networks_learn() -> None:
    """Which entry holds what the tail asks for: a lens; which of two tokens came first: a gist."""
    torch.manual_seed(0)
    lens = LensNet(LensConfig(dim=8, width=16, heads=2, layers=1))
    table = functional.normalize(torch.randn(40, 8), dim=-1)
    optimizer = torch.optim.Adam(lens.parameters(), 1e-2)
    known = torch.ones(32, 6, dtype=torch.bool)
    for _ in range(100):
        keys = torch.stack([torch.randperm(40)[:6] for _ in range(32)])
        wanted = torch.randint(0, 6, (32,))
        scores = lens(
            torch.zeros(32, 6, 16),
            table[keys],
            known,
            table[keys[torch.arange(32), wanted]][:, None],
            linked=torch.zeros(32, 6, 8),
        )
        loss = functional.cross_entropy(scores * 8, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(weight.grad is not None for name, weight in lens.named_parameters())
    assert float((scores.argmax(1) == wanted).float().mean()) > 0.8

    gist = GistNet(GistConfig(dim=8, vocabulary=0, width=16, heads=2, layers=1, slots=2))
    optimizer = torch.optim.Adam(gist.parameters(), 1e-2)
    for _ in range(70):
        pairs = torch.randn(32, 2, 8)
        loss = functional.mse_loss(gist(pairs, torch.ones(32, 2) > 0, 1), pairs[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3  # the mean would be at 0.5


@pytest.mark.parametrize("make", [gist_net, visual_net, lens_net])
def test_networks_come_back_from_files(make: Callable[[], GistNet], tmp_path: Path) -> None:
    net = make()
    save(net, tmp_path / "net.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]
    again = load(tmp_path / "net.safetensors", type(net))
    assert again.config == net.config and dumps(again) == dumps(net) and not again.training
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True))
    assert {n: w.requires_grad for n, w in again.named_parameters()} == {
        n: w.requires_grad for n, w in net.named_parameters()
    }


def test_what_a_file_says_is_not_believed() -> None:
    data = dumps(gist_net())
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])

    def forged(change: Callable[[dict[str, object], dict[str, object]], None]) -> bytes:
        head = json.loads(json.dumps(header))
        said = json.loads(head["__metadata__"]["mctree"])
        change(head, said)
        head["__metadata__"]["mctree"] = json.dumps(said)
        new = json.dumps(head).encode()
        return struct.pack("<Q", len(new)) + new + data[8 + length :]

    assert dumps(loads(forged(lambda head, said: None), GistNet)) == data
    forgeries = {
        "cannot be": [
            lambda head, said: said["config"].update(dim=1 << 40),
            lambda head, said: said["config"].update(width=15),
            lambda head, said: said["config"].update(layers="1"),
            lambda head, said: said["config"].update(more=1),
            lambda head, said: said["config"].pop("slots"),
        ],
        "not those of": [
            lambda head, said: said["config"].update(vocabulary=1 << 24, width=1 << 14, dim=1 << 16),
            lambda head, said: said["config"].update(layers=64),
            lambda head, said: head.pop("level.weight"),
            lambda head, said: head["level.weight"].update(dtype="I32"),
            lambda head, said: head["level.weight"].update(shape=[16, 3]),
        ],
        "no gist network": [lambda head, said: said.update(kind="lens"), lambda head, said: said.update(format=2)],
        "does not say": [lambda head, said: said.update(config=3)],
        "no safetensors": [lambda head, said: head["level.weight"].update(data_offsets=[0, 1 << 60])],
    }  # fmt: skip
    for message, changes in forgeries.items():
        for change in changes:
            with pytest.raises(CorruptError, match=message):
                loads(forged(change), GistNet)  # type: ignore[arg-type]
    for junk in (b"", b"\xff" * 20, data[:40], struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 4) + b"[[[["):
        with pytest.raises(CorruptError):
            loads(junk, GistNet)
    with pytest.raises(CorruptError, match="finite"):
        loads(data[:-4] + struct.pack("<f", float("nan")), GistNet)
    with pytest.raises(CorruptError, match="no lens"):
        loads(data, LensNet)


@pytest.mark.parametrize("what", ["FIFO", "device", "terabyte", "longer", "shorter", "header alone", "empty"])
def test_what_is_no_file_of_a_network_is_refused_at_once(tmp_path: Path, what: str) -> None:
    """Found by reading: a FIFO was waited for, and all that a file holds was read into memory before it was judged."""
    path, data = tmp_path / "net.safetensors", dumps(gist_net())
    match what:
        case "FIFO":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "terabyte":
            path.write_bytes(data)
            lengthened(path)
        case "longer":
            path.write_bytes(data + b"\0")
        case "shorter":
            path.write_bytes(data[:-1])
        case "header alone":
            path.write_bytes(data[: 8 + struct.unpack("<Q", data[:8])[0]])
        case _:
            path.write_bytes(b"")
    with pytest.raises(CorruptError):
        load(path, GistNet)


def test_a_network_that_is_a_hole_is_refused(tmp_path: Path) -> None:
    """Found by reading: a file that is as long as a network of its config may be a hole, and fill all memory."""
    sizes = GistConfig(dim=1 << 16, vocabulary=1 << 20, width=2, heads=1, layers=0, slots=1, levels=1, fanout=1)
    with torch.device("meta"):
        net = GistNet(sizes)
    header: dict[str, object] = {}
    place = 0
    for name, value in net.state_dict().items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [place, place + value.nbytes]}
        place += value.nbytes
    said = {"format": 1, "kind": "gist", "config": asdict(sizes)}
    head = json.dumps({"__metadata__": {"mctree": json.dumps(said)}, **header}).encode()
    (tmp_path / "net").write_bytes(struct.pack("<Q", len(head)) + head)
    lengthened(tmp_path / "net", 8 + len(head) + place)
    with pytest.raises(CorruptError, match="holes"):
        load(tmp_path / "net", GistNet)


def test_sizes_out_of_range_are_refused() -> None:
    for wrong in ({"dim": 0}, {"heads": 3}, {"layers": True}, {"slots": 1 << 20}):
        with pytest.raises(UsageError, match=r"network|heads"):
            GistConfig(**{"dim": 8, "vocabulary": 4, **wrong})
