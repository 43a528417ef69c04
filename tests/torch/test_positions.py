"""Positions with a width, against high precision, against the definitions, and against draws of points."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mctree.errors import UsageError
from mctree.focus import WorkingContext
from mctree.testing import PaperImage, PaperWorld
from mctree_torch.positions import (
    Bands,
    Places,
    alibi_bias,
    alibi_slopes,
    frequencies,
    phases,
    rotate,
    with_slow_bands,
)

DRAWS = np.random.default_rng(0).standard_normal((2, 50_000))

# 2π to 40 digits, so that angles of any size can be reduced exactly.
TURN = Fraction("6.283185307179586476925286766559005768394338")


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def image_places(x: torch.Tensor, y: torch.Tensor, sigma_x: torch.Tensor, sigma_y: torch.Tensor) -> Places:
    none = torch.zeros_like(x)
    return Places(none, none, x, y, sigma_x, sigma_y)


@given(st.integers(0, 10**12), st.integers(0, 31))
def test_angles_are_those_of_exact_arithmetic(position: int, band: int) -> None:
    frequency = frequencies(64)[band : band + 1]
    exact = Fraction(position) * Fraction(float(frequency)) % TURN
    found = float(phases(column(position), frequency))
    apart = abs(found - float(exact))
    assert min(apart, 2 * math.pi - apart) <= position * float(frequency) * 2**-52 + 1e-6


def test_float32_would_have_been_wrong_and_is_refused() -> None:
    frequency = frequencies(64)
    naive = (torch.tensor(1e8 + 1) * frequency.float()).cos()
    right = phases(column(1e8 + 1)[:, None], frequency).cos()
    assert float((naive - right).abs().max()) > 0.1
    with pytest.raises(UsageError, match="float64"):
        phases(torch.ones(1), frequency)
    with pytest.raises(UsageError, match="float64"):
        Places(*(torch.zeros(3),) * 6)


def test_points_turn_by_the_reference_formula() -> None:
    bands = Bands.of_time(frequencies(16))
    position = torch.arange(7)
    cos, sin = bands.table(Places.of_text(position))
    vectors = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    turned = rotate(vectors, cos, sin)
    for i in range(8):
        angle = position * 10_000 ** (-2 * i / 16)
        both = torch.complex(vectors[..., i], vectors[..., i + 8]) * torch.polar(torch.ones(7), angle.float())
        assert torch.allclose(turned[..., i], both.real, atol=1e-5)
        assert torch.allclose(turned[..., i + 8], both.imag, atol=1e-5)


@given(
    st.floats(0, 1e6),
    st.floats(-300, 300),
    st.floats(0, 200),
    st.floats(0, 200),
    st.sampled_from([0.001, 0.01, 0.2, 1]),
)
def test_expected_products_are_those_of_draws(p: float, apart: float, sp: float, sq: float, frequency: float) -> None:
    bands = Bands.of_time(column(frequency))
    cos, sin = bands.table(Places.of_text(column(p, p + apart), column(sp, sq)))
    product = float(cos[0, 0] * cos[1, 0] + sin[0, 0] * sin[1, 0])
    formula = math.cos(frequency * apart) * math.exp(-0.5 * frequency**2 * (sp**2 + sq**2))
    assert product == pytest.approx(formula, abs=1e-4)
    mean = np.cos(frequency * (apart + sq * DRAWS[1] - sp * DRAWS[0])).mean()
    assert product == pytest.approx(mean, abs=6 / math.sqrt(2 * DRAWS.shape[1]))


def test_a_plane_has_bands_for_columns_and_rows() -> None:
    columns, rows = frequencies(8), frequencies(4)
    x, y, sx, sy = column(0, 5, 100), column(2, 70, 8), column(0, 2, 30), column(1, 0, 5)
    cos, sin = Bands.of_plane(columns, rows).table(image_places(x, y, sx, sy))
    assert cos.shape == sin.shape == (3, 6)
    for i in range(3):
        at_x, at_y = float(x[i]) + float(sx[i]) * DRAWS[0], float(y[i]) + float(sy[i]) * DRAWS[1]
        for band, (where, frequency) in enumerate(
            [(at_x, each) for each in columns.tolist()] + [(at_y, each) for each in rows.tolist()]
        ):
            assert float(cos[i, band]) == pytest.approx(np.cos(where * frequency).mean(), abs=0.025)
            assert float(sin[i, band]) == pytest.approx(np.sin(where * frequency).mean(), abs=0.025)


def test_shared_bands_read_text_as_bands_of_time_do() -> None:
    frequency = frequencies(64)
    places = Places.of_text(torch.randint(0, 10**9, (50,)), torch.rand(50) * 1000)
    for shared, time in zip(Bands.shared(frequency).table(places), Bands.of_time(frequency).table(places), strict=True):
        assert torch.equal(shared, time)
    # … and tell the parts of an image apart by columns and by rows alone.
    same = column(7, 7, 7)
    patches = Places(same, column(0, 0, 0), column(0, 50, 0), column(0, 0, 50), column(0, 0, 0), column(0, 0, 0))
    cos, _ = Bands.shared(frequency).table(patches)
    assert torch.equal(cos[0, 0::3], cos[1, 0::3]) and torch.equal(cos[0, 2::3], cos[1, 2::3])
    assert not torch.equal(cos[0, 1::3], cos[1, 1::3]) and not torch.equal(cos[0, 2::3], cos[2, 2::3])


def test_ultra_slow_bands_tell_apart_what_is_far_and_wide() -> None:
    usual, extent = frequencies(64), 1e9
    slow = with_slow_bands(usual, extent, 8)
    assert torch.equal(slow[:24], usual[:24]) and float(slow[-1]) == pytest.approx(math.pi / extent)
    assert bool((slow[1:] < slow[:-1]).all())
    ratios = slow[24:] / slow[23:31]
    assert torch.allclose(ratios, ratios[:1].expand(8))
    wide = extent / 64 / math.sqrt(12)
    gists = Places.of_text(torch.arange(64) * (extent / 64), torch.full((64,), wide))

    def nearest(frequency: torch.Tensor) -> float:
        cos, sin = Bands.of_time(frequency).table(gists)
        table = torch.cat((cos, sin), -1).double()
        apart = torch.cdist(table, table) + torch.eye(64) * 1e9
        return float(apart.min())

    assert nearest(usual) < 1e-6 < 0.02 < nearest(slow)
    assert with_slow_bands(slow, extent, 8) is slow
    for count, size in ((0, 1e9), (32, 1e9), (4, 1.0)):
        with pytest.raises(UsageError, match="slowed down"):
            with_slow_bands(usual, size, count)


def test_alibi_is_that_of_its_authors_for_points() -> None:
    assert torch.allclose(alibi_slopes(8), 2.0 ** -torch.arange(1, 9, dtype=torch.float64))
    assert torch.allclose(alibi_slopes(12)[8:], 2.0 ** -(torch.arange(4, dtype=torch.float64) + 0.5))
    assert len(alibi_slopes(1)) == 1
    with pytest.raises(UsageError, match="head"):
        alibi_slopes(0)
    start = 10**12
    points = Places.of_text(torch.arange(start, start + 5))
    bias = alibi_bias(points, points, alibi_slopes(8))
    index = torch.arange(5)
    assert torch.equal(bias[0], -0.5 * (index[:, None] - index[None]).abs().float())
    assert bias.shape == (8, 5, 5) and bias.dtype == torch.float32


@given(st.floats(-50, 50), st.floats(0, 40), st.floats(0, 40))
def test_alibi_of_wide_places_is_the_expected_distance(apart: float, sp: float, sq: float) -> None:
    query, key = Places.of_text(column(100 + apart), column(sp)), Places.of_text(column(100.0), column(sq))
    mean = np.abs(apart + sp * DRAWS[0] - sq * DRAWS[1]).mean()
    found = -float(alibi_bias(query, key, column(1.0)))
    assert found == pytest.approx(mean, abs=6 * math.hypot(sp, sq) / math.sqrt(DRAWS.shape[1]) + 1e-4)
    assert found >= abs(apart) - 1e-4


def test_places_of_entries_are_theirs() -> None:
    world = PaperWorld()
    world.place(1, [32] * 40)
    world.graft(2, PaperImage(20, 9))
    context = WorkingContext.smallest(world.ground(), 400)
    context.expand((1, 40))
    places = Places.of_entries(context.entries)
    assert len(places) == len(context) and float(places.x.max()) > 0
    assert np.array_equal(places.position.numpy(), context.entries.position)
    where, wide = places.axes()
    text = torch.from_numpy(context.entries.x + context.entries.sigma_x == 0)
    assert torch.equal(where[text][:, 0], where[text][:, 1]) and torch.equal(wide[text][:, 0], wide[text][:, 2])
    cos, sin = Bands.shared(frequencies(32)).table(places)
    assert bool((cos**2 + sin**2 <= 1 + 1e-6).all())
    halves = Places.joined([places.take(slice(0, 2)), places.take(slice(2, None))])
    assert bool(halves.same(places).all()) and not bool(halves.shifted(1).same(places).any())
