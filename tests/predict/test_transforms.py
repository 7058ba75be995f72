"""The transforms' methods that no predictor calls, beside those that it calls."""

import numpy as np
import pytest
import torch

from parity.execution import fill
from samblocks.predict.transforms import ResizeLongestSide, SAM2Transforms

_SIZE = (37, 29)


def test_tensors_are_scaled_as_arrays_are() -> None:
    transform = ResizeLongestSide(64)
    boxes = np.array([[1.5, 2.0, 20.0, 30.25], [0.0, 0.0, 29.0, 37.0]])
    scaled = transform.apply_boxes(boxes, _SIZE)
    assert scaled.dtype == np.float64
    assert np.allclose(scaled[1], [0, 0, 50, 64])
    by_tensor = transform.apply_boxes_torch(torch.from_numpy(boxes), _SIZE)
    assert by_tensor.dtype is torch.float32
    assert np.allclose(by_tensor.numpy(), scaled)
    assert np.array_equal(boxes[0], [1.5, 2.0, 20.0, 30.25])


def test_tensors_are_resized_in_their_own_shape() -> None:
    picture = torch.from_numpy(fill.uniform("picture", (2, 3, *_SIZE), 0.0, 255.0)).float()
    transform = ResizeLongestSide(64)
    resized = transform.apply_image_torch(picture)
    assert resized.shape == (2, 3, 64, 50)
    levels = picture[0].round().byte()
    by_bytes = transform.apply_image(levels.permute(1, 2, 0).numpy())
    real = transform.apply_image_torch(levels[None].float())[0].permute(1, 2, 0)
    assert float((torch.from_numpy(by_bytes) - real).abs().max()) <= 1.0


def test_floating_point_pictures_are_cut_to_bytes() -> None:
    levels = fill.integers("levels", (*_SIZE, 3), 0, 256).astype(np.uint8)
    transform = ResizeLongestSide(64)
    same = transform.apply_image((levels / np.float32(255)).astype(np.float32))
    assert np.array_equal(same, transform.apply_image(levels))


def test_squares() -> None:
    transform = SAM2Transforms(64)
    levels = fill.integers("levels", (*_SIZE, 3), 0, 256).astype(np.uint8)
    both = transform.forward_batch([levels, levels[::-1]])
    assert both.shape == (2, 3, 64, 64)
    assert torch.equal(both[0], transform(levels))
    assert torch.allclose(transform((levels / np.float32(255)).astype(np.float32)), both[0], atol=1e-6)
    box = torch.tensor([[0.0, 0.0, 29.0, 37.0]])
    assert transform.transform_boxes(box, normalize=True, orig_hw=_SIZE).tolist() == [[[0, 0], [64, 64]]]
    with pytest.raises(ValueError, match="orig_hw must be given"):
        transform.transform_coords(box.reshape(-1, 2), normalize=True)
