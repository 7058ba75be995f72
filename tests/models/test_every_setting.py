"""Every setting acts or is refused: each field of each config of each family takes another value."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.execution.fill import fill_, tensor
from samblocks.models import SAM2Model, SAMModel
from samblocks.models.build import assemble
from samblocks.models.sam2.config import SAM2ModelConfig
from samblocks.variants import (
    VARIANTS,
    HieraConfig,
    ImageEncoderViTConfig,
    MemoryConfig,
    PromptConfig,
    SAM2Variant,
    TinyViTConfig,
    Variant,
)

SIZE = 64
PROMPT = PromptConfig(
    embed_dim=32,
    mask_in_chans=8,
    transformer_num_heads=2,
    transformer_mlp_dim=16,
    iou_head_hidden_dim=16,
)
HIERA = HieraConfig(
    embed_dim=8, num_heads=1, stages=(1, 1, 1, 2), global_att_blocks=(2,), window_spec=(8, 4, 4, 2)
)
VIT = ImageEncoderViTConfig(
    embed_dim=16, depth=3, num_heads=2, global_attn_indexes=(1,), window_size=2, out_chans=32
)
TINY_VIT = TinyViTConfig(embed_dims=(8, 16, 16, 320), depths=(1, 1, 1, 2), num_heads=(1, 2, 2, 4))


def _small(name: str, trunk: Any, prompt: PromptConfig, **parts: Any) -> Variant:
    corners = VARIANTS[name].prompt.embed_corner_labels
    prompt = replace(prompt, embed_corner_labels=corners)
    return replace(VARIANTS[name], trunk=trunk, prompt=prompt, image_size=SIZE, **parts)


MEMORY = MemoryConfig(mem_dim=8, num_layers=1, dim_feedforward=16)
ROWS: dict[str, Variant] = {
    "sam": _small("sam_vit_b", VIT, PROMPT),
    "mobile_sam": _small("mobile_sam", TINY_VIT, replace(PROMPT, embed_dim=256)),
    "sam2": _small("sam2_hiera_tiny", HIERA, PROMPT, memory=MEMORY),
    "sam2.1": _small("sam2.1_hiera_tiny", HIERA, PROMPT, memory=MEMORY),
}
"""The released rows with fewer and narrower layers; every other setting is the released one."""

LABELS = {"name", "family", "only_in"}
ABOUT_PICTURES = {"pixel_mean", "pixel_std", "pixel_range"}
"""What a row says about the pictures that come in: SAM 2's models have no part that it could reach."""

OTHER: dict[str, tuple[Any, ...]] = {
    "fpn_top_down_levels": ((1, 2, 3), (2, 3, 4)),
    "fpn_interp_model": ("bilinear", "bicubic", "cubic"),
    "fuse_type": ("avg", "max"),
    "max_cond_frames_in_attn": (2,),
    "max_obj_ptrs_in_encoder": (2,),
    "local_conv_size": (5, 4),
    "trunk.embed_dim": (24,),
    "trunk.embed_dims": ((8, 16, 16, 448), (8, 16, 16, 160)),
    "dynamic_multimask_stability_delta": (1e-4,),
}
"""Other values than the ones that follow from the type: words, and numbers that a short clip can tell apart."""

REFUSED_ALONE = {
    ("*", "q_stride"): "the heads are made for levels of which each is half as fine as the one before",
    ("*", "q_pool"): "so a trunk that keeps its size once needs other top-down levels",
    ("*", "scalp"): "another coarsest level needs another backbone_stride",
    ("*", "backbone_stride"): "as before",
    ("sam", "out_chans"): "the decoder has as many channels: embed_dim",
    ("sam", "embed_dim"): "the prompts' channels are those of the image encoder: out_chans",
    ("mobile_sam", "embed_dim"): "its image encoder gives 256 channels, whatever its widths",
    ("sam2", "proj_tpos_enc_in_obj_ptrs"): "there is nothing to project without add_tpos_enc_to_obj_ptrs",
    ("sam2", "use_signed_tpos_enc_to_obj_ptrs"): "nor anything with a sign",
    ("sam2.1", "add_tpos_enc_to_obj_ptrs"): "what is added is projected",
    ("*", "pixel_range"): "SAM 1's models take pictures from 0 to 255",
    ("*", "pred_obj_scores"): "fixed_no_obj_ptr needs it",
    ("*", "use_obj_ptrs_in_encoder"): "as before",
    (
        "*",
        "directly_add_no_mem_embed",
    ): "one token for an empty memory has no place that it could be rotated by",
}
"""Settings that no model takes another value of while all others stay, and why; see `TOGETHER`."""

