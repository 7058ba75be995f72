"""What Ultralytics' TinyViT keeps for the backward pass is what ours keeps, with checkpointing and without."""

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from ultralytics.models.sam.modules.tiny_encoder import TinyViT

from samblocks import swap_blocks

X = torch.randn(1, 3, 64, 64)


class Model(nn.Module):
    def __init__(self, use_checkpoint):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = TinyViT(
            img_size=64,
            num_classes=1,
            embed_dims=(64, 128, 160, 320),
            depths=(1, 2, 2, 1),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 7, 7),
            use_checkpoint=use_checkpoint,
        )

    def forward(self, x):
        return self.encoder(x)


def bytes_saved(model):
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        model(X).sum()
    return sum(sizes)


host = {flag: bytes_saved(Model(flag).train()) for flag in (False, True)}
assert host[True] < 0.8 * host[False]
for flag, expected in host.items():
    model = Model(flag).train()
    report = swap_blocks(model)
    assert [row.path for row in report.swapped] == ["encoder"], str(report)
    assert bytes_saved(model) <= 1.02 * expected, (flag, bytes_saved(model), expected)
