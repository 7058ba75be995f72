"""transformers' whole models by the reference page's names: one tree of modules, seen as Meta's parts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common.adapter import Adapter, Arguments, Call
from parity.references.common.prefixes import Part, part
from parity.references.transformers import names, released, sam1

Kwargs = Mapping[str, Any]
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_MATRIX = "positional_encoding_gaussian_matrix"


class Whole(Adapter):
    """A whole model, whose parts are seen as modules of their own under Meta's names."""

    def __init__(
        self,
        inner: Any,
        parts: Sequence[Part],
        views: Mapping[str, Adapter],
        *,
        rows: Mapping[str, Sequence[str]] | None = None,
        **methods: Call,
    ) -> None:
        """Wrap a model.

        Args:
            inner: the model.
            parts: how it spells the names of its tensors.
            views: its modules by Meta's names, each in an adapter of its own.
            rows: see `Adapter`.
            methods: see `Adapter`.
        """
        super().__init__(inner, parts, _refuse, None, rows=rows, without=(), **methods)
        # It holds the matrix behind positions twice; in every published file the two are equal.
        inner.prompt_encoder.shared_embedding = inner.shared_image_embedding
        for name, view in views.items():
            setattr(self, name, view)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters by Meta's names, in Meta's order: the matrix behind positions is none, as in Meta's code."""
        return (
            (n, value) for n, value in super().named_parameters(*args, **kwargs) if not n.endswith(_MATRIX)
        )


def _refuse(inner: nn.Module, *args: Any, **kwargs: Any) -> Any:
    raise NoCounterpart(
        "is called with pictures and prompts together, in another way; its parts are compared"
    )


def position_encoding_of_grid(inner: Any) -> Tensor:
    """The encoding of the image's grid, which the model makes rather than its prompt encoder."""
    encoding: Tensor = inner.get_image_wide_positional_embeddings()
    return encoding


def parts(head_depth: int) -> tuple[Part, ...]:
    """How the model spells its tensors, with heads of so many layers for predicted IoU."""
    return (
        part("vision_encoder", "image_encoder", names.VIT),
        part("shared_image_embedding.positional_embedding", f"prompt_encoder.pe_layer.{_MATRIX}"),
        part("prompt_encoder", inner=names.PROMPT_ENCODER),
        part("mask_decoder", inner=names.mask_decoder("out_proj", names.LINEARS, head_depth)),
    )


def _sam(config: Any) -> nn.Module:
    from transformers import SamModel

    inner = SamModel(config)
    decoder_parts = sam1.decoder_parts(config.mask_decoder_config)
    views = {
        "image_encoder": Adapter(inner.vision_encoder, names.VIT, sam1.encode_image),
        "prompt_encoder": Adapter(
            inner.prompt_encoder,
            names.PROMPT_ENCODER,
            encode_prompts,
            get_dense_pe=lambda _: position_encoding_of_grid(inner),
        ),
        "mask_decoder": Adapter(inner.mask_decoder, decoder_parts, sam1.decode),
    }
    return Whole(inner, parts(config.mask_decoder_config.iou_head_depth), views)


def encode_prompts(inner: Any, points: Any = None, boxes: Any = None, masks: Any = None) -> Any:
    """Points with labels of corners would be embedded in SAM 2's way or not at all: cases here have none."""
    if points is not None and bool((points[1] > 1).any()):
        raise NoCounterpart("has clicks as points only")
    return sam1.encode_prompts(inner, points, boxes, masks)


def sam_model(kwargs: Kwargs) -> nn.Module:
    """See the reference page's SAMModel."""
    from transformers import SamConfig

    given = Arguments(kwargs)
    vision = sam1.vision_config(given.take("image_encoder").kwargs)
    prompts = Arguments(given.take("prompt_encoder").kwargs)
    prompts.take("embed_corner_labels")
    prompt_config = sam1.prompt_config(prompts)
    decoder = sam1.decoder_config(given.take("mask_decoder").kwargs)
    pixels = given.take("pixel_mean", _MEAN), given.take("pixel_std", _STD)
    given.end()
    vision.num_pos_feats, vision.scale = prompt_config.hidden_size // 2, 1
    config = SamConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config=prompt_config.to_dict(),
        mask_decoder_config=decoder.to_dict(),
    )
    whole: Any = _sam(config)
    whole.pixels = pixels  # its processor's, which knows no model
    return whole  # type: ignore[no-any-return]


def released_sam(variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
    """A released SAM 1 for images of another size."""
    if variant not in released.SAM_VARIANTS:
        raise NoCounterpart(f"transformers has no {variant}")
    if options:
        raise NoCounterpart(f"its SamModel has no options, this case sets {', '.join(options)}")
    config = released.sam_config(variant)
    config.vision_config.image_size = config.prompt_encoder_config.image_size = image_size
    config.prompt_encoder_config.image_embedding_size = image_size // 16
    return _sam(config)


BUILDERS = {"SAMModel": sam_model}
"""The reference page's models → the functions that make transformers'."""