TOGETHER: list[tuple[str, dict[str, dict[str, Any]]]] = [
    ("sam", {"trunk": {"out_chans": 24}, "prompt": {"embed_dim": 24, "transformer_num_heads": 4}}),
    ("sam2.1", {"trunk": {"q_pool": 2}, "neck": {"fpn_top_down_levels": (1,)}}),
    ("sam2.1", {"neck": {"scalp": 0}, "tracking": {"backbone_stride": 32}}),
    ("sam2", {"tracking": {"add_tpos_enc_to_obj_ptrs": True, "proj_tpos_enc_in_obj_ptrs": True}}),
    ("sam2", {"tracking": {"add_tpos_enc_to_obj_ptrs": True, "use_signed_tpos_enc_to_obj_ptrs": True}}),
    (
        "sam2.1",
        {
            "tracking": dict.fromkeys(
                (
                    "add_tpos_enc_to_obj_ptrs",
                    "proj_tpos_enc_in_obj_ptrs",
                    "use_signed_tpos_enc_to_obj_ptrs",
                ),
                False,
            )
        },
    ),
    ("sam2", {"tracking": {"pred_obj_scores": False, "fixed_no_obj_ptr": False}}),
    ("sam2", {"tracking": {"use_obj_ptrs_in_encoder": False, "fixed_no_obj_ptr": False}}),
]
"""Settings of which one alone is refused, with what they need."""


def others(name: str, value: Any, part: str = "") -> tuple[Any, ...]:
    """Other values for a setting; those of a sequence differ at its end."""
    for known in (f"{part}.{name}", name):
        if known in OTHER:
            return OTHER[known]
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return tuple({value + 1, value * 2} - {value})
    if isinstance(value, float):
        return (value / 2 if value else 0.5,)
    assert isinstance(value, tuple), f"{name}={value!r}: say in OTHER what else it could be"
    return tuple((*value[:-1], last) for last in others("", value[-1]))


def settings() -> Iterator[tuple[str, str, str]]:
    """Family, part ("" for the row itself) and name of every setting that there is."""
    for family, row in ROWS.items():
        for part in fields(row):
            config = getattr(row, part.name)
            if is_dataclass(config):
                yield from ((family, part.name, setting.name) for setting in fields(config))
            elif part.name not in (LABELS | ABOUT_PICTURES if isinstance(row, SAM2Variant) else LABELS):
                yield family, "", part.name


def made(family: str, part: str, changes: dict[str, Any]) -> SAMModel | SAM2Model:
    """The family's small model with settings of one part changed: through an option where there is one."""
    row = ROWS[family]
    if part in ("prompt", "memory", "tracking", "multimask"):
        return assemble(row, **changes)
    if part:
        changes = {part: replace(getattr(row, part), **changes)}
    return assemble(replace(row, **changes))


def filled(model: SAMModel | SAM2Model) -> SAMModel | SAM2Model:
    """The model in double precision, with a value of its own in every tensor."""
    fill_(model.double())
    for name, parameter in model.named_parameters():
        if name.endswith("pred_obj_score_head.layers.2.bias"):
            parameter.data -= 0.82  # so that objects are seen in some steps and missed in others
    return model


