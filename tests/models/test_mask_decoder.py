"""Both mask decoders: tokens in and out, enlargement, choice of masks, batches, errors."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parity.execution.fill import fill_, tensor
from samblocks.blocks import LayerNorm2d, SAM2TwoWayTransformer, TwoWayTransformer
from samblocks.models import MaskDecoder, SAM2MaskDecoder

DIM = 16
IMAGE, PLACES = tensor("image", (1, DIM, 4, 6)), tensor("places", (1, DIM, 4, 6))
SPARSE, DENSE = tensor("sparse", (3, 5, DIM)), tensor("dense", (3, DIM, 4, 6))
FINEST, FINER = tensor("finest", (1, DIM // 8, 16, 24)), tensor("finer", (1, DIM // 4, 8, 12))


class Recorder(nn.Module):
    """In the transformer's place: keeps what it is given and hands back known tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: tuple[Tensor, Tensor, Tensor] = (torch.empty(0), torch.empty(0), torch.empty(0))

    def forward(self, image: Tensor, places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = (image, places, tokens)
        return tokens * 2, image.flatten(2).transpose(1, 2)


def sam(transformer: nn.Module | None = None, **changes: Any) -> MaskDecoder:
    transformer = transformer or TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=2, mlp_dim=24)
    return fill_(MaskDecoder(DIM, transformer, **changes)).eval()


def sam2(transformer: nn.Module | None = None, **changes: Any) -> SAM2MaskDecoder:
    transformer = transformer or SAM2TwoWayTransformer(depth=2, embedding_dim=DIM, num_heads=2, mlp_dim=24)
    return fill_(SAM2MaskDecoder(DIM, transformer, **changes)).eval()


def run_sam(decoder: nn.Module, multimask_output: bool, image: Tensor = IMAGE) -> tuple[Tensor, ...]:
    out: tuple[Tensor, ...] = decoder(image, PLACES, SPARSE, DENSE, multimask_output)
    return out


def run_sam2(decoder: nn.Module, multimask_output: bool, finer: bool = True) -> tuple[Tensor, ...]:
    out: tuple[Tensor, ...] = decoder(
        IMAGE,
        PLACES,
        SPARSE,
        DENSE,
        multimask_output,
        repeat_image=True,
        high_res_features=[FINEST, FINER] if finer else None,
    )
    return out


Run = tuple[Callable[[], nn.Module], Callable[[nn.Module, bool], tuple[Tensor, ...]]]
BOTH: list[Run] = [(sam, run_sam), (sam2, run_sam2)]
both = pytest.mark.parametrize(("make", "run"), BOTH, ids=["sam", "sam2"])


