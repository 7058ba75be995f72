"""The cases of the models: complete, and sound on our side alone."""

import inspect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch

import parity.references.meta.models as meta_models
import parity.references.ultralytics.models as ultralytics_models
from parity.cases import (
    all_cases,
    checkpoint,
    find,
    image_encoders,
    mask_decoder,
    memory,
    prompt_encoder,
    pyramids,
    sam,
    sam2_settings,
    variants,
)
from parity.execution.case import Case, Make
from parity.execution.execute import execute
from parity.run.samblocks_library import library
from samblocks import models

CLASSES = (
    "ImageEncoderViT",
    "PromptEncoder",
    "MaskDecoder",
    "TinyViT",
    "SAMModel",
    "Hiera",
    "FpnNeck",
    "ImageEncoder",
    "MemoryAttention",
    "MemoryEncoder",
    "SAM2MaskDecoder",
    "SAM2Model",
)
CASES = {case.id: case for case in all_cases().values() if case.block in CLASSES}
FILES = (image_encoders, pyramids, prompt_encoder, mask_decoder, memory, sam, sam2_settings)
SMALL = [case.id for file in FILES for case in file.CASES]

CANNOT_BE_TRIED = {
    "SAM2Model.compile_image_encoder": "it needs a C++ compiler, and changes no number",
    "SAM2Model.prompt": "upstream's classes have no such argument; tests/models try each of its fields",
}
"""Arguments that no case sets, with the reason."""


def made(value: Any) -> Iterator[Make]:
    """Every module described in a case's arguments, however nested."""
    if isinstance(value, Make):
        yield value
        yield from made(value.kwargs)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from made(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from made(item)


def set_by_cases(cases: list[Case]) -> dict[str, set[str]]:
    """For each class, the constructor arguments that some case sets to another value than their default."""
    found: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        described = list(made(case.kwargs))
        if case.variant is None:
            described.append(Make(case.block, case.kwargs))
        for module in described:
            if module.block in CLASSES:
                parameters = inspect.signature(getattr(models, module.block)).parameters
                found[module.block] |= {
                    name for name, value in module.kwargs.items() if value != parameters[name].default
                }
    return found


def test_every_constructor_argument_takes_another_value_than_its_default() -> None:
    found = set_by_cases(list(CASES.values()))
    never = {
        f"{name}.{argument}"
        for name in CLASSES
        for argument in inspect.signature(getattr(models, name)).parameters
        if argument not in found[name]
    }
    assert never == set(CANNOT_BE_TRIED)


def test_an_argument_that_is_left_alone_is_seen() -> None:
    case = Case(block="Hiera", name="x", why="a test", kwargs={"embed_dim": 96, "num_heads": 2})
    assert set_by_cases([case]) == {"Hiera": {"num_heads"}}


def test_each_class_has_cases_and_each_variant_has_its_own() -> None:
    counts = Counter(case.block for case in CASES.values())
    assert not {name for name in CLASSES if counts[name] < 2}
    by_checkpoint_alone = {"sam_hq_vit_l", "sam_hq_vit_h"}
    assert {case.variant for case in variants.CASES} == set(models.VARIANTS) - by_checkpoint_alone
    assert set(checkpoint.STAGES) == set(models.VARIANTS)


def test_tracking_covers_both_versions_forwards_and_backwards() -> None:
    names = {case.name for case in CASES.values()}
    assert names >= {f"tracking_{v}_{way}" for v in ("2.0", "2.1") for way in ("forward", "reverse")}


def test_stages_are_found_by_name_though_only_two_belong_to_a_run() -> None:
    assert find("SAM2Model/stages_sam2_hiera_large") is checkpoint.STAGES["sam2_hiera_large"]
    assert [case.id for case in checkpoint.CASES if case.id in CASES] == [
        "SAMModel/stages_sam_vit_b",
        "SAM2Model/stages_sam2.1_hiera_tiny",
    ]
    assert not any(case.quick for case in checkpoint.CASES)


def test_large_models_are_not_quick() -> None:
    quick = {case.variant for case in CASES.values() if case.quick and case.variant}
    assert quick == {"mobile_sam", "sam2_hiera_tiny", "sam2.1_hiera_tiny"}


def test_each_class_is_in_both_tables_but_for_what_a_library_lacks() -> None:
    assert set(CLASSES) - set(meta_models.ENTRIES) == {"TinyViT"}
    assert set(CLASSES) <= set(ultralytics_models.ENTRIES)


@pytest.mark.parametrize("case_id", SMALL)
def test_case_runs_and_is_not_blind(case_id: str) -> None:
    case = CASES[case_id]
    inputs = case.tensors()
    kept = {name: value.clone() for name, value in inputs.items()}
    outputs = execute(case, library(), inputs).outputs
    assert all(torch.equal(inputs[name], kept[name]) for name in inputs), "inputs were changed"
    assert outputs, "nothing came out"
    for path, value in outputs.items():
        assert bool(torch.isfinite(value).all()), f"{path} is not finite"
        assert value.dtype is torch.float32 or not value.is_floating_point(), f"{path} is {value.dtype}"
    if case.check is not None:
        case.check(outputs)
