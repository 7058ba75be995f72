"""SAMModel: the way in and out, prompts of several images, other sizes, what predictors ask for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from parity.execution.fill import fill_, tensor
from samblocks.blocks import TwoWayTransformer
from samblocks.models import ImageEncoderViT, MaskDecoder, PromptEncoder, SAMModel, TinyViT
from samblocks.models.build import materialize


def small(tiny: bool = False) -> SAMModel:
    encoder = (
        TinyViT(64, embed_dims=(8, 16, 24, 320), depths=(1, 1, 1, 1), num_heads=(1, 2, 3, 10))
        if tiny
        else ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=256, use_rel_pos=True)
    )
    decoder = MaskDecoder(256, TwoWayTransformer(1, 256, num_heads=2, mlp_dim=32))
    model = SAMModel(encoder, PromptEncoder(256, (4, 4), (64, 64), 8, embed_corner_labels=False), decoder)
    return fill_(model).eval()


def photo(*size: int) -> Tensor:
    return (tensor(f"photo{size}", (3, *size)).sigmoid() * 255).round()


def test_statistics_are_no_weights_but_follow_the_model() -> None:
    model = small()
    assert not [name for name in model.state_dict() if name.startswith("pixel")]
    assert model.pixel_mean.shape == model.pixel_std.shape == (3, 1, 1)
    assert model.double().pixel_mean.dtype == torch.float64
    assert model.device == torch.device("cpu")
    assert (model.mask_threshold, model.image_format) == (0.0, "RGB")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_preprocess_normalises_then_pads_with_zeros(dtype: torch.dtype) -> None:
    x = photo(48, 60).to(dtype)
    before = x.clone()
    out = small().preprocess(x)
    mean = torch.tensor([123.675, 116.28, 103.53]).reshape(3, 1, 1)
    std = torch.tensor([58.395, 57.12, 57.375]).reshape(3, 1, 1)
    torch.testing.assert_close(out[:, :48, :60], (x.float() - mean) / std)
    assert out.shape == (3, 64, 64)
    assert out.dtype == torch.float32
    assert not out[:, 48:].any()
    assert not out[:, :, 60:].any()
    assert torch.equal(x, before)
    assert small().to(torch.bfloat16).preprocess(x).dtype == torch.bfloat16
    assert torch.equal(small().preprocess(x.unsqueeze(0))[0], out)


def test_preprocess_refuses_what_is_too_large() -> None:
    with pytest.raises(ValueError, match=r"x is \(65, 64\) pixels, more than the model's \(64, 64\)"):
        small().preprocess(torch.zeros(3, 65, 64))


def test_postprocess_takes_the_padding_out_before_scaling() -> None:
    masks = tensor("masks", (2, 3, 16, 16))
    out = small().postprocess_masks(masks, input_size=(48, 60), original_size=(100, 125))
    large = F.interpolate(masks, size=(64, 64), mode="bilinear")[..., :48, :60]
    assert torch.equal(out, F.interpolate(large, size=(100, 125), mode="bilinear"))


def test_forward_is_the_stages_one_after_the_other() -> None:
    model = small()
    clicks, labels = torch.tensor([[[10.0, 20.0]], [[30.0, 5.0]]]), torch.tensor([[1], [0]])
    first = {
        "image": photo(48, 64),
        "original_size": (96, 128),
        "point_coords": clicks,
        "point_labels": labels,
    }
    box, mask = torch.tensor([[5.0, 6.0, 40.0, 50.0]]), tensor("mask", (1, 1, 16, 16))
    second = {"image": photo(64, 40), "original_size": (64, 40), "boxes": box, "mask_inputs": mask}
    answers = model([first, second], multimask_output=True)
    assert [tuple(a["masks"].shape) for a in answers] == [(2, 3, 96, 128), (1, 3, 64, 40)]

    embedding = model.image_encoder(model.preprocess(second["image"])[None])  # type: ignore[arg-type]
    sparse, dense = model.prompt_encoder(None, box, mask)
    low, iou = model.mask_decoder(embedding, model.prompt_encoder.get_dense_pe(), sparse, dense, True)
    torch.testing.assert_close(answers[1]["low_res_logits"], low, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answers[1]["iou_predictions"], iou, rtol=1e-4, atol=1e-4)
    logits = model.postprocess_masks(answers[1]["low_res_logits"], (64, 40), (64, 40))
    assert torch.equal(answers[1]["masks"], logits > 0)
    assert 0 < answers[1]["masks"].float().mean() < 1

    one = model([first], multimask_output=False)[0]
    assert one["masks"].shape == (2, 1, 96, 128)


def test_a_pixel_at_the_threshold_is_background() -> None:
    model = small()
    with torch.no_grad():  # no vector for any mask: every logit is zero
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            for parameter in mlp.layers[-1].parameters():
                parameter.zero_()
    [answer] = model([{"image": photo(8, 8), "original_size": (8, 8)}], multimask_output=True)
    assert not answer["low_res_logits"].any()
    assert not answer["masks"].any()


def test_forward_says_which_input_lacks_what() -> None:
    with pytest.raises(ValueError, match=r"batched_input\[1\] lacks \['original_size'\]"):
        small()(
            [{"image": photo(8, 8), "original_size": (8, 8)}, {"image": photo(8, 8)}], multimask_output=False
        )


@pytest.mark.parametrize("tiny", [False, True])
def test_set_imgsz_tells_both_encoders(tiny: bool) -> None:
    model = small(tiny)
    model.set_imgsz([96, 128])
    assert model.prompt_encoder.input_image_size == (96, 128)
    assert model.prompt_encoder.image_embedding_size == (6, 8)
    assert model.prompt_encoder.mask_input_size == (24, 32)
    assert model.image_encoder.img_size == 128
    [answer] = model([{"image": photo(90, 128), "original_size": (180, 256)}], multimask_output=True)
    assert answer["low_res_logits"].shape == (1, 3, 24, 32)
    assert answer["masks"].shape == (1, 3, 180, 256)


@pytest.mark.parametrize("imgsz", [[100, 64], [64], [0, 16]])
def test_set_imgsz_refuses_odd_sizes(imgsz: list[int]) -> None:
    with pytest.raises(ValueError, match="imgsz"):
        small().set_imgsz(imgsz)


@pytest.mark.parametrize("tiny", [False, True])
def test_gradients_reach_every_part(tiny: bool) -> None:
    model = small(tiny).train()
    clicks = {
        "point_coords": torch.tensor([[[10.0, 20.0], [3.0, 4.0]]]),
        "point_labels": torch.tensor([[1, 0]]),
    }
    boxes = {"boxes": torch.tensor([[5.0, 6.0, 40.0, 50.0]]), "mask_inputs": tensor("mask", (1, 1, 16, 16))}
    records = [{"image": photo(64, 64), "original_size": (64, 64), **prompts} for prompts in (clicks, boxes)]
    total = torch.zeros(())
    for multimask_output in (True, False):
        for answer in model(records, multimask_output):
            total = (
                total + answer["low_res_logits"].square().mean() + answer["iou_predictions"].square().mean()
            )
    total.backward()
    for name, parameter in model.named_parameters():
        if name.startswith(("image_encoder.norm_head", "image_encoder.head")):
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert name.endswith("k_proj.bias") or parameter.grad.abs().max() > 0, name


def test_materialize_makes_the_statistics_anew() -> None:
    model = small()
    model.pixel_mean, model.pixel_std = model.pixel_mean.to("meta"), model.pixel_std.to("meta")
    model.double()
    materialize(model)
    # In double precision they are the decimals themselves, not those of single precision widened.
    assert model.pixel_mean.flatten().tolist() == [123.675, 116.28, 103.53]
    assert model.pixel_std.flatten().tolist() == [58.395, 57.12, 57.375]
