"""Meta's model inside our predictor of videos, and ours inside Meta's, in the references' environment."""

import pytest
import torch

from parity import package
from parity.workers.client import interpreter
from parity.workers.one_request import ask

SCRIPTS = (
    "both_ways",
    "objects",
    "lost_corrections",
    "seen_corrections",
    "corrections_as_cond",
    "cleared",
    "window",
)


@pytest.mark.live
@pytest.mark.parametrize("script", SCRIPTS)
def test_models_and_drivers_can_be_crossed(script: str) -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    packages = {"samblocks": package.ROOT / "samblocks"}
    request = {"case": f"SAM2Model/film_{script}"}
    _, made = ask(
        "meta", python, "parity.references.hosts.crossed_video", request, packages=packages, timeout=600
    )
    names = [name.removeprefix("meta/") for name in made if name.startswith("meta/")]
    assert sum(name.endswith("masks") for name in names) > 3
    for name in names:
        meta, driver = made[f"meta/{name}"], made[f"metas_driver/{name}"]
        # One model, two drivers: every bit.
        assert torch.equal(made[f"metas_model/{name}"], meta), name
        # One driver, two models: nothing flips that is not within rounding of zero.
        assert meta.shape == driver.shape
        error = float((meta - driver).abs().max())
        assert error < 1e-2, name
        assert not (((meta > 0) != (driver > 0)) & (meta.abs() > error)).any(), name
