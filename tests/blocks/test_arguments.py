"""A wrong argument is named: every block and model × every tensor × number of axes, channels, dtype, device."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution.fill import fill_
from samblocks import blocks, models
from samblocks.blocks.arguments import ArgumentError, checks_arguments
from samblocks.models.tiny_vit.tiny_vit import TinyViT


def maps(*sizes: int) -> Tensor:
    return torch.linspace(-1, 1, int(torch.tensor(sizes).prod())).reshape(sizes)


def decoder_inputs() -> dict[str, Any]:
    image = maps(1, 16, 4, 4)
    return {
        "image_embeddings": image,
        "image_pe": image,
        "sparse_prompt_embeddings": maps(1, 2, 16),
        "dense_prompt_embeddings": image,
        "multimask_output": True,
    }


def memory_layer() -> nn.Module:
    return blocks.MemoryAttentionLayer(
        8,
        16,
        0.0,
        pos_enc_at_attn=True,
        pos_enc_at_cross_attn_queries=True,
        self_attn=blocks.RoPEAttention(8, 1, feat_sizes=(2, 2)),
        cross_attn=blocks.RoPEAttention(8, 1, feat_sizes=(2, 2), kv_in_dim=4),
    )


def sam2_encoder() -> Any:
    trunk = models.Hiera(
        embed_dim=8, num_heads=1, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(2, 2, 2, 2)
    )
    return models.ImageEncoder(trunk, models.FpnNeck(8, trunk.channel_list, fpn_interp_model="nearest"))


TOKENS, MAP, LAST = maps(1, 5, 8), maps(1, 8, 6, 6), maps(1, 4, 4, 8)
QKV = {"q": TOKENS, "k": TOKENS, "v": TOKENS}
TABLE: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "LayerNorm2d": (lambda: blocks.LayerNorm2d(8), {"x": MAP}),
    "MLP": (lambda: blocks.MLP(8, 16, 8, 2), {"x": TOKENS}),
    "MLPBlock": (lambda: blocks.MLPBlock(8, 16), {"x": TOKENS}),
    "PatchEmbed": (lambda: blocks.PatchEmbed((2, 2), (2, 2), (0, 0), 8, 4), {"x": MAP}),
    "Attention": (lambda: blocks.Attention(8, 2), QKV),
    "RoPEAttention": (
        lambda: blocks.RoPEAttention(8, 2, feat_sizes=(2, 2)),
        dict.fromkeys("qkv", maps(1, 4, 8)),
    ),
    "TwoWayAttentionBlock": (
        lambda: blocks.TwoWayAttentionBlock(8, 2, 16),
        {"queries": TOKENS, "keys": TOKENS, "query_pe": TOKENS, "key_pe": TOKENS},
    ),
    "SAM2TwoWayAttentionBlock": (
        lambda: blocks.SAM2TwoWayAttentionBlock(8, 2, 16),
        {"queries": TOKENS, "keys": TOKENS, "query_pe": TOKENS, "key_pe": TOKENS},
    ),
    "TwoWayTransformer": (
        lambda: blocks.TwoWayTransformer(1, 8, 2, 16),
        {"image_embedding": MAP, "image_pe": MAP, "point_embedding": TOKENS},
    ),
    "SAM2TwoWayTransformer": (
        lambda: blocks.SAM2TwoWayTransformer(1, 8, 2, 16),
        {"image_embedding": MAP, "image_pe": MAP, "point_embedding": TOKENS},
    ),
    "PositionEmbeddingSine": (lambda: blocks.PositionEmbeddingSine(8), {"x": MAP}),
    "Block": (lambda: blocks.Block(8, 2, window_size=2), {"x": LAST}),
    "REAttention": (lambda: blocks.REAttention(8, 2), {"x": LAST}),
    "MultiScaleBlock": (lambda: blocks.MultiScaleBlock(8, 8, 2, window_size=2), {"x": LAST}),
    "MultiScaleAttention": (lambda: blocks.MultiScaleAttention(8, 8, 2), {"x": LAST}),
    "MaskDownSampler": (lambda: blocks.MaskDownSampler(8), {"x": maps(1, 1, 16, 16)}),
    "CXBlock": (lambda: blocks.CXBlock(8), {"x": MAP}),
    "Fuser": (lambda: blocks.Fuser(blocks.CXBlock(8), 1), {"x": MAP}),
    "DropPath": (lambda: blocks.DropPath(0.5), {}),  # takes anything
    "PositionEmbeddingRandom": (lambda: blocks.PositionEmbeddingRandom(4), {}),  # below
    "MemoryAttentionLayer": (
        memory_layer,
        {"tgt": maps(1, 4, 8), "memory": maps(1, 4, 4), "pos": maps(1, 4, 4), "query_pos": maps(1, 4, 8)},
    ),
    "MemoryAttention": (
        lambda: models.MemoryAttention(8, True, memory_layer(), 1, batch_first=False),
        {
            "curr": maps(4, 1, 8),
            "memory": maps(4, 1, 4),
            "curr_pos": maps(4, 1, 8),
            "memory_pos": maps(4, 1, 4),
        },
    ),
    "MemoryEncoder": (
        lambda: models.MemoryEncoder(4, 8, mask_downsampler=blocks.MaskDownSampler(8)),
        {"pix_feat": maps(1, 8, 2, 2), "masks": maps(1, 1, 32, 32)},
    ),
    "ImageEncoderViT": (
        lambda: models.ImageEncoderViT(32, 8, 3, 16, depth=1, num_heads=2, out_chans=8),
        {"x": maps(1, 3, 32, 32)},
    ),
    "Hiera": (lambda: sam2_encoder().trunk, {"x": maps(1, 3, 64, 64)}),
    "ImageEncoder": (sam2_encoder, {"sample": maps(1, 3, 64, 64)}),
    "MaskDecoder": (
        lambda: models.MaskDecoder(transformer_dim=16, transformer=blocks.TwoWayTransformer(1, 16, 2, 16)),
        decoder_inputs(),
    ),
    "MaskDecoderHQ": (
        lambda: models.MaskDecoderHQ(
            transformer_dim=16, transformer=blocks.TwoWayTransformer(1, 16, 2, 16), vit_dim=8
        ),
        decoder_inputs() | {"hq_token_only": False, "interm_embeddings": [maps(1, 4, 4, 8)]},
    ),
    "SAM2MaskDecoder": (
        lambda: models.SAM2MaskDecoder(
            transformer_dim=16, transformer=blocks.SAM2TwoWayTransformer(1, 16, 2, 16)
        ),
        decoder_inputs() | {"repeat_image": False},
    ),
    "PromptEncoder": (
        lambda: models.PromptEncoder(8, (4, 4), (64, 64), 16),
        {"points": None, "boxes": maps(1, 4), "masks": maps(1, 1, 16, 16)},
    ),
    "TinyViT": (
        lambda: TinyViT(64, embed_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
        {"x": maps(1, 3, 64, 64)},
    ),
}
"""A block or model, and inputs that it takes."""

ELSEWHERE = {"FpnNeck", "SAM2Model", "SAMModel", "SAMModelHQ"}
"""What takes more than tensors: their own tests hold what they refuse, and those below."""


def wrong(name: str, argument: str, value: Tensor, kind: str, module: nn.Module) -> Tensor | None:
    """The value made wrong in one way; None where that is not wrong for this argument."""
    says = re.search(rf"^ +{argument}: (.*)", inspect.getdoc(type(module).forward) or "", re.MULTILINE)
    assert says, f"the docstring of {name} does not say what {argument} is"
    if kind == "more axes":
        takes_more = "..." in says.group(1) or argument == "boxes"  # [B, 1, 4] is read as it is meant
        return None if takes_more else value.unsqueeze(0)
    if kind == "fewer axes":
        return value[0] if "..." not in says.group(1) else value.flatten()[0]
    if kind == "channels":
        axis = 1 if re.search(r"\[\w+, (C|1|in_chans), ", says.group(1)) else -1
        takes_any = name == "PositionEmbeddingSine"
        return None if takes_any else torch.cat((value, value), axis)
    if not list(module.parameters()):
        return None
    if kind == "dtype":
        # These are converted, as upstream does.
        converted = argument in ("boxes", "masks") or name in ("LayerNorm2d", "MaskDownSampler")
        return None if converted else value.double()
    return (
        None if name == "PatchEmbed" else value.to("meta")
    )  # torch's convolution takes meta with any weights


ROWS = [
    (name, argument, kind)
    for name, (_, inputs) in TABLE.items()
    for argument, value in inputs.items()
    if isinstance(value, Tensor)
    for kind in ("more axes", "fewer axes", "channels", "dtype", "device")
]


@pytest.mark.parametrize(("name", "argument", "kind"), ROWS)
def test_what_is_wrong_is_named(name: str, argument: str, kind: str) -> None:
    make, inputs = TABLE[name]
    module = fill_(make()).eval()
    value = inputs[argument]
    assert isinstance(value, Tensor)
    bad = wrong(name, argument, value, kind, module)
    if bad is None:
        return
    with torch.no_grad(), pytest.raises(ValueError, match=argument):
        module(**{**inputs, argument: bad})


@pytest.mark.parametrize("name", TABLE)
def test_what_is_right_is_taken(name: str) -> None:
    make, inputs = TABLE[name]
    if inputs:
        with torch.no_grad():
            fill_(make()).eval()(**inputs)


def test_every_block_and_model_is_in_the_table() -> None:
    kinds = {
        name
        for package in (blocks, models)
        for name in package.__all__
        if isinstance(getattr(package, name), type) and issubclass(getattr(package, name), nn.Module)
    }
    assert kinds - ELSEWHERE == set(TABLE)


def test_levels_points_and_coordinates_are_named() -> None:
    neck = models.FpnNeck(8, [16, 8], fpn_interp_model="nearest")
    fine, coarse = maps(1, 8, 4, 4), maps(1, 16, 2, 2)
    for levels, words in (
        ([fine], "has 1 levels"),
        ([fine[0], coarse], "level 0"),
        ([fine, fine], "level 1"),
    ):
        with pytest.raises(ValueError, match=f"xs: .*{words}|xs: {words}"):
            neck(levels)
    prompts = models.PromptEncoder(8, (4, 4), (64, 64), 16)
    for points in (
        (maps(1, 2), torch.ones(1, 1)),
        (maps(1, 1, 3), torch.ones(1, 1)),
        (maps(1, 1, 2), torch.ones(1)),
    ):
        with pytest.raises(ValueError, match="points"):
            prompts(points, None, None)
    with pytest.raises(ValueError, match=r"coords_input must be \[B, N, 2\]"):
        blocks.PositionEmbeddingRandom(4).forward_with_coords(maps(3, 2), (4, 4))
    assert hasattr(models.SAM2Model.forward_image, "__wrapped__")


def test_the_innermost_is_not_named_where_the_outermost_was_given_it() -> None:
    block = fill_(blocks.TwoWayAttentionBlock(8, 2, 16))
    with pytest.raises(
        ArgumentError, match=r"keys must be \[B, M, C\] with C=8, got the shape \(1, 5, 6\)"
    ) as error:
        block(TOKENS, maps(1, 5, 6), TOKENS, maps(1, 5, 6))
    assert isinstance(error.value.__cause__, Exception)


def test_other_errors_go_on_as_they_are() -> None:
    @checks_arguments(C="weight")
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            """Fail.

            Args:
                x: [B, C]
            """
            raise RuntimeError("of its own")

    with pytest.raises(RuntimeError, match="of its own"):
        Broken()(maps(2, 3))
    with pytest.raises(ArgumentError, match=r"x must be \[B, C\] with C=3, got the shape \(2, 4\)"):
        Broken()(maps(2, 4))


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning")
def test_graphs_hold_nothing_of_it() -> None:
    block = fill_(blocks.MLPBlock(8, 16)).eval()
    with torch.no_grad():
        expected = block(TOKENS)
        exported = torch.export.export(block, (TOKENS,)).module()(TOKENS)
        compiled = torch.compile(block, backend="eager", fullgraph=True)(TOKENS)
        traced = torch.jit.trace(block, (TOKENS,))(TOKENS)
    assert all(torch.equal(found, expected) for found in (exported, compiled, traced))


def _others(value: Tensor) -> dict[str, Any]:
    return {
        "text": "x",
        "list": value.tolist(),
        "sparse": value.to_sparse(),
        "empty": value[..., :0],
    }


@pytest.mark.parametrize("name", TABLE)
def test_what_is_no_dense_tensor_with_values_is_named(name: str) -> None:
    make, inputs = TABLE[name]
    module = fill_(make()).eval()
    for argument, value in inputs.items():
        if not isinstance(value, Tensor):
            continue
        for kind, other in _others(value).items():
            with torch.no_grad():
                told = _refusal(module, {**inputs, argument: other})
            assert told is None or argument in told, f"{argument} {kind}: {told}"


def _refusal(module: nn.Module, inputs: dict[str, Any]) -> str | None:
    """What a call is refused with, None where it is not; anything but a wrong argument is an error of the test."""
    try:
        module(**inputs)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def test_tensors_in_a_list_are_named() -> None:
    neck = models.FpnNeck(8, [16, 8], fpn_interp_model="nearest").eval()
    fine, coarse = maps(1, 8, 4, 4), maps(1, 16, 2, 2)
    neck([fine, coarse])
    for wrong, words in (
        (fine.double(), r"xs\[0\] is float64, the module's weights are float32"),
        (fine.to("meta"), r"xs\[0\] is on meta"),
        ("x", r"xs\[0\] must be a tensor, got str"),
        (fine[0, 0], "xs: level 0 must be"),
    ):
        with pytest.raises(ValueError, match=words):
            neck([wrong, coarse])
    with pytest.raises(ValueError, match="xs must be a list of tensors, got int"):
        neck(3)


def _in_levels() -> dict[str, Any]:
    maps_in = decoder_inputs() | {"repeat_image": False}
    return maps_in | {"high_res_features": [maps(1, 2, 16, 16), maps(1, 4, 8, 8)]}


DISAGREEING = {
    "MaskDecoder image_pe": r"image_pe has W=8 in its shape \(1, 16, 4, 8\), image_embeddings has W=4",
    "MaskDecoder image_embeddings": "image_pe has W=4 .*, image_embeddings has W=8",
    "MaskDecoder dense_prompt_embeddings": "dense_prompt_embeddings has W=8 .*, image_embeddings has W=4",
    "SAM2MaskDecoder high_res_features 0": r"high_res_features\[0\] has 4W=32 .*, image_embeddings has W=4",
    "SAM2MaskDecoder high_res_features 1": r"high_res_features\[1\] has 2W=16 .*, image_embeddings has W=4",
    "MaskDecoderHQ interm_embeddings 0": r"interm_embeddings\[0\] has the shape .*, image_embeddings",
    "MemoryEncoder masks": r"masks of the shape \(1, 1, 32, 64\) become \(2, 4\) in height and width, pix_feat",
    "FpnNeck xs 0": r"xs: level 0 has the height and width \(4, 8\), and not twice those of level 1, \(2, 2\)",
}
"""By block and argument, and its place in a list: what is said when that tensor alone is twice as wide."""

WITH_LISTS = TABLE | {
    "SAM2MaskDecoder": (
        lambda: models.SAM2MaskDecoder(
            16, blocks.SAM2TwoWayTransformer(1, 16, 2, 16), use_high_res_features=True
        ),
        _in_levels(),
    ),
    "FpnNeck": (
        lambda: models.FpnNeck(8, [16, 8], fpn_interp_model="nearest"),
        {"xs": [maps(1, 8, 4, 4), maps(1, 16, 2, 2)]},
    ),
}


@pytest.mark.parametrize("which", DISAGREEING)
def test_arguments_that_disagree_are_named(which: str) -> None:
    block, name, *place = which.split()
    make, inputs = WITH_LISTS[block]
    module = fill_(make()).eval()
    module(**inputs)
    given = inputs[name] if place else [inputs[name]]
    number = int(place[0]) if place else 0
    axis = -2 if name == "interm_embeddings" else -1
    wider = torch.cat([given[number]] * 2, axis)
    spoiled = [wider if at == number else value for at, value in enumerate(given)]
    with pytest.raises(ValueError, match=DISAGREEING[which]):
        module(**{**inputs, name: spoiled if place else wider})
