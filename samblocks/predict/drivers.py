"""How each family of models is driven on one picture: from pixels to features, and from prompts to logits.

Models are known by what they have, not by their class: Meta's own are driven as well as ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.image_size import ImageSize, image_size_of
from samblocks.models.sam2.levels import to_map
from samblocks.ops.precision import at_least_float32
from samblocks.predict.pictures import Pixels
from samblocks.predict.prompts import Prompts
from samblocks.predict.resize import resize_smooth
from samblocks.predict.transforms import MEAN, STD, ResizeLongestSide, SAM2Transforms, Size

Features = Any
"""What the image encoder gives: a tensor (SAM 1), or maps by name, "image_embed" and "high_res_feats" (the others)."""


class Driver(Protocol):
    """One family's way; batches are pictures in `prepare` and `encode`, prompts in the others."""

    squares: bool
    """Whether pictures are stretched to all of the input, which is a square as released."""
    encoding: tuple[str, ...]
    """The tensors that features depend on, by what their names in the state dict begin with."""

    @property
    def image_size(self) -> ImageSize:
        """The side of the model's input, or its height and width."""
        ...

    @property
    def preprocessing(self) -> str:
        """How pictures become the model's input, as a text that changes whenever what it says changes."""
        ...

    def reads(self, weights: torch.dtype) -> torch.dtype:
        """The dtype that coordinates are read in, before they are scaled."""
        ...

    @property
    def transform(self) -> ResizeLongestSide | SAM2Transforms:
        """From a picture's pixels to the model's."""
        ...

    @property
    def low_res(self) -> Size:
        """Height and width of the decoder's masks."""
        ...

    def prepare(self, pictures: Sequence[Pixels]) -> tuple[Tensor, list[Size]]:
        """The model's input [B, 3, *sides], and the height and width that each picture takes up in it."""
        ...

    def encode(self, images: Tensor) -> Features:
        """Run the image encoder."""
        ...

    def scale(self, prompts: Prompts, original: Size, fractions: bool) -> Prompts:
        """Take prompts from a picture's pixels, or from fractions of its sides, to the model's."""
        ...

    def decode(
        self, features: Features, index: int, prompts: Prompts, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, M, h, w] and predicted qualities [B, M] for one of the pictures."""
        ...

    def enlarge(self, logits: Tensor, inside: Size, original: Size) -> Tensor:
        """Bring logits to a picture's own size."""
        ...

    def shrink(self, masks: Tensor, inside: Size) -> Tensor:
        """Bring masks [B, 1, H, W] of zeros and ones, of a picture, to the size of the decoder's."""
        ...


def driver_of(model: nn.Module) -> Driver:
    """The driver of a model.

    Raises:
        ValueError: it is neither a SAM nor a SAM 2.
    """
    if hasattr(model, "sam_prompt_encoder") and hasattr(model, "forward_image"):
        return SAM2Driver(model)
    if all(hasattr(model, part) for part in ("image_encoder", "prompt_encoder", "mask_decoder")):
        return HQDriver(model) if hasattr(model.mask_decoder, "hf_token") else SAMDriver(model)
    raise ValueError(
        f"sam_model is a {type(model).__name__}; it must be a SAM, MobileSAM, HQ-SAM or SAM 2 model, the path of "
        "a file, or a name that `samblocks list` shows"
    )