def looks(model: SAMModel | SAM2Model) -> dict[str, Any]:
    """What can be seen of a model that does nothing: its tensors, their marks, its threshold."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    marks = {f"{name} lr": getattr(value, "lr_scale", 1.0) for name, value in model.named_parameters()}
    return {**shapes, **marks, "mask_threshold": model.mask_threshold}


@torch.no_grad()
def results(model: SAMModel | SAM2Model, video: Any) -> dict[str, Tensor]:
    """What a model gives in the mode that it is in."""
    torch.manual_seed(0)
    return followed(model, video) if isinstance(model, SAM2Model) else segmented(model)


def segmented(model: SAMModel) -> dict[str, Tensor]:
    """Masks of a picture for points of all labels and earlier logits."""
    record = {
        "image": tensor("picture", (3, 48, 64)) * 60 + 120,
        "original_size": (96, 128),
        "point_coords": torch.tensor([[[20.0, 30.0], [50.0, 10.0]], [[5.0, 5.0], [40.0, 40.0]]]),
        "point_labels": torch.tensor([[1, 0], [2, 3]]),
        "mask_inputs": tensor("earlier", (2, 1, 16, 16)).double(),
    }
    [found] = model([record], multimask_output=True)
    return found


def followed(model: SAM2Model, video: Any) -> dict[str, Tensor]:
    """Two objects followed through a clip, prompted in every way; and what the heads alone say."""
    mask = "mask" if model.image_size == SIZE else "box"  # the clip's masks are of that size
    clip = video(model)
    steps = clip.follow((0, "click"), (9, "box"), 1, 2, (2, "correction"), (4, mask), 5, 6)
    found = {f"{name} {step}": value for step, result in enumerate(steps) for name, value in result.items()}
    features, _, sizes = clip.features(0)
    maps = [x.permute(1, 2, 0).reshape(2, -1, *size) for x, size in zip(features, sizes, strict=True)]
    alone = model._forward_sam_heads(maps[-1], high_res_features=maps[:-1] or None, multimask_output=True)
    found |= {f"heads {place}": value for place, value in enumerate(alone)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def differs(a: dict[str, Any], b: dict[str, Any]) -> bool:
    if a.keys() != b.keys():
        return True
    return any(
        not torch.equal(one, b[name]) if isinstance(one, Tensor) else one != b[name]
        for name, one in a.items()
    )


class Usual:
    """The families' models with no setting changed, each run once in each mode."""

    def __init__(self, video: Any) -> None:
        self.video = video
        self.models = {family: filled(assemble(row)) for family, row in ROWS.items()}
        self.seen: dict[tuple[str, bool], dict[str, Any]] = {}

    def results(self, family: str, *, training: bool) -> dict[str, Any]:
        if (family, training) not in self.seen:
            self.seen[family, training] = results(self.models[family].train(training), self.video)
        return self.seen[family, training]

    def is_told_from(self, model: SAMModel | SAM2Model, family: str) -> bool:
        """Whether a model differs by its looks, by what it gives, or by what it gives in training."""
        gives = results(filled(model), self.video)  # first of all it has to run
        return (
            differs(looks(model), looks(self.models[family]))
            or differs(gives, self.results(family, training=False))
            or differs(results(model.train(), self.video), self.results(family, training=True))
        )

    def outcome(self, family: str, part: str, changes: dict[str, Any]) -> bool | str:
        """Whether the changes are seen, or the sentence by which they are refused."""
        try:
            return self.is_told_from(made(family, part, changes), family)
        except ValueError as error:
            return str(error)


@pytest.fixture(scope="module")
def usual(video: Any) -> Usual:
    return Usual(video)


@pytest.mark.parametrize("family", ["sam2", "sam2.1"])
def test_the_clip_is_not_blind(family: str, usual: Usual) -> None:
    scores = [value for name, value in usual.results(family, training=False).items() if "score" in name]
    assert min(float(score.min()) for score in scores) < 0 < max(float(score.max()) for score in scores)
    assert not usual.is_told_from(assemble(ROWS[family]), family)


@pytest.mark.parametrize(("family", "part", "name"), list(settings()))
def test_a_setting_acts_or_is_refused(family: str, part: str, name: str, usual: Usual) -> None:
    config = getattr(ROWS[family], part) if part else ROWS[family]
    acted = False
    for value in others(name, getattr(config, name), part):
        found = usual.outcome(family, part, {name: value})
        assert found is True or (isinstance(found, str) and name in found), f"{value!r}: {found}"
        acted |= found is True
    alone = part != "trunk" or name != "embed_dim"  # the trunk's own width is free
    refused = alone and bool({("*", name), (family, name)} & REFUSED_ALONE.keys())
    assert acted is not refused


@pytest.mark.parametrize(
    ("family", "parts"), TOGETHER, ids=lambda value: "-".join(value) if isinstance(value, dict) else value
)
def test_settings_that_are_refused_alone_act_together(
    family: str, parts: dict[str, dict[str, Any]], usual: Usual
) -> None:
    row = ROWS[family]
    changed = {part: replace(getattr(row, part), **changes) for part, changes in parts.items()}
    assert usual.is_told_from(assemble(replace(row, **changed)), family)


def refusal(model: SAM2Model, name: str, value: object) -> str:
    """The sentence by which an attribute is not set, empty where it is."""
    try:
        setattr(model, name, value)
    except (AttributeError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", [field.name for field in fields(SAM2ModelConfig)])
def test_an_attribute_of_the_model_acts_or_is_refused(name: str, video: Any) -> None:
    model = assemble(ROWS["sam2.1"])
    assert isinstance(model, SAM2Model)
    before = getattr(model.config, name)
    if name == "no_obj_embed_spatial":  # the model has a parameter of this name
        assert isinstance(model.no_obj_embed_spatial, torch.nn.Parameter)
        return
    assert getattr(model, name) == before
    value = others(name, before)[0] if isinstance(before, bool | int | float) else None
    refused = refusal(model, name, value)
    if refused:
        assert name in refused
        assert getattr(model, name) == before
        return
    assert getattr(model, name) == getattr(model.config, name) == value
    same = made("sam2.1", "tracking", {name: value})
    if name == "directly_add_no_mem_embed":  # refused by the first frame
        assert isinstance(same, SAM2Model)
        assert model.config == same.config
    else:
        assert not differs(results(filled(model), video), results(filled(same), video))
