"""Memory attention and the memory encoder: layouts, encodings, purity, precision, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution.fill import fill_, tensor
from samblocks.blocks import Attention, MemoryAttentionLayer, PositionEmbeddingSine, RoPEAttention
from samblocks.models import MemoryAttention, MemoryEncoder

DIM, MEMORY = 16, 8


def attention(
    *,
    layers: int = 2,
    position: bool = True,
    batch_first: bool = True,
    cross: nn.Module | None = None,
    dropout: float = 0.0,
) -> MemoryAttention:
    layer = MemoryAttentionLayer(
        DIM,
        dim_feedforward=24,
        dropout=dropout,
        self_attn=RoPEAttention(DIM, 1, dropout=dropout),
        cross_attn=cross or RoPEAttention(DIM, 1, kv_in_dim=MEMORY, rope_k_repeat=True, dropout=dropout),
    )
    return fill_(MemoryAttention(DIM, position, layer, 2, batch_first)).eval()


def inputs(dtype: torch.dtype = torch.float32, pointers: int = 4) -> dict[str, Any]:
    tokens = 2 * 16 + pointers
    return {
        "curr": tensor("curr", (16, 3, DIM), dtype),
        "memory": tensor("memory", (tokens, 3, MEMORY), dtype),
        "curr_pos": tensor("curr_pos", (16, 3, DIM), dtype),
        "memory_pos": tensor("memory_pos", (tokens, 3, MEMORY), dtype),
        "num_obj_ptr_tokens": pointers,
    }


def encoder(**changes: Any) -> MemoryEncoder:
    arguments = {"out_dim": MEMORY, "in_dim": DIM, "position_encoding": PositionEmbeddingSine(8), **changes}
    return fill_(MemoryEncoder(**arguments)).eval()


def test_attention_is_its_layers_and_a_norm() -> None:
    module, given = attention(), inputs()
    x = (given["curr"] + 0.1 * given["curr_pos"]).transpose(0, 1)
    for layer in module.layers:
        x = layer(
            x,
            given["memory"].transpose(0, 1),
            given["memory_pos"].transpose(0, 1),
            given["curr_pos"].transpose(0, 1),
            num_k_exclude_rope=4,
        )
    assert torch.equal(module(**given), module.norm(x).transpose(0, 1))


def test_layers_are_copies_with_weights_of_their_own() -> None:
    module = MemoryAttention(DIM, True, MemoryAttentionLayer(DIM, 24), num_layers=2)
    first, second = (module.get_parameter(f"layers.{layer}.linear1.weight") for layer in (0, 1))
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()
    assert list(module.state_dict())[-2:] == ["norm.weight", "norm.bias"]
    assert module.norm.eps == 1e-5


def test_position_at_the_input_is_an_option() -> None:
    given = inputs()
    without = attention(position=False)(**given)
    assert not torch.allclose(attention()(**given), without)
    shifted = {**given, "curr_pos": given["curr_pos"] + 1}
    assert torch.equal(attention(position=False)(**shifted), without)


def test_lists_of_one_tensor_are_taken() -> None:
    module, given = attention(), inputs()
    listed = {**given, "curr": [given["curr"]], "curr_pos": [given["curr_pos"]]}
    assert torch.equal(module(**listed), module(**given))


def test_positions_may_be_left_out() -> None:
    module, given = attention(), inputs()
    zero = {**given, "curr_pos": torch.zeros(16, 3, DIM), "memory_pos": torch.zeros(36, 3, MEMORY)}
    bare = {name: value for name, value in given.items() if not name.endswith("_pos")}
    torch.testing.assert_close(module(**bare), module(**zero))


def test_pointers_have_no_place_in_the_image() -> None:
    module, given = attention(), inputs()
    order = torch.cat((torch.arange(32), torch.tensor([34, 32, 35, 33])))
    swapped = {**given, "memory": given["memory"][order], "memory_pos": given["memory_pos"][order]}
    torch.testing.assert_close(module(**swapped), module(**given))
    order = torch.cat((torch.arange(16).flip(0), torch.arange(16, 36)))
    moved = {**given, "memory": given["memory"][order], "memory_pos": given["memory_pos"][order]}
    assert not torch.allclose(module(**moved), module(**given), atol=1e-3)


def test_layers_may_want_the_batch_second() -> None:
    first, second, given = attention(), attention(batch_first=False), inputs()
    turned = {name: x.transpose(0, 1) if isinstance(x, Tensor) else x for name, x in given.items()}
    assert torch.equal(second(**turned), first(**given).transpose(0, 1))


def test_attention_without_rotation_takes_pointers_as_they_are() -> None:
    plain = Attention(DIM, 1, kv_in_dim=MEMORY)
    module, given = attention(cross=plain), inputs()
    assert torch.equal(module(**given), module(**{**given, "num_obj_ptr_tokens": 0}))


def test_attention_refuses_what_does_not_fit() -> None:
    module, given = attention(), inputs()
    with pytest.raises(ValueError, match="its batch size is 2, must be that of curr, 3"):
        module(**{**given, "memory": given["memory"][:, :2]})
    with pytest.raises(ValueError, match="curr: a list of 2 tensors"):
        module(**{**given, "curr": [given["curr"]] * 2})
    with pytest.raises(ValueError, match="curr_pos: a list of 0 tensors"):
        module(**{**given, "curr_pos": []})


def test_dropout_acts_in_training_only() -> None:
    module, given = attention(dropout=0.5), inputs()
    assert torch.equal(module(**given), attention()(**given))
    module.train()
    torch.manual_seed(0)
    first = module(**given)
    torch.manual_seed(0)
    assert torch.equal(first, module(**given))
    assert not torch.allclose(first, module(**given))


def test_encoder_blends_image_and_mask() -> None:
    module = encoder()
    image, mask = tensor("image", (2, DIM, 4, 6)), tensor("mask", (2, 1, 64, 96))
    memory = module(image, mask)
    blended = module.pix_feat_proj(image) + module.mask_downsampler(mask.sigmoid())
    expected = module.out_proj(module.fuser(blended))
    assert torch.equal(memory["vision_features"], expected)
    assert memory["vision_features"].shape == (2, MEMORY, 4, 6)
    (code,) = memory["vision_pos_enc"]
    assert torch.equal(code, module.position_encoding(expected))
    finished = module(image, mask.sigmoid(), skip_mask_sigmoid=True)["vision_features"]
    assert torch.equal(finished, expected)


def test_encoder_keys_and_shapes_as_released() -> None:
    with torch.device("meta"):
        released = MemoryEncoder(out_dim=64)
    shapes = {name: tuple(value.shape) for name, value in released.state_dict().items()}
    assert len(shapes) == 40
    assert shapes["mask_downsampler.encoder.12.weight"] == (256, 256, 1, 1)
    assert shapes["pix_feat_proj.weight"] == (256, 256, 1, 1)
    assert shapes["fuser.layers.1.gamma"] == (256,)
    assert shapes["out_proj.weight"] == (64, 256, 1, 1)
    assert released.position_encoding.num_pos_feats == 32


def test_encoder_without_projection_and_with_resized_masks() -> None:
    plain = encoder(out_dim=DIM, position_encoding=None)
    assert isinstance(plain.out_proj, nn.Identity)
    memory = plain(tensor("image", (1, DIM, 4, 4)), tensor("mask", (1, 1, 64, 64)))
    assert memory["vision_features"].shape == (1, DIM, 4, 4)
    assert memory["vision_pos_enc"][0].shape == (1, 64, 4, 4)
    resized = encoder(interpol_size=(64, 64))
    memory = resized(tensor("image", (1, DIM, 4, 4)), tensor("mask", (1, 1, 40, 40)))
    assert memory["vision_features"].shape == (1, MEMORY, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("make", [attention, encoder])
def test_precisions_repeats_and_unharmed_inputs(make: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    module = make().to(dtype)
    given = (
        inputs(dtype)
        if isinstance(module, MemoryAttention)
        else {"pix_feat": tensor("i", (2, DIM, 4, 4), dtype), "masks": tensor("m", (2, 1, 64, 64), dtype)}
    )
    kept = {name: x.clone() if isinstance(x, Tensor) else x for name, x in given.items()}

    def run(module: nn.Module, given: dict[str, Any]) -> Tensor:
        out = module(**given)
        return out["vision_features"] if isinstance(out, dict) else out

    first, second = run(module, given), run(module, given)
    assert first.dtype == dtype
    assert torch.equal(first, second)
    assert all(torch.equal(given[name], x) for name, x in kept.items() if isinstance(x, Tensor))
    wide = {name: x.double() if isinstance(x, Tensor) else x for name, x in given.items()}
    exact = run(module.double(), wide)
    tolerance = {torch.float64: 0.0, torch.float32: 1e-5}.get(dtype, 0.1)
    assert (first - exact).abs().max() <= tolerance * exact.abs().max()


@pytest.mark.parametrize("make", [attention, encoder])
def test_gradients_reach_everything(make: Callable[[], nn.Module]) -> None:
    module = make()
    if isinstance(module, MemoryAttention):
        out = module(**inputs())
    else:
        out = module(tensor("i", (1, DIM, 4, 4)), tensor("m", (1, 1, 64, 64)))["vision_features"]
    # Weighted by place: a plain sum of normed values would be blind to most weights.
    (out * tensor("weight", out.shape)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