class SAMDriver:
    """SAM 1 and MobileSAM: whole grey levels, the longest side fits, masks are enlarged in two steps."""

    squares = False
    encoding: tuple[str, ...] = ("image_encoder.",)

    def __init__(self, model: nn.Module) -> None:
        self._model = cast(Any, model)

    @property
    def transform(self) -> ResizeLongestSide:
        """From a picture's pixels to the model's."""
        return ResizeLongestSide(input_size(self._model.prompt_encoder))

    @property
    def low_res(self) -> Size:
        """Height and width of the decoder's masks."""
        height, width = self._model.prompt_encoder.mask_input_size
        return int(height), int(width)

    @property
    def image_size(self) -> ImageSize:
        """The side of the model's input, or its height and width."""
        return self.transform.target_length

    @property
    def preprocessing(self) -> str:
        """How pictures become the model's input."""
        means, spreads = (
            getattr(self._model, name).flatten().tolist() for name in ("pixel_mean", "pixel_std")
        )
        return (
            f"bytes, the longest side {self.image_size} by Pillow's bilinear rule, "
            f"less {means}, over {spreads}, filled up with zeros"
        )

    def reads(self, weights: torch.dtype) -> torch.dtype:
        """Coordinates are rounded once, after they were scaled."""
        return torch.float64

    def prepare(self, pictures: Sequence[Pixels]) -> tuple[Tensor, list[Size]]:
        """Resize to bytes, normalise, then fill up."""
        resized = [self.transform.apply_image(picture) for picture in pictures]
        device = _weight(self._model.mask_decoder).device
        images = [
            self._model.preprocess(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None].to(device))
            for picture in resized
        ]
        return torch.cat(images), [(picture.shape[0], picture.shape[1]) for picture in resized]

    def encode(self, images: Tensor) -> Features:
        """Run the image encoder: [B, C, H, W]."""
        return self._model.image_encoder(images)

    def scale(self, prompts: Prompts, original: Size, fractions: bool) -> Prompts:
        """Multiply by new over old sides, in float64, then round."""
        dtype = at_least_float32(_weight(self._model.mask_decoder).dtype)

        def scaled(coords: Tensor) -> Tensor:
            exact = coords.numpy()
            if fractions:
                exact = exact * original[::-1]
            return torch.from_numpy(self.transform.apply_coords(exact, original)).to(dtype)

        points, boxes, masks = prompts.points, prompts.boxes, prompts.masks
        return Prompts(
            None if points is None else (scaled(points[0]), points[1]),
            None if boxes is None else scaled(boxes.reshape(-1, 2, 2)).reshape(-1, 4),
            None if masks is None else masks.to(dtype),
        )

    def decode(
        self, features: Features, index: int, prompts: Prompts, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, M, h, w] and predicted qualities [B, M] for one of the pictures."""
        return self._decode(features[index].unsqueeze(0), prompts, multimask)

    def _decode(
        self, embedding: Tensor, prompts: Prompts, multimask: bool, **more: Any
    ) -> tuple[Tensor, Tensor]:
        sparse, dense = self._model.prompt_encoder(
            points=prompts.points, boxes=prompts.boxes, masks=prompts.masks
        )
        logits, ious = self._model.mask_decoder(
            image_embeddings=embedding,
            image_pe=self._model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            **more,
        )
        return logits, ious

    def enlarge(self, logits: Tensor, inside: Size, original: Size) -> Tensor:
        """To the model's size, without what filled it up, and then to the picture's."""
        wide = logits.to(at_least_float32(logits.dtype))
        enlarged: Tensor = self._model.postprocess_masks(wide, inside, original)
        return enlarged

    def shrink(self, masks: Tensor, inside: Size) -> Tensor:
        """To what the picture takes up of the model's input, which is then filled up."""
        height, width = self.transform.sides
        fitted = resize_smooth(masks, inside)
        return resize_smooth(F.pad(fitted, (0, width - inside[1], 0, height - inside[0])), self.low_res)


