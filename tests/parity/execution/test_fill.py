"""Filled values: the same on every machine, never at a module's initial value, of order one."""

import numpy as np
import pytest
import torch
from torch import nn

from parity.execution import fill


def test_the_stream_is_frozen() -> None:
    # crc32("blocks.0.norm1.weight") seeds NumPy's frozen Mersenne Twister. The first three uniforms of
    # RandomState(that seed), by NumPy itself, mapped by hand to [0.6, 1.4):
    seed = 0xFFFFFFFF & __import__("zlib").crc32(b"blocks.0.norm1.weight")
    by_hand = [0.6 + 0.8 * float(np.random.RandomState(seed).random_sample(3)[i]) for i in range(3)]
    assert fill.values("blocks.0.norm1.weight", (3,)).tolist() == pytest.approx(by_hand, abs=1e-15)


def test_a_value_depends_on_name_and_shape_alone() -> None:
    first = fill.tensor("attn.qkv.weight", (12, 4))
    torch.manual_seed(99)
    assert torch.equal(first, fill.tensor("attn.qkv.weight", (12, 4)))
    assert not torch.equal(first, fill.tensor("attn.proj.weight", (12, 4)))


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (300, 257), (3, 5, 2, 2)])
def test_drawing_in_parts_gives_the_same_bits(shape: tuple[int, ...]) -> None:
    for name in ("a.weight", "qkv.weight", "rel_pos_h", "norm.bias"):
        whole = fill.values(name, shape).astype(np.float32)
        assert np.array_equal(fill.rounded(name, shape), whole)
        assert fill.rounded(name, shape).shape == shape
        assert np.array_equal(fill.widened(name, shape).numpy(), whole.astype(np.float64))


def test_rounding_happens_once() -> None:
    wide = fill.tensor("a.weight", (50, 3), torch.float64)
    assert torch.equal(wide.to(torch.float32), fill.tensor("a.weight", (50, 3)))
    assert torch.equal(wide.to(torch.bfloat16), fill.tensor("a.weight", (50, 3), torch.bfloat16))


@pytest.mark.parametrize(
    ("name", "shape", "low", "high"),
    [
        ("norm.weight", (500,), 0.6, 1.4),
        ("norm.bias", (500,), -0.4, 0.4),
        ("bn.running_var", (500,), 0.6, 1.6),
        ("rel_pos_h", (27, 16), -0.8, 0.8),
        ("gamma", (500,), -0.8, 0.8),
        ("sam_prompt_encoder.point_embeddings.2.weight", (1, 256), -0.8, 0.8),
        ("pe_layer.positional_encoding_gaussian_matrix", (2, 256), -(3**0.5), 3**0.5),
    ],
)
def test_spread_by_kind(name: str, shape: tuple[int, ...], low: float, high: float) -> None:
    values = fill.values(name, shape)
    assert low <= values.min() < low + 0.1 * (high - low)
    assert high - 0.1 * (high - low) < values.max() <= high


@pytest.mark.parametrize(
    ("name", "shape", "variance"),
    [
        ("proj.weight", (300, 200), 1 / 200),
        ("patch_embed.proj.weight", (96, 3, 7, 7), 1 / 147),
        ("attn.qkv.weight", (300, 200), 2 / 200),
        ("mask_decoder.output_upscaling.0.weight", (256, 64, 2, 2), 1 / 256),
    ],
)
def test_matrices_are_scaled_by_fan_in(name: str, shape: tuple[int, ...], variance: float) -> None:
    assert fill.values(name, shape).var() == pytest.approx(variance, rel=0.05)


def test_nothing_stays_at_its_initial_value() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 8), nn.LayerNorm(8))
    before = {name: entry.clone() for name, entry in module.state_dict().items()}
    fill.fill_(module)
    for name, entry in module.state_dict().items():
        if entry.is_floating_point():
            assert not (entry == before[name]).any(), name
        else:
            assert torch.equal(entry, before[name]), name


def test_integers_cover_their_range() -> None:
    drawn = fill.integers("labels", (4000,), -1, 4)
    assert sorted(set(drawn.tolist())) == [-1, 0, 1, 2, 3]
