"""The blocks against plain loops in float64, written from the papers' formulas and from nothing else."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parity.execution import fill
from samblocks import blocks, models

Array = np.ndarray
erf = np.vectorize(math.erf)


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


class Weights:
    """The tensors of a module under a prefix, and the layers that are made of them."""

    def __init__(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        self.state, self.prefix = state, prefix

    def __getitem__(self, name: str) -> Array:
        return self.state[f"{self.prefix}{name}"].double().numpy()

    def __contains__(self, name: str) -> bool:
        return f"{self.prefix}{name}" in self.state

    def at(self, name: str) -> "Weights":
        return Weights(self.state, f"{self.prefix}{name}.")

    def linear(self, name: str, x: Array) -> Array:
        return x @ self[f"{name}.weight"].T + self[f"{name}.bias"]

    def norm(self, name: str, x: Array, eps: float) -> Array:
        mean = x.mean(-1, keepdims=True)
        variance = ((x - mean) ** 2).mean(-1, keepdims=True)
        return (x - mean) / np.sqrt(variance + eps) * self[f"{name}.weight"] + self[f"{name}.bias"]

    def conv(self, name: str, x: Array, stride: int, padding: int, groups: int = 1) -> Array:
        """[C, H, W] to [D, h, w], one output pixel at a time."""
        weight, bias = self[f"{name}.weight"], self[f"{name}.bias"]
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        outs, ins, side = weight.shape[0], weight.shape[1], weight.shape[2]
        height, width = ((size - side) // stride + 1 for size in x.shape[1:])
        out = np.zeros((outs, height, width))
        for d in range(outs):
            first = d // (outs // groups) * ins
            for i in range(height):
                for j in range(width):
                    patch = x[
                        first : first + ins, i * stride : i * stride + side, j * stride : j * stride + side
                    ]
                    out[d, i, j] = (patch * weight[d]).sum() + bias[d]
        return out


def over_channels(function: Any, x: Array) -> Array:
    """Apply to [C, H, W] what works on the last axis."""
    return function(x.transpose(1, 2, 0)).transpose(2, 0, 1)


def heads_attention(q: Array, k: Array, v: Array, heads: int, bias: Array | None = None) -> Array:
    """[N, C], [M, C], [M, D] to [N, D], head by head."""
    outs = []
    for h, (a, b, c) in enumerate(zip(*(np.split(x, heads, axis=-1) for x in (q, k, v)), strict=True)):
        scores = a @ b.T / math.sqrt(a.shape[-1])
        outs.append(softmax(scores if bias is None else scores + bias[h]) @ c)
    return np.concatenate(outs, -1)


def attention(w: Weights, q: Array, k: Array, v: Array, heads: int) -> Array:
    projected = (w.linear("q_proj", q), w.linear("k_proj", k), w.linear("v_proj", v))
    return w.linear("out_proj", heads_attention(*projected, heads))


def rotated(x: Array, grid: tuple[int, int], heads: int, theta: float = 10000.0) -> Array:
    """Turn [N, C] by the pixels of a (width, height) grid, as complex numbers."""
    width, height = grid
    outs = []
    for head in np.split(x, heads, axis=-1):
        d = head.shape[-1]
        for_each = []
        for n, token in enumerate(head):
            column, row = n % (width * height) % width, n % (width * height) // width
            turned = []
            for pair in range(d // 2):
                coordinate = column if pair < d // 4 else row
                angle = coordinate * theta ** (-4 * (pair % (d // 4)) / d)
                z = complex(token[2 * pair], token[2 * pair + 1]) * complex(math.cos(angle), math.sin(angle))
                turned += [z.real, z.imag]
            for_each.append(turned)
        outs.append(np.array(for_each))
    return np.concatenate(outs, -1)


def windows_of(x: Array, side: int) -> list[tuple[int, int, Array]]:
    """The windows of [H, W, C] with their corners; what lies outside the map is zero."""
    height, width, channels = x.shape
    found = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = np.zeros((side, side, channels))
            part = x[top : top + side, left : left + side]
            window[: part.shape[0], : part.shape[1]] = part
            found.append((top, left, window))
    return found


def max_pool(x: Array, stride: int) -> Array:
    height, width = x.shape[0] // stride, x.shape[1] // stride
    cut = x[: height * stride, : width * stride].reshape(height, stride, width, stride, -1)
    return cut.max((1, 3))


def checked(module: nn.Module, expected: Array, *inputs: Tensor, **kwargs: Any) -> None:
    with torch.no_grad():
        found = module(*inputs, **kwargs)
    assert tuple(found.shape) == expected.shape
    assert np.abs(found.numpy() - expected).max() <= 1e-11 * max(1.0, np.abs(expected).max())


def made(module: nn.Module, *shapes: tuple[int, ...]) -> tuple[nn.Module, Weights, list[Tensor], list[Array]]:
    """The module filled, in float64, with one item of input per shape."""
    module = fill.fill_(module.double()).eval()
    tensors = [fill.tensor(f"input{index}", (1, *shape), torch.float64) for index, shape in enumerate(shapes)]
    return module, Weights(module.state_dict()), tensors, [tensor[0].numpy() for tensor in tensors]


def test_layer_norm_2d() -> None:
    module, w, tensors, (x,) = made(blocks.LayerNorm2d(5), (5, 3, 2))
    mean, variance = x.mean(0), x.var(0)
    expected = (x - mean) / np.sqrt(variance + 1e-6) * w["weight"][:, None, None] + w["bias"][:, None, None]
    checked(module, expected[None], *tensors)


def test_mlp() -> None:
    module, w, tensors, (x,) = made(
        blocks.MLP(4, 6, 4, 3, nn.GELU, sigmoid=True, residual=True, out_norm=nn.LayerNorm(4)), (3, 4)
    )
    out = w.linear("layers.2", gelu(w.linear("layers.1", gelu(w.linear("layers.0", x)))))
    checked(module, 1 / (1 + np.exp(-w.norm("out_norm", out + x, 1e-5)))[None], *tensors)


def test_patch_embed() -> None:
    module, w, tensors, (x,) = made(blocks.PatchEmbed((3, 3), (2, 2), (1, 1), 2, 4), (2, 5, 6))
    checked(module, w.conv("proj", x, 2, 1).transpose(1, 2, 0)[None], *tensors)


def test_mask_down_sampler() -> None:
    module, w, tensors, (x,) = made(
        blocks.MaskDownSampler(6, kernel_size=3, stride=2, padding=1, total_stride=4), (1, 8, 12)
    )
    for step in (0, 3):
        x = w.conv(f"encoder.{step}", x, 2, 1)
        x = gelu(over_channels(lambda p, step=step: w.norm(f"encoder.{step + 1}", p, 1e-6), x))
    checked(module, w.conv("encoder.6", x, 1, 0)[None], *tensors)


@pytest.mark.parametrize("depthwise", [True, False])
def test_fuser_of_cx_blocks(depthwise: bool) -> None:
    block = blocks.CXBlock(4, kernel_size=5, padding=2, use_dwconv=depthwise)
    module, w, tensors, (x,) = made(blocks.Fuser(block, 2, dim=4, input_projection=True), (4, 5, 3))
    x = w.conv("proj", x, 1, 0)
    for layer in (w.at("layers.0"), w.at("layers.1")):
        y = layer.conv("dwconv", x, 1, 2, groups=4 if depthwise else 1)

        def branch(p: Array, layer: Weights = layer) -> Array:
            inner = gelu(layer.linear("pwconv1", layer.norm("norm", p, 1e-6)))
            return layer["gamma"] * layer.linear("pwconv2", inner)

        x = x + over_channels(branch, y)
    checked(module, x[None], *tensors)


def test_attention() -> None:
    module, w, tensors, (q, k) = made(
        blocks.Attention(16, 2, downsample_rate=2, kv_in_dim=6), (3, 16), (5, 6)
    )
    v = tensors[1].flip(-1)
    checked(module, attention(w, q, k, v[0].numpy(), 2)[None], *tensors, v)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("prefix", ["", "SAM2"])
def test_two_way_block(prefix: str, skip: bool) -> None:
    cls = getattr(blocks, f"{prefix}TwoWayAttentionBlock")
    module, w, tensors, (q, k, q_pe, k_pe) = made(
        cls(16, 2, 8, skip_first_layer_pe=skip), (3, 16), (6, 16), (3, 16), (6, 16)
    )
    expected = two_way(w, q, k, q_pe, k_pe, 2, skip)
    with torch.no_grad():
        found = module(*tensors)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one[0].numpy(), other, rtol=0, atol=1e-11)


def two_way(
    w: Weights, q: Array, k: Array, q_pe: Array, k_pe: Array, heads: int, skip: bool
) -> tuple[Array, Array]:
    own = w.at("self_attn")
    q = attention(own, q, q, q, heads) if skip else q + attention(own, q + q_pe, q + q_pe, q, heads)
    q = w.norm("norm1", q, 1e-5)
    q = w.norm("norm2", q + attention(w.at("cross_attn_token_to_image"), q + q_pe, k + k_pe, k, heads), 1e-5)
    names = ("mlp.lin1", "mlp.lin2") if "mlp.lin1.weight" in w else ("mlp.layers.0", "mlp.layers.1")
    q = w.norm("norm3", q + w.linear(names[1], relu(w.linear(names[0], q))), 1e-5)
    k = w.norm("norm4", k + attention(w.at("cross_attn_image_to_token"), k + k_pe, q + q_pe, q, heads), 1e-5)
    return q, k


@pytest.mark.parametrize("prefix", ["", "SAM2"])
def test_two_way_transformer(prefix: str) -> None:
    cls = getattr(blocks, f"{prefix}TwoWayTransformer")
    module, w, tensors, (image, pe, points) = made(cls(2, 16, 2, 8), (16, 3, 2), (16, 3, 2), (4, 16))
    q, k = two_way_twice(w, image, pe, points)
    with torch.no_grad():
        found = module(*tensors)
    np.testing.assert_allclose(found[0][0].numpy(), q, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[1][0].numpy(), k, rtol=0, atol=1e-11)


def two_way_twice(w: Weights, image: Array, pe: Array, points: Array) -> tuple[Array, Array]:
    k, k_pe = (m.reshape(len(m), -1).T for m in (image, pe))
    q = points
    for index in range(2):
        q, k = two_way(w.at(f"layers.{index}"), q, k, points, k_pe, 2, skip=index == 0)
    q = q + attention(w.at("final_attn_token_to_image"), q + points, k + k_pe, k, 2)
    return w.norm("norm_final_attn", q, 1e-5), k


def enlarged(w: Weights, x: Array) -> Array:
    for step in ("0", "3"):
        squares = np.einsum("chw,cdij->dhiwj", x, w[f"{step}.weight"])
        x = squares.reshape(len(squares), 2 * x.shape[1], -1) + w[f"{step}.bias"][:, None, None]
        x = x if step == "3" else gelu(over_channels(lambda pixel: w.norm("1", pixel, 1e-6), x))
    return x


@pytest.mark.parametrize(("best", "alone"), [("single", False), ("of three", False), ("of three", True)])
def test_mask_decoder_hq(best: str, alone: bool) -> None:
    def perceptron(name: str, x: Array) -> Array:
        hidden = relu(w.linear(f"{name}.layers.1", relu(w.linear(f"{name}.layers.0", x))))
        return w.linear(f"{name}.layers.2", hidden)

    module = models.MaskDecoderHQ(16, blocks.TwoWayTransformer(2, 16, 2, 8), vit_dim=6)
    shapes = ((16, 3, 2), (16, 3, 2), (2, 16), (16, 3, 2), (3, 2, 6))
    decoder, w, tensors, (image, pe, prompts, dense, early) = made(module, *shapes)
    tokens = [*(w[f"{name}.weight"] for name in ("iou_token", "mask_tokens", "hf_token")), prompts]
    q, k = two_way_twice(w.at("transformer"), image + dense, pe, np.concatenate(tokens))
    large = gelu(enlarged(w.at("output_upscaling"), k.T.reshape(16, 3, 2)))
    ious = perceptron("iou_prediction_head", q[0])
    chosen = 0 if best == "single" else 1 + int(ious[1:].argmax())
    mask = perceptron(f"output_hypernetworks_mlps.{chosen}", q[1 + chosen]) @ large.reshape(2, -1)
    inside = w.conv("embedding_maskfeature.0", large, 1, 1)
    inside = gelu(over_channels(lambda x: w.norm("embedding_maskfeature.1", x, 1e-6), inside))
    pixels = enlarged(w.at("embedding_encoder"), image) + w.conv("embedding_maskfeature.3", inside, 1, 1)
    pixels += enlarged(w.at("compress_vit_feat"), early.transpose(2, 0, 1))
    sharper = perceptron("hf_mlp", q[5]) @ pixels.reshape(2, -1) + (0 if alone else mask)
    with torch.no_grad():
        found = decoder(*tensors[:4], best != "single", alone, tensors[4:])
    np.testing.assert_allclose(torch.cat([x.ravel() for x in found]), [*sharper, ious[chosen]], 0, 1e-10)


def rope_attention(
    w: Weights, q: Array, k: Array, v: Array, heads: int, grid: tuple[int, int], excluded: int = 0
) -> Array:
    q, k, v = w.linear("q_proj", q), w.linear("k_proj", k), w.linear("v_proj", v)
    turned = k.shape[0] - excluded
    k = np.concatenate((rotated(k[:turned], grid, heads), k[turned:])) if turned else k
    return w.linear("out_proj", heads_attention(rotated(q, grid, heads), k, v, heads))


@pytest.mark.parametrize(
    ("grid", "feat_sizes"), [((3, 3), (32, 32)), ((3, 2), (3, 2)), ((2, 8), (2, 8)), ((1, 1), (7, 7))]
)
@pytest.mark.parametrize("excluded", [0, 2])
def test_rope_attention(grid: tuple[int, int], feat_sizes: tuple[int, int], excluded: int) -> None:
    tokens = grid[0] * grid[1]
    module, w, tensors, (q, k) = made(
        blocks.RoPEAttention(16, 2, kv_in_dim=6, rope_k_repeat=True, feat_sizes=feat_sizes),
        (tokens, 16),
        (3 * tokens + excluded, 6),
    )
    expected = rope_attention(w, q, k, k, 2, grid, excluded)
    checked(module, expected[None], *tensors, tensors[1], num_k_exclude_rope=excluded)


@pytest.mark.parametrize("places", [(False, True, False), (True, False, True)])
def test_memory_attention_layer(places: tuple[bool, bool, bool]) -> None:
    at_self, at_keys, at_queries = places
    module, w, tensors, (x, memory, pos, query_pos) = made(
        blocks.MemoryAttentionLayer(
            16,
            8,
            pos_enc_at_attn=at_self,
            pos_enc_at_cross_attn_keys=at_keys,
            pos_enc_at_cross_attn_queries=at_queries,
        ),
        (4, 16),
        (9, 64),
        (9, 64),
        (4, 16),
    )
    n = w.norm("norm1", x, 1e-5)
    placed = n + query_pos * at_self
    x = x + rope_attention(w.at("self_attn"), placed, placed, n, 1, (2, 2))
    n = w.norm("norm2", x, 1e-5) + query_pos * at_queries
    x = x + rope_attention(w.at("cross_attn_image"), n, memory + pos * at_keys, memory, 1, (2, 2), 1)
    x = x + w.linear("linear2", relu(w.linear("linear1", w.norm("norm3", x, 1e-5))))
    checked(module, x[None], *tensors, num_k_exclude_rope=1)


def multi_scale_attention(w: Weights, x: Array, heads: int, stride: int | None) -> Array:
    q, k, v = np.split(w.linear("qkv", x), 3, axis=-1)
    if stride:
        q = max_pool(q, stride)
    tokens = [m.reshape(-1, m.shape[-1]) for m in (q, k, v)]
    return w.linear("proj", heads_attention(tokens[0], tokens[1], tokens[2], heads)).reshape(*q.shape[:2], -1)


@pytest.mark.parametrize(
    ("dim_out", "stride", "window", "size"),
    [
        (8, None, 0, (3, 4)),
        (8, None, 3, (7, 4)),
        (12, None, 3, (7, 6)),
        (12, 2, 4, (8, 8)),
        (12, 2, 4, (13, 9)),  # windows cover more than what is pooled
        (12, 2, 8, (13, 6)),
        (12, 2, 0, (7, 6)),  # pooled without windows
        (8, 2, 4, (6, 6)),  # pooled without wider channels
        (12, 3, 6, (9, 8)),
    ],
)
def test_multi_scale_block(dim_out: int, stride: int | None, window: int, size: tuple[int, int]) -> None:
    module, w, tensors, (x,) = made(
        blocks.MultiScaleBlock(
            8, dim_out, 2, q_stride=(stride, stride) if stride else None, window_size=window
        ),
        (*size, 8),
    )
    n = w.norm("norm1", x, 1e-6)
    shortcut = w.linear("proj", n) if dim_out != 8 else x
    shortcut = max_pool(shortcut, stride) if stride else shortcut
    y = np.zeros_like(shortcut)
    for top, left, part in windows_of(n, window) if window else [(0, 0, n)]:
        out = multi_scale_attention(w.at("attn"), part, 2, stride)
        top, left = top // (stride or 1), left // (stride or 1)
        place = y[top : top + out.shape[0], left : left + out.shape[1]]
        place[:] = out[: place.shape[0], : place.shape[1]]
    y = shortcut + y
    y = y + w.linear("mlp.layers.1", gelu(w.linear("mlp.layers.0", w.norm("norm2", y, 1e-6))))
    checked(module, y[None], *tensors)


def relative(table: Array, size: int) -> Array:
    """The row of a table for each pair of positions, for tables of the full length."""
    assert len(table) == 2 * size - 1
    return np.array([[table[i - j + size - 1] for j in range(size)] for i in range(size)])


@pytest.mark.parametrize("window", [0, 3])
def test_block_with_relative_positions(window: int) -> None:
    module, w, tensors, (x,) = made(
        blocks.Block(8, 2, use_rel_pos=True, window_size=window, input_size=(4, 5)), (4, 5, 8)
    )
    own = w.at("attn")
    n = w.norm("norm1", x, 1e-5)
    y = np.zeros_like(x)
    for top, left, part in windows_of(n, window) if window else [(0, 0, n)]:
        height, width, _ = part.shape
        rows, columns = relative(own["rel_pos_h"], height), relative(own["rel_pos_w"], width)
        q, k, v = np.split(own.linear("qkv", part).reshape(height * width, -1), 3, axis=-1)
        bias = np.zeros((2, height * width, height * width))
        for head, query in enumerate(np.split(q, 2, axis=-1)):
            for a in range(height * width):
                for b in range(height * width):
                    offset = rows[a // width, b // width] + columns[a % width, b % width]
                    bias[head, a, b] = query[a] @ offset
        out = own.linear("proj", heads_attention(q, k, v, 2, bias)).reshape(part.shape)
        place = y[top : top + height, left : left + width]
        place[:] = out[: place.shape[0], : place.shape[1]]
    y = x + y
    y = y + w.linear("mlp.lin2", gelu(w.linear("mlp.lin1", w.norm("norm2", y, 1e-5))))
    checked(module, y[None], *tensors)
