"""Rotary encoding: real arithmetic against complex numbers, bit for bit; tables; repetition."""

import cmath
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from parity.execution import fill
from samblocks.ops.rope import (
    _cos_sin,
    _product,
    _product_in_reals,
    _tables,
    apply_rotary_enc,
    axial_tables,
    compute_axial_cis,
    rotate_pairs,
)


def complex_form(x: Tensor, table: Tensor) -> Tensor:
    """The rotation as it is usually written."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(pairs * table).flatten(-2).to(x.dtype)


def complex_table(dim: int, width: int, height: int, theta: float = 10000.0) -> Tensor:
    index = torch.arange(width * height, dtype=torch.float32)
    x, y = index % width, torch.div(index, width, rounding_mode="floor")
    frequencies = 1.0 / (theta ** (torch.arange(0, dim, 4)[: dim // 4].float() / dim))
    angles = torch.cat((torch.outer(x, frequencies), torch.outer(y, frequencies)), -1)
    return torch.polar(torch.ones_like(angles), angles)


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Of several, each one's share may end within a register, as in the test below of pairs that fill none."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize(
    ("dim", "width", "height"), [(8, 2, 1), (8, 3, 4), (16, 3, 5), (32, 16, 16), (64, 7, 2), (256, 32, 32)]
)
def test_real_and_complex_arithmetic_agree_to_the_last_bit(dim: int, width: int, height: int) -> None:
    table = complex_table(dim, width, height)
    assert torch.equal(compute_axial_cis(dim, width, height), table)
    q = fill.tensor("q", (2, 2, width * height, dim))
    k = fill.tensor("k", (2, 2, 2 * width * height, dim))
    cos, sin = axial_tables(dim, (width, height), like=q)
    assert torch.equal(rotate_pairs(q, cos, sin), complex_form(q, table))
    assert torch.equal(rotate_pairs(k, cos, sin), complex_form(k, table.repeat(2, 1)))
    turned_q, turned_k = apply_rotary_enc(q, k, table, repeat_freqs_k=True)
    assert torch.equal(turned_q, complex_form(q, table))
    assert torch.equal(turned_k, complex_form(k, table.repeat(2, 1)))
    bf16 = q.bfloat16()
    assert torch.equal(rotate_pairs(bf16, cos, sin), complex_form(bf16, table))


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(2, 1, 2, 8), (1, 3, 12, 4), (2, 2, 49, 16), (1, 1, 1024, 256)])
def test_the_product_in_reals_has_the_same_bits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    pairs = fill.tensor("x", (*shape[:-1], shape[-1] // 2, 2), dtype)
    angles = fill.tensor("angles", (shape[-2], shape[-1] // 2), dtype)
    cos, sin = angles.cos(), angles.sin()
    assert torch.equal(_product(pairs, cos, sin), _product_in_reals(pairs, cos, sin))


def test_pairs_that_fill_no_register_agree_to_one_unit_in_the_last_place() -> None:
    """15 tokens of 4 pairs: 56 pairs fill registers of 8; the last 4 the complex product rounds otherwise."""
    table = complex_table(8, 3, 5)
    q = fill.tensor("q", (4, 1, 15, 4, 2))
    expected, found = (
        product(q, table.real, table.imag).reshape(4, 120) for product in (_product, _product_in_reals)
    )
    assert torch.equal(found[:, :112], expected[:, :112])
    torch.testing.assert_close(found[:, 112:], expected[:, 112:], rtol=0, atol=2**-23)


def test_numbers_may_lie_anywhere_in_memory() -> None:
    x = fill.tensor("x", (2, 3, 12, 8))
    cos, sin = axial_tables(8, (4, 3), like=x)
    expected = rotate_pairs(x, cos, sin)
    shifted = torch.cat((torch.zeros(1), x.flatten()))[1:].view(x.shape)
    odd_rows = torch.cat((x, torch.zeros(2, 3, 12, 1)), dim=-1)[..., :8]
    backwards = x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    for same in (shifted, odd_rows, backwards):
        assert torch.equal(rotate_pairs(same, cos, sin), expected)


def test_angles_by_hand() -> None:
    table = compute_axial_cis(8, 3, 2, theta=100.0, scale_pos=0.5)
    for index in range(6):
        x, y = index % 3, index // 3
        angles = [0.5 * x, 0.5 * x * 100 ** (-4 / 8), 0.5 * y, 0.5 * y * 100 ** (-4 / 8)]
        for found, angle in zip(table[index].tolist(), angles, strict=True):
            assert abs(found - cmath.exp(1j * angle)) < 1e-6


def test_whole_numbers_may_be_given_as_floats() -> None:
    assert torch.equal(compute_axial_cis(8, 4.0, 2.0), compute_axial_cis(8, 4, 2))


@pytest.mark.parametrize("end", [2.5, 0, -1, 7**0.5])
def test_grids_have_whole_sides(end: float) -> None:
    with pytest.raises(ValueError, match="end_x must be a whole number"):
        compute_axial_cis(8, end, 2)
    with pytest.raises(ValueError, match="end_y must be a whole number"):
        compute_axial_cis(8, 2, end)


def test_head_sizes_beyond_multiples_of_four_lose_the_rest_as_upstream() -> None:
    assert compute_axial_cis(10, 2, 2).shape == (4, 4)


def test_tables_are_cached_by_all_they_depend_on() -> None:
    _tables.clear()
    like = torch.zeros(1)
    first = axial_tables(8, (3, 2), like=like)
    assert axial_tables(8, (3, 2), like=like)[0] is first[0]
    others = [
        axial_tables(8, (2, 3), like=like),
        axial_tables(16, (3, 2), like=like),
        axial_tables(8, (3, 2), 100.0, like=like),
        axial_tables(8, (3, 2), 10000.0, 2.0, like=like),
        axial_tables(8, (3, 2), like=like.double()),
        axial_tables(8, (3, 2), like=torch.zeros(1, device="meta")),
    ]
    assert len(_tables) == 7
    assert all(other[0].shape != first[0].shape or other[0] is not first[0] for other in others)
    assert axial_tables(8, (3, 2), like=like.half())[0] is first[0]  # float32 is enough for half
    assert (others[4][0].dtype, others[5][0].device.type) == (torch.float64, "meta")


def test_tables_do_not_depend_on_the_default_device_or_dtype() -> None:
    _tables.clear()
    expected = axial_tables(8, (3, 2), like=torch.zeros(1))[0].clone()
    _tables.clear()
    like = torch.zeros(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = axial_tables(8, (3, 2), like=like)[0]
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found, expected)


def test_lengths_are_kept_and_differences_of_places_decide() -> None:
    """What rotary encoding is for: scores depend on where two tokens are relative to one another."""
    q, k = (fill.tensor(name, (1, 1, 1, 16), torch.float64).expand(1, 1, 25, 16) for name in "qk")
    cos, sin = axial_tables(16, (5, 5), like=q)
    turned_q, turned_k = rotate_pairs(q, cos, sin), rotate_pairs(k, cos, sin)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    scores = (turned_q @ turned_k.mT)[0, 0]
    torch.testing.assert_close(scores[0, 6], scores[7, 13])
    torch.testing.assert_close(scores[0, 6], scores[18, 24])
    assert not torch.isclose(scores[0, 6], scores[0, 5])


def test_no_keys_come_back_as_they_are() -> None:
    q, none = fill.tensor("q", (1, 1, 4, 8)), torch.zeros(1, 1, 0, 8)
    turned, keys = apply_rotary_enc(q, none, compute_axial_cis(8, 2, 2))
    assert keys is none
    assert not torch.equal(turned, q)


def test_wrong_shapes_are_named() -> None:
    q, table = torch.zeros(1, 1, 4, 8), compute_axial_cis(8, 2, 2)
    with pytest.raises(ValueError, match=r"freqs_cis must be \[4, 4\].*\(2, 4\)"):
        apply_rotary_enc(q, q, table[:2])
    with pytest.raises(
        ValueError, match=r"xk must have 4 \(repeat_freqs_k is False\) tokens.*\(1, 1, 8, 8\)"
    ):
        apply_rotary_enc(q, torch.zeros(1, 1, 8, 8), table)
    with pytest.raises(ValueError, match=r"xk must have a multiple of 4 tokens.*\(1, 1, 6, 8\)"):
        apply_rotary_enc(q, torch.zeros(1, 1, 6, 8), table, repeat_freqs_k=True)


def test_traced_tables_differ_by_at_most_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = fill.tensor("angles", (500,)) * 40
    eager = _cos_sin(angles)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for one, other in zip(eager, _cos_sin(angles), strict=True):
        assert (one - other).abs().max() <= 2**-24
