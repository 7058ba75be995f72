"""Prompts of every kind under autocast: the host's dtypes, and by plain paths its bits; and its classes of parts."""

from importlib import import_module

import torch
from torch import nn

from parity.execution.fill import fill_
from samblocks import plain_paths, swap_blocks

POINTS = torch.tensor([[[20.0, 30.0], [5.5, 60.0]], [[1.0, 2.0], [33.0, 9.0]]])
LABELS = torch.tensor([[1, 0], [1, -1]])
BOXES = torch.tensor([[1.0, 2.0, 30.0, 40.0], [5.0, 6.0, 50.0, 60.0]])
KINDS = ((True, False), (False, True), (True, True))


class Holder(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder


def of_meta(module):
    return Holder(
        import_module(module).PromptEncoder(32, (4, 4), (64, 64), 16)
    ), lambda model, points, boxes: model.encoder(
        (POINTS, LABELS) if points else None, BOXES if boxes else None, None
    )[0]


def of_transformers(name):
    module = import_module(f"transformers.models.{name.lower()}.modeling_{name.lower()}")
    config = import_module("transformers")
    if name == "Sam":
        made = config.SamConfig(
            vision_config={"num_pos_feats": 16}, prompt_encoder_config={"hidden_size": 32}
        )
        encoder = module.SamPromptEncoder(made)
    else:
        encoder = module.Sam2PromptEncoder(config.Sam2PromptEncoderConfig(hidden_size=32))
    labels = LABELS[None] if name == "Sam" else LABELS[None].long()
    return Holder(encoder), lambda model, points, boxes: model.encoder(
        POINTS[None] if points else None, labels if points else None, BOXES[None] if boxes else None, None
    )[0]


MADE = {
    "segment_anything": lambda: of_meta("segment_anything.modeling.prompt_encoder"),
    "sam2": lambda: of_meta("sam2.modeling.sam.prompt_encoder"),
    "ultralytics": lambda: of_meta("ultralytics.models.sam.modules.encoders"),
    "transformers Sam": lambda: of_transformers("Sam"),
    "transformers Sam2": lambda: of_transformers("Sam2"),
}

for host, make in MADE.items():
    model, run = make()
    fill_(model).eval()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.no_grad(), torch.autocast("cpu", dtype):
            before = [run(model, *kinds) for kinds in KINDS]
            kinds_of_parts = {
                type(part) for part in model.modules() if "transformers" in type(part).__module__
            }
            with swap_blocks(model) as report, plain_paths():
                after = [run(model, *kinds) for kinds in KINDS]
                for kind in kinds_of_parts:
                    assert any(isinstance(part, kind) for part in model.modules()), kind
        assert [row.path for row in report.swapped] == ["encoder"], f"{host}: {report}"
        for kinds, ours, theirs in zip(KINDS, after, before, strict=True):
            assert ours.dtype == theirs.dtype, (host, dtype, kinds, ours.dtype, theirs.dtype)
            assert torch.equal(ours, theirs), (host, dtype, kinds)
