"""Names for the points where a diagram of the model has an arrow, whatever the module tree looks like."""

import re

_POINTS: tuple[tuple[str, str], ...] = (
    # (pattern of the canonical path and the output's path, name); the first that fits the end of the path holds
    (r"patch_embed", "patch_embed.out"),
    (r"_get_pos_embed\(\)", "pos_embed"),
    (r"(?:trunk\.|image_encoder\.|^)blocks\.(\d+)", "blocks[{0}].out"),
    (r"(?:trunk\.|image_encoder\.|^)blocks\.(\d+)\.attn", "blocks[{0}].attn.out"),
    (r"(?:trunk\.|image_encoder\.|^)blocks\.(\d+)\.mlp", "blocks[{0}].mlp.out"),
    (r"layers\.(\d+)\.blocks\.(\d+)", "stages[{0}].blocks[{1}].out"),
    (r"trunk:(\d+)", "trunk.level[{0}]"),
    (r"neck:0/(\d+)", "neck.level[{0}]"),
    (r"neck:1/(\d+)", "neck.position[{0}]"),
    (r"neck(?::out)?", "neck.out"),
    (r"prompt_encoder:0", "prompt.sparse"),
    (r"prompt_encoder:1", "prompt.dense"),
    (r"get_dense_pe\(\)", "prompt.image_pe"),
    (r"mask_decoder\.transformer:0", "decoder.tokens"),
    (r"mask_decoder\.transformer:1", "decoder.image"),
    (r"mask_decoder\.output_upscaling", "decoder.upscaled"),
    (r"output_hypernetworks_mlps\.(\d+)", "decoder.hyper_in[{0}]"),
    (r"iou_prediction_head", "decoder.iou"),
    (r"pred_obj_score_head", "decoder.object_score"),
    (r"mask_decoder:0", "decoder.masks"),
    (r"obj_ptr_proj", "obj_ptr"),
    (r"memory_attention\.layers\.(\d+)", "mem_attn.layer[{0}]"),
    (r"memory_attention", "mem_attn.out"),
    (r"memory_encoder\.mask_downsampler", "memory.mask"),
    (r"memory_encoder\.fuser\.layers\.(\d+)", "memory.fuser[{0}]"),
    (r"memory_encoder:vision_features", "memory.features"),
)
_COMPILED = tuple((re.compile(rf"(?:^|\.|(?<=\.)|(?<=_)){pattern}$"), name) for pattern, name in _POINTS)


def semantic(path: str, output: str = "out") -> str:
    """The point's name, or "" where the diagram has none.

    Args:
        path: canonical path of the module, with its method where that is not `forward`.
        output: path of the output in what it returns.

    Examples:
        >>> semantic("image_encoder.trunk.blocks.4.attn")
        'blocks[4].attn.out'
        >>> semantic("image_encoder.neck", "0/2")
        'neck.level[2]'
        >>> semantic("memory_attention.layers.1.norm1")
        ''
    """
    for subject in (f"{path}:{output}", path) if output != "out" else (path,):
        for pattern, name in _COMPILED:
            if found := pattern.search(subject):
                return name.format(*found.groups())
    return ""
