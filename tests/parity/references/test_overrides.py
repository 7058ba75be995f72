"""Builders that know one image size are made to build for another, and are left as they were."""

from types import ModuleType
from typing import Any

import pytest

import parity.references.meta.models as meta_models
import parity.references.ultralytics.models as ultralytics_models
from parity.execution.case import NoCounterpart
from parity.references.common.overrides import overridden, sam_sizes


class Part:
    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs


def builder() -> ModuleType:
    module = ModuleType("builder")
    module.Part = Part  # type: ignore[attr-defined]
    module.build = lambda: module.Part(img_size=1024, depth=3)  # type: ignore[attr-defined]
    return module


def test_only_the_named_arguments_are_replaced_and_only_meanwhile() -> None:
    module = builder()
    with overridden(module, {"Part": {"img_size": 512}}):
        assert module.build().kwargs == {"img_size": 512, "depth": 3}
    assert module.build().kwargs == {"img_size": 1024, "depth": 3}
    assert module.Part is Part


def test_the_builder_is_left_as_it_was_when_building_fails() -> None:
    module = builder()
    with pytest.raises(ZeroDivisionError), overridden(module, {"Part": {"img_size": 512}}):
        raise ZeroDivisionError
    assert module.Part is Part


def test_a_class_that_the_builder_does_not_have_is_an_error() -> None:
    with pytest.raises(AttributeError), overridden(builder(), {"Gone": {}}):
        pass


def test_sizes_of_sam_1() -> None:
    assert sam_sizes(512) == {
        "ImageEncoderViT": {"img_size": 512},
        "PromptEncoder": {"image_embedding_size": (32, 32), "input_image_size": (512, 512)},
    }


def test_what_a_library_does_not_have_is_no_counterpart() -> None:
    with pytest.raises(NoCounterpart, match="meta has no mobile_sam"):
        meta_models.model("mobile_sam", 512, {})
    with pytest.raises(NoCounterpart, match="num_maskmem"):
        meta_models.model("sam_vit_b", 512, {"num_maskmem": 3})
    with pytest.raises(NoCounterpart, match="num_maskmem"):
        ultralytics_models.model("sam_vit_b", 512, {"num_maskmem": 3})


def test_the_choice_that_ultralytics_lacks_is_dropped() -> None:
    arguments = ultralytics_models.ENTRIES["PromptEncoder"].arguments
    assert arguments({"embed_dim": 8, "embed_corner_labels": False}) == {"embed_dim": 8}
