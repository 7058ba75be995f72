"""Meta's own drivers with our models, and ours with Meta's, in the references' environment."""

import pytest
import torch

from parity import package
from parity.workers.client import interpreter
from parity.workers.one_request import ask


@pytest.mark.live
@pytest.mark.parametrize(
    ("driver", "variant", "size"),
    [
        ("SamPredictor", "sam_vit_b", 256),
        ("SAM2ImagePredictor", "sam2.1_hiera_tiny", 256),
    ],
)
def test_models_and_drivers_are_interchangeable(driver: str, variant: str, size: int) -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    request = {"driver": driver, "variant": variant, "size": size}
    packages = {"samblocks": package.ROOT / "samblocks"}
    _, found = ask("meta", python, "parity.references.hosts.crossed", request, packages=packages)
    theirs = {name.partition(".")[2]: value for name, value in found.items() if name.startswith("upstream.")}
    mixed = [
        float(mask.double().mean()) for name, masks in theirs.items() if "masks" in name for mask in masks
    ]
    assert sum(0.05 < share < 0.95 for share in mixed) >= 0.75 * len(mixed), mixed
    for pair in ("model", "driver", "ours"):
        for name, one in theirs.items():
            other = found[f"{pair}.{name}"]
            if one.dtype is torch.bool:
                logits = theirs[name.replace("masks", "logits")]
                error = (found[f"{pair}.{name.replace('masks', 'logits')}"] - logits).abs().max()
                flipped = one != other
                print(pair, name, int(flipped.sum()), "pixels of", flipped.numel())
                assert not bool((logits.abs()[flipped] > error).any())
            else:
                assert float((one - other).abs().max()) <= 1e-4 * float(one.abs().max()), (pair, name)


@pytest.mark.live
@pytest.mark.parametrize(
    ("driver", "variant"),
    [("SamAutomaticMaskGenerator", "sam_vit_b"), ("SAM2AutomaticMaskGenerator", "sam2.1_hiera_tiny")],
)
def test_generators_and_models_are_interchangeable(driver: str, variant: str) -> None:
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    request = {"driver": driver, "variant": variant, "size": 256}
    packages = {"samblocks": package.ROOT / "samblocks"}
    _, found = ask("meta", python, "parity.references.hosts.crossed", request, packages=packages)
    masks, logits = found["upstream.masks"], found["upstream.logits"]
    shares = masks.double().mean(dim=(1, 2)).tolist()
    assert len(masks) >= 5, "too few records survive"
    assert sum(0.05 < share < 0.95 for share in shares) >= 0.75 * len(shares), shares
    decided = (logits > 0) == masks
    assert float(decided.double().mean()) > 0.9999, "the logits are not those of the masks"
    for pair in ("model", "driver", "ours"):
        other = found[f"{pair}.masks"]
        assert other.shape == masks.shape, f"{pair} gives {len(other)} records, upstream {len(masks)}"
        inside = logits.isfinite()
        error = float((found[f"{pair}.logits"] - logits)[inside].abs().max())
        flipped = other != masks
        print(driver, pair, len(masks), "records,", int(flipped.sum()), "pixels of", flipped.numel())
        assert error < 1e-3 * float(logits[inside].abs().max())
        assert not bool((logits.abs()[flipped] > error).any())
        places, theirs = found[f"{pair}.places"], found["upstream.places"]
        assert torch.equal(places[:, 4:10], theirs[:, 4:10]), "other points, crops or another order"
        steady = ~flipped.any(dim=2).any(dim=1)
        assert torch.equal(places[steady], theirs[steady]), "other boxes or areas"
        assert float((found[f"{pair}.scores"] - found["upstream.scores"]).abs().max()) < 1e-3
