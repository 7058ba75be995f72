"""The finer levels of SAM 2's neck, projected for the decoder by one convolution in place of two."""

from typing import Any

import pytest
import torch
from torch import Tensor

from parity.execution.fill import fill_
from samblocks.models.sam2.hiera import Hiera
from samblocks.models.sam2.image_encoder import FpnNeck, ImageEncoder, encode_and_project
from samblocks.ops.fast_path import plain_paths


def parts(top_down: list[int]) -> tuple[ImageEncoder, torch.nn.Conv2d, torch.nn.Conv2d, Tensor]:
    trunk = Hiera(8, stages=(1, 1, 1, 1), global_att_blocks=(), window_spec=(4, 2, 2, 2))
    neck = FpnNeck(16, trunk.channel_list, fpn_top_down_levels=top_down)
    encoder = fill_(ImageEncoder(trunk, neck, scalp=1).double()).eval()
    finest, fine = (fill_(torch.nn.Conv2d(16, width, 1).double()).eval() for width in (2, 4))
    x = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return encoder, finest, fine, x


def both(encoder: ImageEncoder, finest: Any, fine: Any, x: Tensor) -> bool:
    """Whether both ways give the same numbers; False too where only one was there."""
    with torch.no_grad():
        found = encode_and_project(encoder, x, finest, fine)
        with plain_paths():
            expected = encode_and_project(encoder, x, finest, fine)
        taken = encoder.forward_projected(x, finest, fine) is not None
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    return taken


@pytest.mark.parametrize(
    ("top_down", "taken"), [([], True), ([2, 3], True), ([3], True), ([1], False), ([0, 1, 2, 3], False)]
)
def test_levels_that_stand_alone_are_projected_at_once(top_down: list[int], taken: bool) -> None:
    assert both(*parts(top_down)) is taken


def test_weights_are_those_of_the_call() -> None:
    encoder, finest, fine, x = parts([2, 3])
    for change in (
        lambda: finest.weight.data.mul_(2),
        lambda: encoder.neck.convs[3].conv.bias.data.add_(1),
        lambda: fine.load_state_dict({name: value * 3 for name, value in fine.state_dict().items()}),
    ):
        change()
        assert both(encoder, finest, fine, x)


def test_whoever_listens_hears() -> None:
    encoder, finest, fine, x = parts([])
    heard = []
    handle = encoder.register_forward_hook(lambda *_: heard.append(1))
    assert not both(encoder, finest, fine, x)
    handle.remove()
    assert len(heard) == 2
    finest.requires_grad_(True)
    encode_and_project(encoder, x, finest, fine)["backbone_fpn"][0].sum().backward()
    assert finest.weight.grad is not None
