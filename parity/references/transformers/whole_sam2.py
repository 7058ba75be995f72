"""transformers' whole SAM 2, which is its video model: it holds the image model's parts and those of memory."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments
from parity.references.common.prefixes import Part, part
from parity.references.transformers import decoder, memory, names, released, sam2
from parity.references.transformers.tracking import Decoder, Encoder, Tracker
from parity.references.transformers.whole_sam1 import Whole, position_encoding_of_grid

Kwargs = Mapping[str, Any]
_PROMPTS, _DECODER = "sam_prompt_encoder.", names.mask_decoder("o_proj", names.perceptron(2), 3)

# The reference page's argument → its default, and the only value that means what is always so here.
_ALWAYS: dict[str, tuple[Any, Any]] = {
    "use_mask_input_as_output_without_sam": (False, True),
    "directly_add_no_mem_embed": (False, True),
    "use_high_res_features_in_sam": (False, True),
    "use_multimask_token_for_obj_ptr": (False, True),
    "iou_prediction_use_sigmoid": (False, True),
    "use_obj_ptrs_in_encoder": (False, True),
    "only_obj_ptrs_in_the_past_for_eval": (False, True),
    "pred_obj_scores": (False, True),
    "pred_obj_scores_mlp": (False, True),
    "fixed_no_obj_ptr": (False, True),
    "use_mlp_for_obj_ptr_proj": (False, True),
    "soft_no_obj_ptr": (False, False),
    "memory_temporal_stride_for_eval": (1, 1),
    "non_overlap_masks_for_mem_enc": (False, False),
    "backbone_stride": (16, 16),
}
# The reference page's argument → what the configuration calls it, and its default.
_SETTINGS: dict[str, tuple[str, Any]] = {
    "num_maskmem": ("num_maskmem", 7),
    "sigmoid_scale_for_mem_enc": ("sigmoid_scale_for_mem_enc", 1.0),
    "sigmoid_bias_for_mem_enc": ("sigmoid_bias_for_mem_enc", 0.0),
    "no_obj_embed_spatial": ("enable_occlusion_spatial_embedding", False),
    "multimask_output_in_sam": ("multimask_output_in_sam", False),
    "multimask_min_pt_num": ("multimask_min_pt_num", 1),
    "multimask_max_pt_num": ("multimask_max_pt_num", 1),
    "multimask_output_for_tracking": ("multimask_output_for_tracking", False),
    "max_obj_ptrs_in_encoder": ("max_object_pointers_in_encoder", 16),
    "max_cond_frames_in_attn": ("max_cond_frame_num", -1),
}
_TIME = ("add_tpos_enc_to_obj_ptrs", "proj_tpos_enc_in_obj_ptrs", "use_signed_tpos_enc_to_obj_ptrs")


class WholeSam2(Whole):
    """The video model; what an image is given in place of memory is a tensor of its own."""

    @property
    def no_mem_embed(self) -> Tensor:
        """See the reference page's SAM2Model."""
        inner: Any = self.inner
        embedding: Tensor = inner.no_memory_embedding
        return embedding


def parts(steps: int) -> tuple[Part, ...]:
    """How the model spells its tensors, with a down-sampler of masks of so many steps."""
    return (
        part("memory_temporal_positional_encoding", "maskmem_tpos_enc"),
        part("no_memory_embedding", "no_mem_embed"),
        part("no_memory_positional_encoding", "no_mem_pos_enc"),
        part("no_object_pointer", "no_obj_ptr"),
        part("occlusion_spatial_embedding_parameter", "no_obj_embed_spatial"),
        part("vision_encoder", "image_encoder", names.IMAGE_ENCODER),
        part("mask_downsample"),
        part("memory_attention", inner=names.MEMORY_ATTENTION),
        part("memory_encoder", inner=names.memory_encoder(steps)),
        part(
            "shared_image_embedding.positional_embedding",
            f"{_PROMPTS}pe_layer.positional_encoding_gaussian_matrix",
        ),
        part("prompt_encoder", "sam_prompt_encoder", names.PROMPT_ENCODER),
        part("mask_decoder", "sam_mask_decoder", _DECODER),
        part("object_pointer_proj", "obj_ptr_proj", names.perceptron(3)),
        part("temporal_positional_encoding_projection_layer", "obj_ptr_tpos_proj"),
    )


