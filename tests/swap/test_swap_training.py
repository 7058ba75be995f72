"""What runs again in the backward pass to save memory goes on doing so after a swap."""

import pytest
import torch
from fake_hosts import picture, pipeline
from torch import nn
from torch.utils.checkpoint import checkpoint

from samblocks import swap_blocks


@pytest.mark.parametrize("flag", ["gradient_checkpointing", "use_checkpoint"])
def test_what_runs_again_in_the_backward_pass_stays(flag):
    class Again(nn.Module):
        """Runs what is in it again, as its own flag says."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            setattr(self, flag, True)

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    model = pipeline()
    setattr(model.decoder.layers[1], flag, True)
    setattr(model.memory.layers[0], flag, True)
    model.fuser = Again(model.fuser)
    with torch.no_grad():
        before = model(picture())
    report = swap_blocks(model)
    reasons = {row.path: row.reason for row in report.kept}
    said = f"gradient checkpointing is switched on in it ({flag}), and ours has none"
    assert reasons["decoder.layers.1"] == reasons["memory.layers.0"] == said
    assert "layers.1" in reasons["decoder"]
    assert "layers.0" in reasons["memory"]
    swapped = {row.path for row in report.swapped}
    assert {"decoder.layers.0", "decoder.layers.1.self_attn", "fuser.inner", "norm"} <= swapped
    with torch.no_grad():
        assert torch.equal(model(picture()), before)
