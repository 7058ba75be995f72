"""Models whose masks are drawn by rule, for what lies around a model: crops, filters, suppression, order.

With filled weights a click gives a mask over all of a picture, and of a generator's masks one is left. Here the model's
input is divided into 8 x 8 cells, and a click answers for its cell: with nothing, one pixel, a column, everything, a
half, discs of several sizes and slopes, with holes and sprinkles, and with few different qualities, so that many tie.
Which of these depends on the cell, on the mask and on how bright the picture is there. Both libraries' predictors can
drive both models; numbers are the same for all, for every operation is.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELLS = 8
QUALITIES = (0.97, 0.93, 0.93, 0.9, 0.85, 0.7, 0.93)
KINDS = 11


class _Encoder(nn.Module):
    """A coarse picture: the mean of all channels in patches of 16 pixels, [B, 1, S / 16, S / 16]."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.img_size = side
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return F.avg_pool2d(x.mean(1, keepdim=True), 16)


class _Prompts(nn.Module):
    """Clicks as they come, [B, N, 2], and the masks that go with them."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.image_embedding_size = (side // 16, side // 16)
        self.input_image_size = (side, side)
        self.mask_input_size = (side // 4, side // 4)

    def get_dense_pe(self) -> Tensor:
        return torch.zeros(1, 1, *self.image_embedding_size)

    def forward(
        self, points: tuple[Tensor, Tensor], boxes: None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        coords, _ = points
        return coords, torch.zeros(len(coords), 1, 1, 1) if masks is None else masks


class _Decoder(nn.Module):
    """Draws the masks. SAM's decoder gives masks and qualities, SAM 2's two more answers."""

    def __init__(self, side: int, answers: int, ties: bool) -> None:
        super().__init__()
        self.side, self.answers, self.ties = side, answers, ties
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        image_embeddings: Tensor,
        image_pe: Tensor,
        sparse_prompt_embeddings: Tensor,
        dense_prompt_embeddings: Tensor,
        multimask_output: bool,
        **_: Any,
    ) -> tuple[Tensor, ...]:
        cell = self.side / CELLS
        place = (sparse_prompt_embeddings[:, 0].double() / cell).floor().clamp(0, CELLS - 1).long()
        masks, qualities = [], []
        penalty = (
            sparse_prompt_embeddings[:, 0].double() @ torch.tensor([1.0, self.side], dtype=torch.float64)
        ) / 2e6
        for index, (column, row) in enumerate(place.tolist()):
            bright = bool(image_embeddings[0, 0, row * self._patches, column * self._patches] > 0)
            given = dense_prompt_embeddings[index, 0]
            for number in (1, 2, 3) if multimask_output else (0,):
                key = column + 3 * row + 5 * number + 2 * bright
                drawn = self._draw(key % KINDS, column, row, number)
                if given.shape[-1] > 1:  # an earlier mask, of which some is kept
                    drawn = drawn + given / 4
                masks.append(drawn)
                quality = QUALITIES[(3 * column + 5 * row + number) % len(QUALITIES)]
                qualities.append(quality if self.ties else quality - float(penalty[index]) - number / 90)
        prompts = len(place)
        low_res = torch.stack(masks).view(prompts, -1, self.side // 4, self.side // 4)
        answers = low_res, torch.tensor(qualities).view(prompts, -1), low_res[:, :, 0], low_res[:, :1, 0, 0]
        return answers[: self.answers]

    @property
    def _patches(self) -> int:
        return self.side // 16 // CELLS

    def _draw(self, kind: int, column: int, row: int, number: int) -> Tensor:
        # Beside a truth in float64 throughout, the masks are drawn in float64, too.
        return _drawn(self.side // 4, kind, column, row, number, torch.get_default_dtype())


@cache
def _drawn(size: int, kind: int, column: int, row: int, number: int, dtype: torch.dtype) -> Tensor:
    """One mask's logits [size, size]."""
    cell = size // CELLS
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    if kind == 7:  # four cells share an object, up to a tie
        column, row = column // 2 * 2 + 1, row // 2 * 2 + 1
    centre_x, centre_y = (column + 0.5) * cell, (row + 0.5) * cell
    distance = ((x + 0.5 - centre_x) ** 2 + (y + 0.5 - centre_y) ** 2).sqrt()
    disc = (0.4 + 0.3 * number) * cell - distance
    if kind == 0:
        return torch.full((size, size), -5.0)
    # No two values are opposite: halfway between them rounding would decide.
    if kind == 1:
        return torch.where((x == int(centre_x)) & (y == int(centre_y)), 40.0, -37.3)
    if kind == 2:
        return torch.where((x == int(centre_x)) & (disc > -cell), 40.0, -37.3)
    if kind == 4:  # so gentle a slope that the mask is not stable
        return disc / 2
    if kind == 5:  # holes and sprinkles of one to three pixels, and a ring beside it
        flipped = (5 * x + 3 * y) % 11 == 0
        flipped |= (7 * x + 3 * y) % 29 < 2
        spotted = torch.where(flipped & (disc > -cell), -7.3 * disc, 8 * disc)
        from_ring = torch.maximum((x - int(centre_x) - cell).abs(), (y - int(centre_y)).abs())
        return torch.where(from_ring > 2, spotted, torch.where(from_ring == 1, 5.1, -4.3))
    if kind == 6:
        return torch.full((size, size), 6.0)
    if kind == 8:
        return 4 * (centre_x + 0.3127 - x.to(dtype))
    if kind == 9:
        return 8 * (disc + cell)
    return 8 * disc


