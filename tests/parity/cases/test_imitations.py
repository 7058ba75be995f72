"""What imitations do to our side, and that they leave no trace of it."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from parity.cases.imitated_pictures import fitted, inside, resized_by_opencv
from parity.cases.imitations import arguments, during, norms_of_blocks
from parity.execution.case import Case, Library, Side
from samblocks.blocks import TwoWayTransformer


@pytest.mark.parametrize(
    "levels",
    [
        [
            [33, 91, 130, 149],
            [32, 78, 90, 139],
            [30, 57, 47, 122],
            [39, 29, 121, 80],
            [54, 76, 131, 63],
            [74, 199, 77, 71],
            [104, 206, 33, 144],
            [126, 202, 3, 200],
        ],
        [
            [3, 46, 80, 80, 85, 92, 103, 118, 136, 152],
            [36, 48, 43, 3, 79, 136, 162, 138, 78, 16],
            [123, 103, 123, 222, 105, 33, 28, 83, 142, 189],
        ],
    ],
    ids=["higher", "wider"],
)
def test_a_picture_is_resized_as_opencv_resizes_it(levels: list[list[int]]) -> None:
    """Levels are those of OpenCV 5.0: columns are narrower or wider, and edges are not smoothed."""
    picture = (np.arange(35) ** 2 * 89 % 256).astype(np.uint8).reshape(5, 7, 1)
    found = resized_by_opencv(picture, (len(levels), len(levels[0])))
    assert found[..., 0].tolist() == levels


def test_a_square_is_filled_up_with_grey() -> None:
    square = fitted(np.full((2, 4, 3), 9, np.uint8), 8)
    assert (square[:4] == 9).all()
    assert (square[4:] == 114).all()
    assert inside(torch.zeros(1, 3, 4, 4), (2, 4)).shape == (1, 3, 2, 4)


def test_norms_of_two_way_blocks_have_their_epsilon_back_afterwards() -> None:
    net = TwoWayTransformer(depth=1, embedding_dim=8, num_heads=2, mlp_dim=8)
    side = Side(cast(Library, None), net, {}, torch.float32)

    def eps() -> list[float]:
        return [part.eps for part in net.modules() if isinstance(part, nn.LayerNorm)]

    seen: list[list[float]] = []
    case = Case(block="TwoWayTransformer", name="n", why="w", call=lambda side: seen.append(eps()))
    during(norms_of_blocks(1e-6))(case).call(side)
    assert seen == [[1e-6, 1e-6, 1e-6, 1e-6, 1e-5]]  # the last is the transformer's own
    assert eps() == [1e-5] * 5


def test_arguments_are_given_beside_those_of_the_case() -> None:
    kwargs: dict[str, Any] = {"dim": 3, "depth": 1}
    case = Case(block="Net", name="n", why="w", kwargs=kwargs)
    assert arguments(depth=2)(case).kwargs == {"dim": 3, "depth": 2}
    assert case.kwargs == kwargs
