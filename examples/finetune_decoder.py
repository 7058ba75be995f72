"""Fine-tune a mask decoder on pictures of shapes, save it, and load it again.

  python examples/finetune_decoder.py                                     # fresh weights: a minute, to see it move
  python examples/finetune_decoder.py --steps 80 --picture masks.png       # the picture in the README
  python examples/finetune_decoder.py --model sam_vit_b --side 1024 -o tuned.pth

The image encoder is frozen, so every picture is encoded once. What is written loads wherever the original did.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import samblocks
from samblocks import Masks
from samblocks.models import SAMModel
from samblocks.predict.overlays import overlay
from samblocks.predict.png import encode_png


def shapes(count: int, side: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [N, 3, S, S] of an ellipse or a box, from 0 to 255; their masks [N, S, S]; a click [N, 1, 2] inside."""
    down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    centre = side * (0.3 + 0.4 * torch.rand(count, 2, generator=draw))
    radius = side * (0.12 + 0.13 * torch.rand(count, 2, generator=draw))
    x = (across - centre[:, 0, None, None]) / radius[:, 0, None, None]
    y = (down - centre[:, 1, None, None]) / radius[:, 1, None, None]
    box = torch.rand(count, 1, 1, generator=draw) < 0.5
    masks = torch.where(box, torch.maximum(x.abs(), y.abs()), x.hypot(y)) < 1
    colours = 255 * torch.rand(count, 2, 3, 1, 1, generator=draw)
    pictures = torch.where(masks[:, None], colours[:, 0], colours[:, 1])
    noise = 12 * torch.randn(pictures.shape, generator=draw)
    return (pictures + noise).clamp(0, 255), masks, centre[:, None]


def logits(model: SAMModel, features: Tensor, clicks: Tensor) -> Tensor:
    """Low-resolution logits [N, h, w] of one mask a picture, for its click."""
    found = []
    for feature, click in zip(features, clicks, strict=True):
        label = torch.ones(1, 1, dtype=torch.int32)
        sparse, dense = model.prompt_encoder(points=(click[None], label), boxes=None, masks=None)
        masks, _ = model.mask_decoder(
            image_embeddings=feature[None],
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        found.append(masks[0, 0])
    return torch.stack(found)


def iou(found: Tensor, masks: Tensor) -> float:
    """Mean intersection over union of logits [N, h, w] and masks [N, S, S]."""
    on = F.interpolate(found[:, None], masks.shape[-2:], mode="bilinear")[:, 0] > 0
    return float(((on & masks).sum((1, 2)) / (on | masks).sum((1, 2)).clamp(min=1)).mean())


def loss_of(found: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and Dice, on the decoder's own size."""
    target = F.interpolate(masks[:, None].float(), found.shape[-2:], mode="area")[:, 0]
    on = found.sigmoid()
    dice = 1 - (2 * (on * target).sum((1, 2)) + 1) / (on.sum((1, 2)) + target.sum((1, 2)) + 1)
    return F.binary_cross_entropy_with_logits(found, target) + dice.mean()


def drawn(pictures: Tensor, clicks: Tensor, found: Tensor, masks: Tensor) -> NDArray[np.uint8]:
    """Pictures with their clicks, and below the masks that were found: [2 · S, N · S, 3], twice as large."""
    tiles = []
    for picture, click, logit, mask in zip(pictures, clicks, found, masks, strict=True):
        pixels = picture.byte().permute(1, 2, 0).numpy()
        on = F.interpolate(logit[None, None], mask.shape, mode="bilinear")[0, 0] > 0
        shown = overlay(pixels, Masks(on[None].numpy()), labels=[""])
        clicked = pixels.copy()
        x, y = (round(float(value)) for value in click[0])
        clicked[y - 4 : y + 5, x - 4 : x + 5] = 0
        clicked[y - 3 : y + 4, x - 3 : x + 4] = 255
        tiles.append(np.concatenate([clicked, shown]))
    return np.concatenate(tiles, 1).repeat(2, 0).repeat(2, 1)


def main() -> tuple[float, float]:
    """Train; the mean IoU on pictures that were not trained on, before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a SAM, by file or name; by default a MobileSAM with fresh weights")
    parser.add_argument("--side", type=int, default=128, help="of the pictures (default: 128)")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--picture", type=Path, help="draw what was found on four pictures, as PNG")
    parser.add_argument("-o", "--output", type=Path, help="where the tuned model goes")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    with tempfile.TemporaryDirectory() as folder:
        file = arguments.model or f"{folder}/fresh.pt"
        if arguments.model is None:
            samblocks.save(samblocks.build("mobile_sam"), file)
        model = samblocks.load(file, image_size=arguments.side, mmap=False)
        if not isinstance(model, SAMModel):
            parser.error("--model must be a SAM or MobileSAM: SAM 2's decoder takes other arguments")
        output = arguments.output or Path(folder, "tuned.pt")
        model.requires_grad_(False)
        model.mask_decoder.requires_grad_(True)
        pictures, masks, clicks = shapes(64, arguments.side, draw)
        with torch.no_grad():
            features = torch.cat([model.image_encoder(model.preprocess(some)) for some in pictures.split(8)])
        test = slice(16)  # the first pictures are not trained on
        with torch.no_grad():
            before = iou(logits(model, features[test], clicks[test]), masks[test])
        optimizer = torch.optim.AdamW(model.mask_decoder.parameters(), lr=1e-3)
        for step in range(arguments.steps):
            some = 16 + torch.randint(48, (8,), generator=draw)
            loss = loss_of(logits(model, features[some], clicks[some]), masks[some])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % 10 == 0:
                print(f"step {step}: loss {loss.item():.3f}")
        samblocks.save(model, output)
        again = samblocks.load(output, image_size=arguments.side, mmap=False)
        assert isinstance(again, SAMModel)
        with torch.no_grad():
            found = logits(again, features[test], clicks[test])
            assert torch.equal(found, logits(model, features[test], clicks[test]))
        after = iou(found, masks[test])
        if arguments.picture:
            four = slice(4)
            arguments.picture.write_bytes(
                encode_png(drawn(pictures[four], clicks[four], found[four], masks[four]))
            )
    print(f"mean IoU on 16 pictures that were not trained on: {before:.3f} before, {after:.3f} after")
    return before, after


if __name__ == "__main__":
    main()
