"""Checks that a case could have seen an error: they look at the truth's outputs, and fail where nothing shows.

A filled model may see no object anywhere: then its masks are -1024 and its pointers constant, and equal numbers
say nothing. So cases assert that the branches they are about were taken.
"""

from collections.abc import Callable, Iterable, Mapping

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
    shares = list(foreground(outputs))
    assert shares, "no object is seen"
    mixed = sum(0.05 < share < 0.95 for share in shares)
    assert mixed >= 0.75 * len(shares), f"only {mixed} of {len(shares)} masks are mixed: {shares}"


def stability_has_both_outcomes(outputs: Mapping[str, Tensor]) -> None:
    """The single mask was kept where it is stable, and replaced by one of the candidates where it is not."""
    kept = replaced = 0
    for path, candidates in outputs.items():
        if path.rpartition("/")[2] != "candidates":
            continue
        chosen = outputs[path.removesuffix("candidates") + "decoded"]
        for mask, options in zip(chosen, candidates, strict=True):
            if any(torch.equal(mask[0], option) for option in options):
                replaced += 1
            else:
                kept += 1
    assert kept, f"the single mask was never kept, {replaced} times replaced"
    assert replaced, f"the single mask was never replaced, {kept} times kept"


def steps_differ(outputs: Mapping[str, Tensor]) -> None:
    """No two steps in which an object is seen give the same mask or the same pointer of it."""
    masks = {p.rpartition("/")[0]: value for p, value in outputs.items() if p.endswith("/pred_masks")}
    assert len(masks) > 1, f"only {len(masks)} step gives masks"
    for name in ("pred_masks", "obj_ptr"):
        shown = [
            outputs[f"{step}/{name}"][index].flatten()
            for step, value in masks.items()
            for index in range(len(value))
            if float(value[index].max()) > NO_OBJECT
        ]
        for position, value in enumerate(shown):
            for other in shown[:position]:
                assert not torch.allclose(value, other, rtol=1e-3), f"{name} is the same in two steps"


def foreground(outputs: Mapping[str, Tensor]) -> Iterable[float]:
    """The share of foreground in each mask of an object that is seen."""
    for path, masks in outputs.items():
        if path.endswith("/pred_masks"):
            for mask in masks.flatten(0, 1):
                if float(mask.max()) > NO_OBJECT:
                    yield round(float((mask > 0).double().mean()), 3)


def _only(outputs: Mapping[str, Tensor], name: str) -> Tensor:
    assert name in outputs, f"there is no output {name!r}"
    return outputs[name]
