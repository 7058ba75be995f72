"""Checks that a case could have seen an error: they look at the truth's outputs, and fail where nothing shows.

A filled model may see no object anywhere: then its masks are -1024 and its pointers constant, and equal numbers
say nothing. So cases assert that the branches they are about were taken.
"""

from collections.abc import Callable, Mapping
from itertools import combinations

import torch
from torch import Tensor

Check = Callable[[Mapping[str, Tensor]], None]

NO_OBJECT = -1024.0
"""The mask logit of an object that is not seen."""


def both(*checks: Check) -> Check:
    """All of several checks."""

    def check(outputs: Mapping[str, Tensor]) -> None:
        for one in checks:
            one(outputs)

    return check


def scores_have_both_signs(outputs: Mapping[str, Tensor]) -> None:
    """Some objects are seen and some are not, and none so nearly that rounding would decide."""
    scores = _only(outputs, "object_score_logits")
    seen = int((scores > 0).sum())
    assert 0 < seen < scores.numel(), f"{seen} of {scores.numel()} objects are seen"
    least = float(scores.abs().min())
    assert least > 1e-3, f"an object's score is {least:.1e} from the threshold"


def masks_are_mixed(outputs: Mapping[str, Tensor]) -> None:
    """Masks of objects that are seen have 5 to 95 % foreground, in all but a quarter of them."""
    shares = foreground(outputs)
    assert shares, "no object is seen"
    mixed = sum(0.05 < share < 0.95 for share in shares)
    assert mixed >= 0.75 * len(shares), f"only {mixed} of {len(shares)} masks are mixed: {shares}"


def pixels_are_decided(outputs: Mapping[str, Tensor]) -> None:
    """No pixel is so near to zero, or two objects' logits so near to each other, that rounding would decide.

    For cases in which masks become zeros and ones, or a pixel can belong to one object only.
    """
    masks = _only(outputs, "pred_masks_high_res")
    first, second = masks.unbind(dim=1)
    least = float(torch.minimum(masks.abs().min(), (first - second).abs().min()))
    assert least > 2e-5, f"a pixel is {least:.1e} from the other side"


def stability_has_both_outcomes(outputs: Mapping[str, Tensor]) -> None:
    """The single mask was kept where it is stable, and replaced by one of the candidates where it is not."""
    single, candidates = _only(outputs, "decoded_1"), _only(outputs, "candidates")
    replaced = (single == candidates).flatten(3).all(dim=3).any(dim=2)
    count = int(replaced.sum())
    assert 0 < count < replaced.numel(), f"{count} of {replaced.numel()} single masks were replaced"


def steps_differ(outputs: Mapping[str, Tensor]) -> None:
    """No two steps in which an object is seen give the same mask or the same pointer of it."""
    seen = _seen(outputs)
    for name in ("pred_masks", "obj_ptr"):
        values = _only(outputs, name).flatten(2)
        assert len(values) > 1, f"only one step gives {name}"
        for step, other in combinations(range(len(values)), 2):
            for item in values[step][seen[step]]:
                same = ((item - values[other]).abs() <= 1e-3 * item.abs()).all(dim=1) & seen[other]
                assert not bool(same.any()), f"{name} is the same in steps {step} and {other}"


def foreground(outputs: Mapping[str, Tensor]) -> list[float]:
    """The share of foreground in each mask of an object that is seen."""
    masks = _only(outputs, "pred_masks").flatten(2)[_seen(outputs)]
    return [round(float((mask > 0).double().mean()), 3) for mask in masks]


def _seen(outputs: Mapping[str, Tensor]) -> Tensor:
    """For each step and object, whether it is seen: [S, B]."""
    return _only(outputs, "pred_masks").flatten(2).amax(dim=2) > NO_OBJECT


def _only(outputs: Mapping[str, Tensor], name: str) -> Tensor:
    assert name in outputs, f"there is no output {name!r}"
    return outputs[name]
