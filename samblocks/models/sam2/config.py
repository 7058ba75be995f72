"""What a SAM 2 was made with: one frozen object, whose fields the model also shows as attributes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from torch import nn

from samblocks.variants import PromptConfig, SAM2Config

Model = TypeVar("Model", bound=type[nn.Module])

_MADE_WITH = frozenset(
    {
        "num_maskmem",
        "backbone_stride",
        "use_high_res_features_in_sam",
        "use_multimask_token_for_obj_ptr",
        "iou_prediction_use_sigmoid",
        "use_obj_ptrs_in_encoder",
        "proj_tpos_enc_in_obj_ptrs",
        "pred_obj_scores",
        "pred_obj_scores_mlp",
        "use_mlp_for_obj_ptr_proj",
        "image_size",
        "prompt",
        "sam_mask_decoder_extra_args",
        "compile_image_encoder",
    }
)
"""Settings that decide about modules: a model that is there cannot take another value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SAM2ModelConfig(SAM2Config):
    """Every setting of a `SAM2Model`: those of the released models' rows, and four more.

    Args:
        image_size: side of the square images, in pixels; after `set_imgsz` their height.
        prompt: prompt encoder and mask decoder.
        sam_mask_decoder_extra_args: further arguments of the mask decoder.
        compile_image_encoder: compile the image encoder when it is first called.

    Raises:
        ValueError: for settings that exclude each other.
    """

    image_size: int
    prompt: PromptConfig
    sam_mask_decoder_extra_args: Mapping[str, Any] | None
    compile_image_encoder: bool

    def __post_init__(self) -> None:
        """Refuse settings that exclude each other."""
        if self.proj_tpos_enc_in_obj_ptrs and not self.add_tpos_enc_to_obj_ptrs:
            raise ValueError("proj_tpos_enc_in_obj_ptrs=True: needs add_tpos_enc_to_obj_ptrs=True")
        if self.fixed_no_obj_ptr and not (self.pred_obj_scores and self.use_obj_ptrs_in_encoder):
            raise ValueError(
                "fixed_no_obj_ptr=True: needs pred_obj_scores=True and use_obj_ptrs_in_encoder=True"
            )


class Setting:
    """A field of the model's `config` as an attribute of the model, as upstream's drivers read and set them.

    Args:
        name: of the field.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        """Read it from the config."""
        return self if model is None else getattr(model.config, self.name)

    def __set__(self, model: Any, value: object) -> None:
        """Replace the config by one with another value.

        Raises:
            AttributeError: modules of the model were made with it.
            ValueError: it excludes another setting.
        """
        if self.name in _MADE_WITH:
            raise AttributeError(
                f"{self.name}={value!r}: the model was made with {getattr(model.config, self.name)!r}; "
                "make another one (image sizes are changed by set_imgsz)"
            )
        model.config = replace(model.config, **{self.name: value})


def with_settings(*, but: str) -> Callable[[Model], Model]:
    """Decorate a model class: the fields of its `config` become attributes.

    Args:
        but: a field whose name the model needs for a parameter.
    """

    def decorate(model: Model) -> Model:
        for field in fields(SAM2ModelConfig):
            if field.name != but:
                setattr(model, field.name, Setting(field.name))
        return model

    return decorate
