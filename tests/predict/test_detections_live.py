"""supervision takes `Masks` unconverted, in the references' environment."""

import numpy as np
import pytest
import torch

from parity import package
from parity.workers.client import interpreter
from parity.workers.one_request import ask
from samblocks.predict.masks import Masks


@pytest.mark.live
def test_supervision_takes_masks_as_they_are() -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    draw = np.random.default_rng(0)
    array = draw.random((4, 40, 61)) > 0.5
    array[1, :10] = array[2, :, 30:] = array[3, 5:] = False
    scores = np.array([0.9, 0.5, 0.7, 0.8], np.float32)
    packages = {"samblocks": package.ROOT / "samblocks"}
    tensors = {"masks": torch.from_numpy(array), "scores": torch.from_numpy(scores)}
    theirs, found = ask(
        "supervision", python, "parity.references.common.detections", {}, tensors, packages=packages
    )
    if "missing" in theirs:
        pytest.skip(f"the references' environment has no supervision: {theirs['missing']}")
    masks = Masks(array, scores)
    falling = np.argsort(-masks.areas, kind="stable")  # the order of its records
    assert np.array_equal(found["records/masks"].numpy(), array[falling])
    assert np.array_equal(found["records/boxes"].numpy(), masks.boxes[falling])
    for name in ("compact/masks", "rle/masks"):
        assert np.array_equal(found[name].numpy(), array), name
    for name in ("compact/areas", "detections/areas"):
        assert np.array_equal(found[name].numpy(), masks.areas), name