class HQDriver(SAMDriver):
    """HQ-SAM and Light HQ-SAM: SAM 1's way, with the encoder's early features; each prompt has one mask."""

    def encode(self, images: Tensor) -> Features:
        """Run the image encoder; the finer maps are its first from inside, [B, h, w, C]."""
        encoder = self._model.image_encoder
        features, maps = getattr(encoder, "forward_intermediates", encoder)(images)
        return {"image_embed": features, "high_res_feats": [maps[0]]}

    def decode(
        self, features: Features, index: int, prompts: Prompts, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, 1, h, w], HQ-SAM's summed with SAM's, and predicted qualities [B, 1]."""
        early = [one[index].unsqueeze(0) for one in features["high_res_feats"]]
        return self._decode(
            features["image_embed"][index].unsqueeze(0),
            prompts,
            multimask,
            hq_token_only=False,
            interm_embeddings=early,
        )


class SAM2Driver:
    """SAM 2 and 2.1 on pictures: real numbers, squares, boxes as two points, masks are enlarged in one step."""

    squares = True
    encoding: tuple[str, ...] = (
        "image_encoder.",
        "no_mem_embed",
        "sam_mask_decoder.conv_s0.",
        "sam_mask_decoder.conv_s1.",
    )

    def __init__(self, model: nn.Module) -> None:
        self._model = cast(Any, model)

    @property
    def transform(self) -> SAM2Transforms:
        """From a picture's pixels to the model's."""
        return SAM2Transforms(input_size(self._model.sam_prompt_encoder))

    @property
    def low_res(self) -> Size:
        """Height and width of the decoder's masks."""
        height, width = self._model.sam_prompt_encoder.mask_input_size
        return int(height), int(width)

    @property
    def image_size(self) -> ImageSize:
        """The side of the model's input, or its height and width."""
        return self.transform.resolution

    @property
    def preprocessing(self) -> str:
        """How pictures become the model's input."""
        return f"from 0 to 1, {self.image_size} square, bilinear and smoothed, less {MEAN}, over {STD}"

    def reads(self, weights: torch.dtype) -> torch.dtype:
        """Coordinates are rounded before they are scaled, and again in each step."""
        return at_least_float32(weights)

    def prepare(self, pictures: Sequence[Pixels]) -> tuple[Tensor, list[Size]]:
        """Resize and normalise; each picture takes up all of the input."""
        weight = self._model.no_mem_embed
        images = self.transform.forward_batch(pictures, at_least_float32(weight.dtype))
        return images.to(weight), [self.transform.sides] * len(pictures)

    def encode(self, images: Tensor) -> Features:
        """Run the image encoder; the coarsest map has what stands for an empty memory added."""
        levels = self._model.forward_image(images)
        _, tokens, _, sizes = self._model._prepare_backbone_features(levels)
        *fine, coarse = tokens
        if self._model.directly_add_no_mem_embed:
            coarse = coarse + self._model.no_mem_embed
        *fine_maps, embedding = [
            to_map(level, *size) for level, size in zip((*fine, coarse), sizes, strict=True)
        ]
        return {"image_embed": embedding, "high_res_feats": fine_maps}

    def scale(self, prompts: Prompts, original: Size, fractions: bool) -> Prompts:
        """Divide by the picture's sides, then multiply by the model's; each rounds."""
        points, boxes = prompts.points, prompts.boxes
        to_model, normalize = self.transform, not fractions
        if points is not None:
            points = (to_model.transform_coords(points[0], normalize, original), points[1])
        if boxes is not None:
            boxes = to_model.transform_boxes(boxes, normalize, original).reshape(-1, 4)
        return Prompts(points, boxes, prompts.masks)

    def decode(
        self, features: Features, index: int, prompts: Prompts, multimask: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, M, h, w] and predicted qualities [B, M] for one of the pictures."""
        sparse, dense = self._model.sam_prompt_encoder(
            points=_corners_first(prompts), boxes=None, masks=prompts.masks
        )
        logits, ious, _, _ = self._model.sam_mask_decoder(
            image_embeddings=features["image_embed"][index].unsqueeze(0),
            image_pe=self._model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=len(sparse) > 1,
            high_res_features=[level[index].unsqueeze(0) for level in features["high_res_feats"]],
        )
        return logits, ious

    def enlarge(self, logits: Tensor, inside: Size, original: Size) -> Tensor:
        """To the picture's size."""
        return self.transform.postprocess_masks(logits, original)

    def shrink(self, masks: Tensor, inside: Size) -> Tensor:
        """To all of them: nothing is filled up."""
        return resize_smooth(masks, self.low_res)


def input_size(prompt_encoder: Any) -> ImageSize:
    """The size of a model's input, by what its prompts refer to; models of Meta's and ours say it there alike."""
    height, width = prompt_encoder.input_image_size
    return image_size_of(int(height), int(width))


def _corners_first(prompts: Prompts) -> tuple[Tensor, Tensor] | None:
    """Boxes as points labelled 2 and 3 in front of the clicks."""
    if prompts.boxes is None:
        return prompts.points
    corners = prompts.boxes.reshape(-1, 2, 2)
    kinds = torch.tensor([[2, 3]], dtype=torch.int32, device=corners.device).expand(len(corners), -1)
    if prompts.points is None:
        return corners, kinds
    coords, labels = prompts.points
    return torch.cat((corners, coords), dim=1), torch.cat((kinds, labels), dim=1)


def _weight(module: nn.Module) -> Tensor:
    return next(module.parameters())
