"""The frozen cases, one file a family; this file collects them and finds them by id or block.

Blocks, arguments and defaults are those of the reference page, which documents them under the names that people use:
https://docs.ultralytics.com/reference/models/sam/modules/blocks/
"""

from collections.abc import Collection
from functools import cache

from parity.cases import (
    checkpoint,
    common,
    functions,
    fuzz,
    generators,
    hiera,
    hq,
    image_encoders,
    mask_decoder,
    memory,
    memory_blocks,
    other_drivers,
    position,
    predictor_inputs,
    predictors,
    processing,
    prompt_encoder,
    pyramids,
    rope,
    sam,
    sam2_edges,
    sam2_settings,
    shared,
    short_films,
    tracking,
    training,
    trunks,
    two_way,
    variants,
    video,
    vit,
)
from parity.errors import UsageError
from parity.execution.case import Case

_FILES = (
    common,
    functions,
    position,
    prompt_encoder,
    vit,
    hiera,
    two_way,
    rope,
    memory_blocks,
    image_encoders,
    pyramids,
    mask_decoder,
    hq,
    memory,
    sam,
    sam2_settings,
    sam2_edges,
    tracking,
    shared,
    training,
    variants,
    trunks,
    checkpoint,
    processing,
    predictors,
    generators,
    video,
    other_drivers,
    short_films,
    predictor_inputs,
)


@cache
def all_cases() -> dict[str, Case]:
    """Every case by id, in the order of the files."""
    cases: dict[str, Case] = {}
    for file in _FILES:
        for case in file.CASES:
            if case.id in cases:
                raise ValueError(f"two cases are called {case.id}")
            cases[case.id] = case
    return cases


def of(wanted: Collection[str]) -> list[Case]:
    """The cases of some blocks, or with some ids, in the order of the files; all if nothing is named.

    Raises:
        UsageError: no case is about a name.
    """
    cases = list(all_cases().values())
    for name in wanted:
        if not any(name in (case.block, case.id) for case in cases):
            block = name.partition("/")[0]
            if names := ", ".join(case.name for case in cases if case.block == block):
                raise UsageError(f"no case is called {name!r}; {block} has {names}")
            known = ", ".join(sorted({case.block for case in cases}))
            raise UsageError(f"no case is about {name!r}; there are cases for {known}")
    return [case for case in cases if not wanted or case.block in wanted or case.id in wanted]


def find(case_id: str) -> Case:
    """The case with this id; raises KeyError naming it."""
    if fuzz.MARK in case_id:
        return fuzz.find(case_id)
    asked_for = {case.id: case for case in checkpoint.STAGES.values()}
    try:
        return (asked_for | all_cases())[case_id]
    except KeyError:
        raise KeyError(f"no case is called {case_id!r}") from None
