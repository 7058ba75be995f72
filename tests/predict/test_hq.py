"""`ImagePredictor` with HQ-SAM: early features reach the decoder, and are kept with the others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from parity.execution import fill
from samblocks.blocks import TwoWayTransformer
from samblocks.models import ImageEncoderViT, MaskDecoderHQ, PromptEncoder, SAMModelHQ
from samblocks.predict import ImagePredictor

SIDE = 64
BOXES = np.array([[2.0, 3.0, 30.0, 40.0], [10.0, 5.0, 60.0, 30.0]])


@pytest.fixture(scope="module")
def model() -> SAMModelHQ:
    encoder = ImageEncoderViT(
        SIDE, embed_dim=24, depth=3, num_heads=2, out_chans=16, window_size=3, global_attn_indexes=(1, 2)
    )
    decoder = MaskDecoderHQ(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32), vit_dim=24)
    prompts = PromptEncoder(16, (4, 4), (SIDE, SIDE), 16, embed_corner_labels=False)
    return fill.fill_(SAMModelHQ(encoder, prompts, decoder)).eval()


def _picture(name: str) -> np.ndarray:
    return fill.integers(name, (SIDE, SIDE, 3), 0, 256).astype(np.uint8)


@pytest.mark.parametrize("several", [False, True])
def test_it_gives_what_the_model_gives(model: SAMModelHQ, several: bool) -> None:
    pictures = [_picture("one"), _picture("two")]
    predictor = ImagePredictor(model)
    predictor.set_image_batch(pictures)
    masks, ious, logits = predictor.predict_batch(box_batch=[BOXES, BOXES], multimask_output=several)
    records = [
        {
            "image": torch.from_numpy(one.transpose(2, 0, 1).copy()),
            "original_size": (SIDE, SIDE),
            "boxes": torch.from_numpy(BOXES).float(),
        }
        for one in pictures
    ]
    with torch.no_grad():
        answers = model(records, multimask_output=several)
    for i, answer in enumerate(answers):
        assert masks[i].shape == (2, 1, SIDE, SIDE)
        expected = answer["low_res_logits"].numpy()
        np.testing.assert_allclose(logits[i], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(ious[i], answer["iou_predictions"].numpy(), rtol=0, atol=1e-4)
    assert np.abs(logits[0] - logits[1]).max() > 1e-2 * np.abs(logits[0]).max()


def test_early_features_are_kept(model: SAMModelHQ, tmp_path: Path) -> None:
    predictor = ImagePredictor(model)
    predictor.set_image(_picture("one"))
    expected = predictor.predict(box=BOXES, return_logits=True)
    predictor.get_embedding(tmp_path / "kept.safetensors")
    other = ImagePredictor(model)
    other.set_embedding(tmp_path / "kept.safetensors")
    for one, two in zip(expected, other.predict(box=BOXES, return_logits=True), strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-4 * np.abs(one).max())
