"""Components beside OpenCV's, in the references' environment."""

import pytest
import torch

from parity.workers.client import interpreter
from parity.workers.one_request import ask
from samblocks.predict.components import connected_components


@pytest.mark.live
def test_labels_and_areas_are_those_of_opencv() -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    generator = torch.Generator().manual_seed(0)
    masks = {}
    for trial in range(300):
        batch, height, width = (int(n) for n in torch.randint(1, 40, (3,), generator=generator))
        share = torch.rand(1, generator=generator)
        masks[f"{trial}"] = torch.rand(batch % 4 + 1, 1, height, width, generator=generator) < share
    masks["large"] = torch.rand(2, 1, 767, 1025, generator=generator) < 0.4
    _, theirs = ask("opencv", python, "parity.references.common.opencv", {}, masks)
    for name, mask in masks.items():
        ours = connected_components(mask)
        assert torch.equal(ours.labels, theirs[f"{name}.labels"])
        assert torch.equal(ours.areas, theirs[f"{name}.areas"])
    assert max(int(found.max()) for found in theirs.values()) > 1000