class BlobSAM(nn.Module):
    """What SAM's drivers ask of a model.

    Args:
        side: side of its input, a multiple of 128.
        ties: many masks have the same quality; else none has another's.
    """

    mask_threshold = 0.0
    image_format = "RGB"

    def __init__(self, side: int = 128, *, ties: bool = True) -> None:
        super().__init__()
        self.image_encoder = _Encoder(side)
        self.prompt_encoder = _Prompts(side)
        self.mask_decoder = _Decoder(side, 2, ties)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.mask_decoder.weight.device

    def preprocess(self, x: Tensor) -> Tensor:
        """Normalise a picture from 0 to 255 and fill it up with zeros."""
        side = self.image_encoder.img_size
        return F.pad((x - 120.0) / 60.0, (0, side - x.shape[-1], 0, side - x.shape[-2]))

    def postprocess_masks(
        self, masks: Tensor, input_size: tuple[int, int], original_size: tuple[int, int]
    ) -> Tensor:
        """Bring masks to a picture's size, as SAM does, in two steps."""
        side = self.image_encoder.img_size
        masks = F.interpolate(masks, (side, side), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, original_size, mode="bilinear", align_corners=False)


class BlobSAM2(nn.Module):
    """What SAM 2's image drivers ask of a model.

    Args:
        side: side of its input, a multiple of 128.
        ties: many masks have the same quality; else none has another's.
    """

    directly_add_no_mem_embed = True

    def __init__(self, side: int = 128, *, ties: bool = True) -> None:
        super().__init__()
        self.image_size = side
        self.image_encoder = _Encoder(side)
        self.sam_prompt_encoder = _Prompts(side)
        self.sam_mask_decoder = _Decoder(side, 4, ties)
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, 1))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.no_mem_embed.device

    def forward_image(self, img_batch: Tensor) -> dict[str, Any]:
        """Three levels, of which the coarsest alone is looked at."""
        coarse = self.image_encoder(img_batch)
        levels = [F.interpolate(coarse, scale_factor=factor, mode="nearest") for factor in (4, 2)]
        return {"backbone_fpn": [*levels, coarse], "vision_pos_enc": [*levels, coarse]}

    def _prepare_backbone_features(
        self, backbone_out: dict[str, Any]
    ) -> tuple[Any, Sequence[Tensor], Any, Any]:
        maps = backbone_out["backbone_fpn"]
        tokens = [level.flatten(2).permute(2, 0, 1) for level in maps]
        return backbone_out, tokens, tokens, [tuple(level.shape[-2:]) for level in maps]
