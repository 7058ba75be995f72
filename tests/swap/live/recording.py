"""transformers: hidden states, attention weights and gradient checkpointing, asked for around a swap."""

import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import SamConfig, SamModel

from samblocks import SwapError, swap_blocks

X, POINT = torch.randn(1, 3, 128, 128), torch.tensor([[[[30.0, 40.0]]]])


def fresh():
    vision = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 128,
        "window_size": 4,
        "global_attn_indexes": [1],
        "output_channels": 32,
        "mlp_dim": 128,
        "num_pos_feats": 16,
    }
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    prompts = {"hidden_size": 32, "image_size": 128}
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    return SamModel(config).eval()


def asked(model, what):
    """Every tensor that was recorded, or the error."""
    try:
        with torch.no_grad():
            found = model(pixel_values=X, input_points=POINT, **{what: True})
    except SwapError as error:
        return str(error)
    names = ("vision_hidden_states", "vision_attentions", "mask_decoder_attentions")
    return [tensor for name in names for tensor in (found.get(name) or ())]


def alike(a, b):
    return len(a) == len(b) and all(torch.allclose(x, y, atol=1e-5) for x, y in zip(a, b, strict=True))


def bytes_saved(model):
    """What a forward pass keeps for the backward pass."""
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(pixel_values=X, input_points=POINT).pred_masks.sum()
    return sum(sizes)


def parts(prefix):
    return lambda module, path: path.startswith(prefix)


for what, prefix in (
    ("output_hidden_states", ""),
    ("output_attentions", ""),
    ("output_attentions", "mask_decoder"),
    ("output_attentions", "vision_encoder.layers"),
):
    expected = asked(fresh(), what)
    assert len(expected) >= 3
    for before in (False, True):
        model = fresh()
        if before:
            asked(model, what)
        report = swap_blocks(model, parts(prefix))
        assert "undo the swap" in asked(model, what), (what, prefix, before)
        report.undo()
        assert alike(asked(model, what), expected), (what, prefix, before)
for prefix in ("mask_decoder", "vision_encoder.layers"):
    model = fresh()
    report = swap_blocks(model, parts(prefix))
    assert alike(asked(model, "output_hidden_states"), asked(fresh(), "output_hidden_states"))
    report.undo()
    assert alike(asked(model, "output_hidden_states"), asked(fresh(), "output_hidden_states"))

plain = bytes_saved(fresh().train())
model = fresh().train()
model.activation_checkpointing_enable()
less = bytes_saved(model)
assert less < 0.6 * plain
report = swap_blocks(model)
assert bytes_saved(model) <= 1.01 * less
assert all(
    "checkpointing" in row.reason for row in report.kept if row.path.endswith(("layers.0", "layers.1"))
)
model = fresh().train()
swap_blocks(model)
assert bytes_saved(model) <= 1.01 * plain
model.activation_checkpointing_enable()  # now it is ours that runs again
assert bytes_saved(model) <= 1.01 * less
