"""The checks that a case is not blind, on outputs in which nothing could be seen."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from parity.cases import blind, checkpoint, mask_decoder, pyramids, variants


def tracking(steps: int = 4, objects: int = 2) -> dict[str, Tensor]:
    """Outputs of a tracking case in which everything shows."""
    generator = torch.Generator().manual_seed(5)
    masks = torch.randn(steps, objects, 1, 8, 8, generator=generator, dtype=torch.float64)
    scores = torch.ones(steps, objects, 1, dtype=torch.float64)
    scores[1, 0] = -0.5
    masks[1, 0] = blind.NO_OBJECT
    candidates = torch.randn(2, objects, 3, 8, 8, generator=generator, dtype=torch.float64)
    single = torch.randn(2, objects, 1, 8, 8, generator=generator, dtype=torch.float64)
    single[0, 0, 0] = candidates[0, 0, 2]
    return {
        "object_score_logits": scores,
        "pred_masks": masks,
        "pred_masks_high_res": masks.abs() + 1 + torch.arange(objects).reshape(1, -1, 1, 1, 1) * 50,
        "obj_ptr": torch.randn(steps, objects, 6, generator=generator, dtype=torch.float64),
        "decoded_1": single,
        "candidates": candidates,
    }


CHECKS = (
    blind.scores_have_both_signs,
    blind.masks_are_mixed,
    blind.stability_has_both_outcomes,
    blind.steps_differ,
    blind.pixels_are_decided,
)


def test_all_checks_pass_where_everything_shows() -> None:
    blind.both(*CHECKS)(tracking())


@pytest.mark.parametrize("check", CHECKS)
def test_an_output_that_is_not_there_is_blindness(check: blind.Check) -> None:
    with pytest.raises(AssertionError, match="there is no output"):
        check({})


def test_scores_of_one_sign_are_blind() -> None:
    outputs = tracking()
    outputs["object_score_logits"] = outputs["object_score_logits"].abs()
    with pytest.raises(AssertionError, match="8 of 8 objects are seen"):
        blind.scores_have_both_signs(outputs)
    outputs["object_score_logits"] = -outputs["object_score_logits"]
    with pytest.raises(AssertionError, match="0 of 8 objects are seen"):
        blind.scores_have_both_signs(outputs)


def test_scores_at_the_threshold_are_blind() -> None:
    outputs = tracking()
    outputs["object_score_logits"][2, 1] = 1e-5
    with pytest.raises(AssertionError, match=r"1\.0e-05 from the threshold"):
        blind.scores_have_both_signs(outputs)


@pytest.mark.parametrize("value", [-3.0, 3.0])
def test_masks_of_one_sign_are_blind(value: float) -> None:
    outputs = tracking()
    outputs["pred_masks"][2:] = value
    with pytest.raises(AssertionError, match="masks are mixed"):
        blind.masks_are_mixed(outputs)


def test_masks_without_any_object_are_blind() -> None:
    outputs = tracking()
    outputs["pred_masks"][:] = blind.NO_OBJECT
    with pytest.raises(AssertionError, match="no object is seen"):
        blind.masks_are_mixed(outputs)


def test_one_outcome_of_the_choice_by_stability_is_blind() -> None:
    outputs = tracking()
    outputs["decoded_1"][0, 0] += 1.0
    with pytest.raises(AssertionError, match="0 of 4 single masks were replaced"):
        blind.stability_has_both_outcomes(outputs)
    outputs["decoded_1"][:] = outputs["candidates"][:, :, 1:2]
    with pytest.raises(AssertionError, match="4 of 4 single masks were replaced"):
        blind.stability_has_both_outcomes(outputs)


@pytest.mark.parametrize("name", ["pred_masks", "obj_ptr"])
def test_equal_steps_are_blind(name: str) -> None:
    outputs = tracking()
    outputs[name][3, 0] = outputs[name][0, 1]
    with pytest.raises(AssertionError, match=f"{name} is the same in steps 0 and 3"):
        blind.steps_differ(outputs)


def test_equal_pointers_of_unseen_objects_are_not() -> None:
    outputs = tracking()
    outputs["pred_masks"][2:, 0] = blind.NO_OBJECT
    outputs["obj_ptr"][1:, 0] = 0.25
    blind.steps_differ(outputs)


def test_pixels_between_two_decisions_are_blind() -> None:
    outputs = tracking()
    outputs["pred_masks_high_res"][1, 0, 0, 3, 3] = 1e-6
    with pytest.raises(AssertionError, match="from the other side"):
        blind.pixels_are_decided(outputs)
    outputs = tracking()
    outputs["pred_masks_high_res"][2, 0] = outputs["pred_masks_high_res"][2, 1]
    with pytest.raises(AssertionError, match="from the other side"):
        blind.pixels_are_decided(outputs)


def images() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(6)
    return {
        f"{name}/masks": torch.randn(2, 3, 8, 8, generator=generator) for name in ("click", "box", "again")
    }


@pytest.mark.parametrize("change", ["all_positive", "equal"])
def test_masks_of_a_released_model_must_show_something(change: str) -> None:
    check = variants.CASES[0].check
    assert check is not None
    outputs = images()
    check(outputs)
    if change == "equal":
        outputs["box/masks"] = outputs["box/masks"][:1].expand(2, -1, -1, -1)
    else:
        outputs = {name: masks.abs() for name, masks in outputs.items()}
    with pytest.raises(AssertionError, match="box: equal" if change == "equal" else "only 0 of 18"):
        check(outputs)


def test_a_checkpoint_that_sees_nothing_is_blind() -> None:
    check = checkpoint.STAGES["sam_vit_b"].check
    assert check is not None
    check(images())
    empty = {name: torch.full_like(masks, -3.0) for name, masks in images().items()}
    with pytest.raises(AssertionError, match="no mask is mixed"):
        check(empty)


def check_of(cases: tuple[object, ...], name: str) -> blind.Check:
    check = next(case for case in cases if getattr(case, "name", "") == name)
    found: blind.Check = check.check  # type: ignore[attr-defined]
    return found


def test_decoder_cases_must_see_both_outcomes_and_mixed_masks() -> None:
    check = check_of(mask_decoder.CASES, "released")
    generator = torch.Generator().manual_seed(7)
    three = torch.randn(2, 3, 8, 8, generator=generator)
    one = torch.randn(2, 1, 8, 8, generator=generator)
    one[1, 0] = three[1, 2]
    outputs: Mapping[str, Tensor] = {"three/masks": three, "one/masks": one}
    check(outputs)
    with pytest.raises(AssertionError, match="replaced for 0 of 2"):
        check({"three/masks": three, "one/masks": one + 0.01})
    with pytest.raises(AssertionError, match="foreground"):
        check({"three/masks": three, "one/masks": one.abs()})


def test_drop_path_must_have_dropped_something() -> None:
    check = check_of(pyramids.CASES, "train_drop_path")
    with pytest.raises(AssertionError, match="nothing was dropped"):
        check({"3": torch.ones(2, 3)})