def _model(config: Any, steps: int, binarize: bool) -> nn.Module:
    from transformers import Sam2VideoModel

    inner = Sam2VideoModel(config)
    tracker = Tracker(inner, binarize)
    views = {
        "memory_attention": Adapter(inner.memory_attention, names.MEMORY_ATTENTION, tracker.attend),
        "memory_encoder": Adapter(inner.memory_encoder, names.memory_encoder(steps), tracker.encode_memory),
        "sam_prompt_encoder": Encoder(
            inner.prompt_encoder,
            names.PROMPT_ENCODER,
            tracker.encode_prompts,
            rows=decoder.label_rows(),
            get_dense_pe=lambda _: position_encoding_of_grid(inner),
        ),
        "sam_mask_decoder": Decoder(inner.mask_decoder, _DECODER, tracker.decode),
    }
    whole = WholeSam2(
        inner,
        parts(steps),
        views,
        rows=decoder.label_rows("prompt_encoder.", _PROMPTS),
        forward_image=_features,
        _prepare_backbone_features=_sequences,
        track_step=lambda _, **given: tracker.step(whole, **given),
    )
    return whole


def _features(inner: Any, image: Tensor) -> dict[str, Any]:
    """The levels, from the finest, and the encodings of their grids, by the model's own method."""
    found = inner.get_image_features(image, return_dict=True)
    levels = {"backbone_fpn": found.fpn_hidden_states, "vision_pos_enc": found.fpn_position_encoding}
    return {name: [_as_map(level) for level in values] for name, values in levels.items()}


def _as_map(sequence: Tensor) -> Tensor:
    """[N, B, C] → [B, C, H, W] of a square grid."""
    tokens, batch, width = sequence.shape
    side = round(tokens**0.5)
    return sequence.permute(1, 2, 0).reshape(batch, width, side, side)


def _sequences(inner: Any, features: Mapping[str, Any]) -> Any:
    """Features as the model keeps them: [N, B, C]."""
    flat = {
        name: [level.flatten(2).permute(2, 0, 1) for level in features[name]]
        for name in ("backbone_fpn", "vision_pos_enc")
    }
    sizes = [tuple(level.shape[-2:]) for level in features["vision_pos_enc"]]
    return features, flat["backbone_fpn"], flat["vision_pos_enc"], sizes


def sam2_model(kwargs: Kwargs) -> nn.Module:
    """See the reference page's SAM2Model."""
    from transformers import Sam2VideoConfig

    given = Arguments(kwargs)
    vision = sam2.vision_config(given.take("image_encoder").kwargs)
    settings = memory.memory_attention_settings(given.take("memory_attention").kwargs)
    encoder, steps = memory.memory_encoder_settings(given.take("memory_encoder").kwargs)
    for name, (default, always) in _ALWAYS.items():
        if (value := given.take(name, default)) != always:
            raise NoCounterpart(f"has no argument {name!r}: here it is always {always!r}, not {value!r}")
    times = [given.take(name, False) for name in _TIME]
    if len(set(times)) > 1:
        raise NoCounterpart(
            "adds the encoding of a pointer's distance projected and with its sign, or not at all"
        )
    settings |= encoder | {theirs: given.take(name, value) for name, (theirs, value) in _SETTINGS.items()}
    extra = given.take("sam_mask_decoder_extra_args") or {"dynamic_multimask_via_stability": False}
    size = given.take("image_size", 512)
    binarize = given.take("binarize_mask_from_pts_for_mem_enc", False)
    given.end()
    config = Sam2VideoConfig(
        vision_config=vision.to_dict(),
        mask_decoder_config=dict(extra),
        enable_temporal_pos_encoding_for_object_pointers=times[0],
        **settings,
    )
    return _model(_sized(config, size), steps, binarize)


def _sized(config: Any, size: int) -> Any:
    """The configuration for images of this side."""
    config.image_size = config.prompt_encoder_config.image_size = size
    config.vision_config.backbone_feature_sizes = [[size // stride] * 2 for stride in (4, 8, 16)]
    config.memory_attention_rope_feat_sizes = [size // 16] * 2
    return config


def released_sam2(variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """A released SAM 2 for images of another size."""
    config = released.sam2_config(variant, "Sam2VideoModel")
    left = Arguments(options)
    left.only("add_tpos_enc_to_obj_ptrs", config.enable_temporal_pos_encoding_for_object_pointers)
    left.end()
    return _model(_sized(config, image_size), 4, False)


BUILDERS = {"SAM2Model": sam2_model}
"""The reference page's models → the functions that make transformers'."""
