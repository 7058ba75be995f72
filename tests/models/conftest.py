"""A SAM 2 of a few thousand numbers, and a driver that leads it through a video."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from parity.execution.fill import fill_, tensor
from samblocks.blocks import MemoryAttentionLayer, PositionEmbeddingSine, RoPEAttention
from samblocks.models import FpnNeck, Hiera, ImageEncoder, MemoryAttention, MemoryEncoder, SAM2Model

DIM, MEMORY, SIZE = 32, 8, 64

# What the released models have in common, and 2.1's own settings.
SETTINGS: dict[str, Any] = {
    "image_size": SIZE,
    "sigmoid_scale_for_mem_enc": 20.0,
    "sigmoid_bias_for_mem_enc": -10.0,
    "use_mask_input_as_output_without_sam": True,
    "directly_add_no_mem_embed": True,
    "use_high_res_features_in_sam": True,
    "multimask_output_in_sam": True,
    "multimask_min_pt_num": 0,
    "multimask_max_pt_num": 1,
    "multimask_output_for_tracking": True,
    "use_multimask_token_for_obj_ptr": True,
    "iou_prediction_use_sigmoid": True,
    "use_obj_ptrs_in_encoder": True,
    "proj_tpos_enc_in_obj_ptrs": True,
    "use_signed_tpos_enc_to_obj_ptrs": True,
    "only_obj_ptrs_in_the_past_for_eval": True,
    "pred_obj_scores": True,
    "pred_obj_scores_mlp": True,
    "fixed_no_obj_ptr": True,
    "use_mlp_for_obj_ptr_proj": True,
    "no_obj_embed_spatial": True,
}

PROMPTS: dict[str, dict[str, Tensor]] = {
    "click": {
        "point_coords": torch.tensor([[[15.0, 20.0]], [[45.0, 30.0]]]),
        "point_labels": torch.tensor([[1], [1]]),
    },
    "box": {
        "point_coords": torch.tensor([[[8.0, 10.0], [38.0, 42.0]], [[25.0, 15.0], [60.0, 50.0]]]),
        "point_labels": torch.tensor([[2, 3], [2, 3]]),
    },
    "correction": {
        "point_coords": torch.tensor([[[22.0, 25.0], [50.0, 8.0]], [[5.0, 55.0], [33.0, 33.0]]]),
        "point_labels": torch.tensor([[1, 0], [0, 1]]),
    },
}


def masks() -> Tensor:
    drawn = torch.zeros(2, 1, SIZE, SIZE)
    drawn[0, 0, 10:38, 15:50] = 1
    drawn[1, 0, 25:55, 8:22] = 1
    return drawn


def make_sam2(
    *, layers: int = 1, dropout: float = 0.0, drop_path_rate: float = 0.0, **changes: Any
) -> SAM2Model:
    """The small model with a value of its own in every tensor, in evaluation mode."""
    trunk = Hiera(8, 1, drop_path_rate, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(8, 4, 4, 2))
    neck = FpnNeck(
        DIM,
        trunk.channel_list,
        fpn_interp_model="nearest",
        fpn_top_down_levels=[2, 3],
        position_encoding=PositionEmbeddingSine(DIM),
    )
    layer = MemoryAttentionLayer(
        DIM,
        dim_feedforward=48,
        dropout=dropout,
        self_attn=RoPEAttention(DIM, 1, dropout=dropout),
        cross_attn=RoPEAttention(DIM, 1, kv_in_dim=MEMORY, rope_k_repeat=True, dropout=dropout),
    )
    encoder = MemoryEncoder(MEMORY, in_dim=DIM, position_encoding=PositionEmbeddingSine(MEMORY))
    model = SAM2Model(
        ImageEncoder(trunk, neck, scalp=1),
        MemoryAttention(DIM, True, layer, num_layers=layers),
        encoder,
        **{**SETTINGS, **changes},
    )
    fill_(model)
    for name, parameter in model.named_parameters():
        if name == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
            # So clicks and tracking see the objects and the box sees none: without a shift all scores have
            # one sign, and if no object is seen masks and pointers are blind to everything else.
            parameter.data -= 1.0
    return model.eval()


class Video:
    """Leads a model through a video with two objects, as a driver does, and keeps what it returns."""

    def __init__(self, model: SAM2Model, num_frames: int = 12, objects: int = 2) -> None:
        self.model, self.num_frames, self.objects = model, num_frames, objects
        self.outputs: dict[str, dict[int, dict[str, Any]]] = {
            "cond_frame_outputs": {},
            "non_cond_frame_outputs": {},
        }
        self.dtype = next(model.parameters()).dtype

    def features(self, frame: int) -> tuple[list[Tensor], list[Tensor], list[tuple[int, int]]]:
        size = self.model.sam_prompt_encoder.input_image_size
        image = tensor(f"picture {frame}", (1, 3, *size), self.dtype)
        prepared = self.model._prepare_backbone_features(self.model.forward_image(image), batch=self.objects)
        return prepared[1], prepared[2], prepared[3]

    def arguments(self, frame: int, prompt: str | None = None, *, reverse: bool = False) -> dict[str, Any]:
        features, encodings, sizes = self.features(frame)
        points = PROMPTS.get(prompt or "")
        if points is not None:
            points = {name: value[: self.objects] for name, value in points.items()}
        previous = None
        if prompt == "correction":
            known = {**self.outputs["cond_frame_outputs"], **self.outputs["non_cond_frame_outputs"]}
            previous = known[frame]["pred_masks"]
        return {
            "frame_idx": frame,
            "is_init_cond_frame": prompt in ("click", "box", "mask"),
            "current_vision_feats": features,
            "current_vision_pos_embeds": encodings,
            "feat_sizes": sizes,
            "point_inputs": points,
            "mask_inputs": masks()[: self.objects] if prompt == "mask" else None,
            "output_dict": self.outputs,
            "num_frames": self.num_frames,
            "track_in_reverse": reverse,
            "prev_sam_mask_logits": previous,
        }

    def step(self, frame: int, prompt: str | None = None, *, reverse: bool = False) -> dict[str, Any]:
        result = self.model.track_step(**self.arguments(frame, prompt, reverse=reverse))
        self.outputs["non_cond_frame_outputs"].pop(frame, None)
        place = "cond_frame_outputs" if prompt else "non_cond_frame_outputs"
        self.outputs[place][frame] = result
        return result

    def follow(self, *steps: tuple[int, str | None] | int, reverse: bool = False) -> list[dict[str, Any]]:
        pairs: Iterable[tuple[int, str | None]] = (
            step if isinstance(step, tuple) else (step, None) for step in steps
        )
        return [self.step(frame, prompt, reverse=reverse) for frame, prompt in pairs]


_MADE: dict[str, SAM2Model] = {}


def copied_sam2(**changes: Any) -> SAM2Model:
    """A model of the caller's own; one with the same settings is made only once."""
    key = f"{torch.empty(0).device} {sorted(changes.items())}"  # torch 2.6 forgets `with torch.device(...)` elsewhere
    if key not in _MADE:
        _MADE[key] = make_sam2(**changes)
    return copy.deepcopy(_MADE[key])


@pytest.fixture
def sam2() -> Callable[..., SAM2Model]:
    return copied_sam2


@pytest.fixture(scope="session")
def video() -> type[Video]:
    return Video


@pytest.fixture(scope="session")
def usual_run() -> Callable[..., list[dict[str, Any]]]:
    """What the model with the usual settings returns for steps; the same steps are taken only once."""
    taken: dict[str, list[dict[str, Any]]] = {}

    def run(*steps: tuple[int, str | None] | int) -> list[dict[str, Any]]:
        if str(steps) not in taken:
            taken[str(steps)] = Video(copied_sam2()).follow(*steps)
        return taken[str(steps)]

    return run
