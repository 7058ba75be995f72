"""Damaged and foreign files: one kind of error, and plans that account for every tensor."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samblocks.errors import LayoutError
from samblocks.layouts import LAYOUTS, TensorInfo, classes_of, detect, expected, plan, variants_of
from samblocks.variants import VARIANTS

SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)
INFOS = st.builds(TensorInfo, SHAPES, st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3"]))
NAMES = st.text(st.sampled_from("ab01._*{}é\n\x00 ") | st.characters(), max_size=20)
SOME = ("sam_vit_b", "sam2.1_hiera_tiny", "sam2_hiera_tiny")
SETTINGS = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, str, dict[str, TensorInfo]]:
    """A file of some layout with tensors taken away, renamed, reshaped and added, maybe behind a prefix."""
    layout, variant = draw(st.sampled_from(LAYOUTS)), draw(st.sampled_from(SOME))
    file = dict(
        expected(layout, VARIANTS[variant], draw(st.sampled_from(classes_of(layout, VARIANTS[variant]))))
    )
    names = list(file)
    for name in draw(st.lists(st.sampled_from(names), max_size=5)):
        file.pop(name, None)
    for name in draw(st.lists(st.sampled_from(names), max_size=3)):
        file[name] = draw(INFOS)
    for name, other in draw(
        st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names) | NAMES), max_size=3)
    ):
        if name in file:
            file[other] = file.pop(name)
    file |= draw(st.dictionaries(NAMES, INFOS, max_size=3))
    start = draw(st.integers(0, len(names)))
    prefix = draw(st.sampled_from(["", "", "module.", "model.", "_orig_mod.module."]))
    kept = list(file.items())[start:] if draw(st.booleans()) else list(file.items())
    return layout, variant, {prefix + name: info for name, info in kept}


@SETTINGS
@given(damaged(), st.sampled_from(LAYOUTS))
def test_a_damaged_file_is_accounted_for(file: tuple[str, str, dict[str, TensorInfo]], target: str) -> None:
    layout, variant, tensors = file
    try:
        found = detect(tensors, strict=False)
    except LayoutError:
        found = None
    if found is not None:
        assert set(found.rows) <= set(variants_of(found.layout))
        exact = not (found.missing or found.unexpected or found.misshapen)
        try:
            detect(tensors)
        except LayoutError:
            assert not exact
        else:
            assert exact
    planned = plan(tensors, source=layout, target=target, row=VARIANTS[variant])
    assert Counter(key for step in planned.steps for key in step.sources) == Counter(tensors.keys())
    targets = [key for step in planned.steps for key in step.targets]
    assert len(targets) == len(set(targets))
    assert set(targets) == set(planned.infos)
    assert not set(targets) & set(planned.missing)


@SETTINGS
@given(st.dictionaries(NAMES, INFOS, max_size=20), st.sampled_from(LAYOUTS))
def test_a_foreign_file_is_refused_and_unexplained(tensors: dict[str, TensorInfo], source: str) -> None:
    with pytest.raises(LayoutError, match="tensors" if not tensors else "SAM"):
        detect(tensors)
    planned = plan(tensors, source=source, target="meta", row=VARIANTS["sam_vit_b"])
    assert len(planned.of_kind("unexplained")) == len(tensors)
