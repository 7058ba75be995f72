"""Initial values of some tensors are those that a new model has, made without the others."""

import pytest
import torch

from samblocks.image_size import Sizes
from samblocks.models import build, deferred
from samblocks.models.deferred import initial_values
from samblocks.variants import VARIANTS

FAMILIES = ["sam_vit_b", "mobile_sam", "sam2.1_hiera_tiny"]


@pytest.mark.parametrize("variant", FAMILIES[1:])
def test_all_of_them_are_a_new_models_to_the_bit(variant, monkeypatch):
    """With every call made again, drawn numbers come in the same order too."""
    monkeypatch.setattr(deferred, "_needed", lambda calls, wanted: calls)
    torch.manual_seed(3)
    whole = build(variant).state_dict()
    torch.manual_seed(3)
    made = initial_values(VARIANTS[variant], whole.keys(), Sizes())
    assert made.keys() == whole.keys()
    assert [name for name in whole if not torch.equal(made[name], whole[name])] == []


@pytest.mark.parametrize("variant", FAMILIES)
def test_some_of_them_are_made_alone(variant):
    skeleton = build(variant, device="meta").state_dict()
    small = [name for name in skeleton if skeleton[name].numel() < 2000][::7]
    generator = torch.random.get_rng_state()
    made = initial_values(VARIANTS[variant], small, Sizes())
    assert list(made) == small
    for name, tensor in made.items():
        assert (tensor.shape, tensor.dtype) == (skeleton[name].shape, skeleton[name].dtype)
        assert tensor.device.type == "cpu"
        assert not tensor.requires_grad
        assert float(tensor.double().abs().max()) < 10, name  # memory that nobody wrote to is no value
    torch.random.set_rng_state(generator)


def test_a_drawn_weight_is_drawn_as_in_a_new_model():
    name = "image_encoder.trunk.blocks.3.attn.qkv.weight"
    whole = build("sam2.1_hiera_tiny").state_dict()[name]
    made = initial_values(VARIANTS["sam2.1_hiera_tiny"], [name], Sizes())[name]
    assert float(made.std() / whole.std()) == pytest.approx(1, abs=0.02)
    assert float(made.abs().max() / whole.abs().max()) == pytest.approx(1, abs=0.02)