def masks_by_hand(
    decoder: MaskDecoder | SAM2MaskDecoder, tokens: Tensor, src: Tensor, finer: bool = False
) -> Tensor:
    enlarge_1, norm, act_1, enlarge_2, act_2 = decoder.output_upscaling
    x = act_1(norm(enlarge_1(src) + (FINER if finer else 0)))
    x = act_2(enlarge_2(x) + (FINEST if finer else 0))
    vectors = [mlp(tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    return torch.stack([torch.einsum("bc,bchw->bhw", v, x) for v in vectors], dim=1)


def test_sam_tokens_maps_and_masks() -> None:
    recorder = Recorder()
    decoder = sam(recorder)
    masks, iou = decoder.predict_masks(IMAGE, PLACES, SPARSE, DENSE)
    image, places, tokens = recorder.seen
    assert torch.equal(image, IMAGE + DENSE)
    assert torch.equal(places, PLACES.expand(3, -1, -1, -1))
    learned = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(3, -1, -1)
    assert torch.equal(tokens, torch.cat([learned, SPARSE], dim=1))
    assert torch.equal(iou, decoder.iou_prediction_head(2 * tokens[:, 0]))
    torch.testing.assert_close(masks, masks_by_hand(decoder, 2 * tokens[:, 1:5], IMAGE + DENSE))


@pytest.mark.parametrize("pred_obj_scores", [False, True])
@pytest.mark.parametrize("finer", [False, True])
def test_sam2_tokens_maps_and_masks(pred_obj_scores: bool, finer: bool) -> None:
    decoder = sam2(Recorder(), pred_obj_scores=pred_obj_scores, use_high_res_features=True)
    masks, iou, mask_tokens, score = decoder.predict_masks(
        IMAGE, PLACES, SPARSE, DENSE, repeat_image=True, high_res_features=[FINEST, FINER] if finer else None
    )
    tokens = decoder.transformer.seen[2]
    learned = [decoder.iou_token.weight, decoder.mask_tokens.weight]
    if pred_obj_scores:
        learned = [decoder.obj_score_token.weight, *learned]
        assert torch.equal(score, decoder.pred_obj_score_head(2 * tokens[:, 0]))
    else:
        assert torch.equal(score, torch.full((3, 1), 10.0))
    assert torch.equal(tokens, torch.cat([torch.cat(learned).expand(3, -1, -1), SPARSE], dim=1))
    at = len(learned) - 2
    assert torch.equal(iou, decoder.iou_prediction_head(2 * tokens[:, at]))
    assert torch.equal(mask_tokens, 2 * tokens[:, at + 1 : at + 5])
    torch.testing.assert_close(masks, masks_by_hand(decoder, mask_tokens, IMAGE + DENSE, finer))


@both
def test_one_mask_is_the_first_and_several_are_the_others(make: Run, run: Run) -> None:
    decoder = make()
    several, one = run(decoder, True), run(decoder, False)
    extra = {"repeat_image": True} if isinstance(decoder, SAM2MaskDecoder) else {}
    masks, iou = decoder.predict_masks(IMAGE, PLACES, SPARSE, DENSE, **extra)[:2]
    assert torch.equal(torch.cat([one[0], several[0]], dim=1), masks)
    assert torch.equal(torch.cat([one[1], several[1]], dim=1), iou)
    assert several[0].shape == (3, 3, 16, 24)


@pytest.mark.parametrize("wanted", [False, True])
def test_tokens_for_the_pointer(wanted: bool) -> None:
    decoder = sam2(use_multimask_token_for_obj_ptr=wanted)
    tokens = decoder.predict_masks(IMAGE, PLACES, SPARSE, DENSE, repeat_image=True)[2]
    assert torch.equal(run_sam2(decoder, True)[2], tokens[:, 1:] if wanted else tokens[:, :1])
    assert torch.equal(run_sam2(decoder, False)[2], tokens[:, :1])


def test_iou_may_be_squashed() -> None:
    plain, squashed = run_sam2(sam2(), True)[1], run_sam2(sam2(iou_prediction_use_sigmoid=True), True)[1]
    assert torch.equal(squashed, plain.sigmoid())


def test_finer_maps_matter_and_may_be_left_out() -> None:
    decoder = sam2(use_high_res_features=True)
    assert not torch.allclose(run_sam2(decoder, True)[0], run_sam2(decoder, True, finer=False)[0])
    assert torch.equal(run_sam2(sam2(), True)[0], run_sam2(sam2(), True, finer=False)[0])


def test_stability_of_masks() -> None:
    decoder = sam2(dynamic_multimask_stability_delta=0.5)
    mask = torch.tensor([[1.0, 0.6, 0.2, -0.2], [-1.0, -2.0, -3.0, -0.5], [9.0, 9.0, 9.0, 9.0]]).reshape(
        1, 3, 2, 2
    )
    # Two of four above 0.5 and four above -0.5; none above either; all above both.
    assert decoder._get_stability_scores(mask).tolist() == [[0.5, 1.0, 1.0]]


def test_an_unstable_mask_gives_way_to_the_best_of_the_others() -> None:
    decoder = sam2(dynamic_multimask_via_stability=True, dynamic_multimask_stability_thresh=0.75)
    stable, edge, unstable = (
        torch.tensor(v) for v in ([5.0, 5, 5, -5], [5.0, 5, 5, 0.01], [0.01, 0.01, 5, 5])
    )
    others = torch.arange(12.0).reshape(3, 4)
    logits = torch.stack([torch.cat([first[None], others]) for first in (stable, edge, unstable)]).reshape(
        3, 4, 2, 2
    )
    iou = torch.tensor([[0.1, 0.2, 0.9, 0.3], [0.1, 0.2, 0.9, 0.3], [0.99, 0.2, 0.3, 0.4]])
    masks, kept = decoder._dynamic_multimask_via_stability(logits, iou)
    # At the very threshold (three of four) mask 0 stays; mask 0's own high IoU does not count.
    assert torch.equal(masks, torch.stack([logits[0, :1], logits[1, :1], logits[2, 3:]]))
    assert torch.equal(kept, torch.tensor([[0.1], [0.1], [0.4]]))


def test_stability_decides_in_evaluation_where_one_mask_is_asked_for() -> None:
    decoder = sam2(
        dynamic_multimask_via_stability=True, dynamic_multimask_stability_thresh=1.01
    )  # never stable
    masks, iou = decoder.predict_masks(IMAGE, PLACES, SPARSE, DENSE, repeat_image=True)[:2]
    best = 1 + iou[:, 1:].argmax(dim=1)
    assert torch.equal(run_sam2(decoder, False)[0], masks[torch.arange(3), best].unsqueeze(1))
    assert torch.equal(run_sam2(decoder, True)[0], masks[:, 1:])
    assert torch.equal(run_sam2(decoder.train(), False)[0], masks[:, :1])


def test_images_may_be_paired_with_prompts() -> None:
    images = tensor("images", (3, DIM, 4, 6))
    for decoder, options in ((sam(), {}), (sam2(), {"repeat_image": False})):
        together = decoder(images, PLACES, SPARSE, DENSE, multimask_output=True, **options)
        for i in range(3):
            alone = decoder(
                images[i : i + 1],
                PLACES,
                SPARSE[i : i + 1],
                DENSE[i : i + 1],
                multimask_output=True,
                **options,
            )
            torch.testing.assert_close(together[0][i : i + 1], alone[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(together[1][i : i + 1], alone[1], rtol=1e-4, atol=1e-5)


@both
def test_prompts_of_a_batch_do_not_see_each_other(make: Run, run: Run) -> None:
    decoder = make()
    options = {"repeat_image": True} if isinstance(decoder, SAM2MaskDecoder) else {}
    alone = decoder(IMAGE, PLACES, SPARSE[1:2], DENSE[1:2], multimask_output=True, **options)
    torch.testing.assert_close(run(decoder, True)[0][1:2], alone[0], rtol=1e-4, atol=1e-5)


@both
def test_second_call_gives_the_same_bits_and_inputs_are_left_alone(make: Run, run: Run) -> None:
    inputs = (IMAGE, PLACES, SPARSE, DENSE, FINEST, FINER)
    kept, decoder = [t.clone() for t in inputs], make()
    first = run(decoder, True)
    assert all(torch.equal(a, b) for a, b in zip(first, run(decoder, True), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kept, inputs, strict=True))


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01), (torch.float32, 1e-5)]
)
def test_runs_in_every_precision_without_autocast(dtype: torch.dtype, tolerance: float) -> None:
    def run(to: torch.dtype) -> tuple[Tensor, ...]:
        decoder = sam2(pred_obj_scores=True, pred_obj_scores_mlp=True, use_high_res_features=True).to(to)
        given = [t.to(to) for t in (IMAGE, PLACES, SPARSE, DENSE, FINEST, FINER)]
        out: tuple[Tensor, ...] = decoder(*given[:4], True, True, given[4:])
        return out

    for low, exact in zip(run(dtype), run(torch.float64), strict=True):
        assert low.dtype == dtype
        assert (low.double() - exact).abs().max() < tolerance * exact.abs().max()


def test_every_parameter_gets_a_gradient() -> None:
    flags: dict[str, Any] = {
        "pred_obj_scores": True,
        "pred_obj_scores_mlp": True,
        "use_high_res_features": True,
    }
    for decoder, run in ((sam().train(), run_sam), (sam2(**flags).train(), run_sam2)):
        out = [*run(decoder, True), *run(decoder, False)]
        sum(t.square().sum() for t in out).backward()
        for name, parameter in decoder.named_parameters():
            if name.startswith(("conv_s0", "conv_s1")):
                continue  # the caller applies these
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            # A key's bias shifts all scores alike, which softmax does not see.
            assert name.endswith("k_proj.bias") or parameter.grad.abs().max() > 0, name


def test_each_enlargement_ends_in_the_activation() -> None:
    for decoder in (
        MaskDecoder(DIM, Recorder(), activation=nn.SiLU),
        SAM2MaskDecoder(DIM, Recorder(), activation=nn.SiLU),
    ):
        kinds = [type(module) for module in decoder.output_upscaling]
        assert kinds == [nn.ConvTranspose2d, LayerNorm2d, nn.SiLU, nn.ConvTranspose2d, nn.SiLU]


def test_no_prompts_give_no_masks() -> None:
    masks, iou = sam()(IMAGE, PLACES, SPARSE[:0], DENSE[:0], True)
    assert masks.shape == (0, 3, 16, 24)
    assert iou.shape == (0, 3)


def test_names_stand_in_the_order_of_the_checkpoints() -> None:
    decoder = sam2(pred_obj_scores=True, use_high_res_features=True)
    parts = list(dict.fromkeys(name.split(".")[0] for name in decoder.state_dict()))
    assert parts == [
        "transformer",
        "iou_token",
        "mask_tokens",
        "obj_score_token",
        "output_upscaling",
        "conv_s0",
        "conv_s1",
        "output_hypernetworks_mlps",
        "iou_prediction_head",
        "pred_obj_score_head",
    ]


def test_refuses_images_that_do_not_fit_the_prompts() -> None:
    two = IMAGE.expand(2, -1, -1, -1)
    with pytest.raises(ValueError, match="image_embeddings hold 2 maps for 3 prompts"):
        sam()(two, PLACES, SPARSE, DENSE, True)
    with pytest.raises(ValueError, match="dense_prompt_embeddings hold 2 maps for 3 prompts"):
        sam()(IMAGE, PLACES, SPARSE, DENSE[:2], True)
    with pytest.raises(ValueError, match="image_embeddings hold 2 images for 3 prompts, repeat_image=True"):
        sam2()(two, PLACES, SPARSE, DENSE, True, repeat_image=True)
    with pytest.raises(ValueError, match="image_embeddings hold 1 images for 3 prompts, repeat_image=False"):
        sam2()(IMAGE, PLACES, SPARSE, DENSE, True, repeat_image=False)
    with pytest.raises(ValueError, match="image_pe must be one map"):
        sam2()(IMAGE, PLACES.expand(3, -1, -1, -1), SPARSE, DENSE, True, repeat_image=True)


@pytest.mark.parametrize("kind", [MaskDecoder, SAM2MaskDecoder])
def test_refuses_a_width_that_does_not_divide(kind: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match="transformer_dim=12 must be a positive multiple of 8"):
        kind(12, Recorder())
