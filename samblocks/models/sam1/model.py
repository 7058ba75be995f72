"""SAM 1 and MobileSAM as a whole: image encoder, prompt encoder, mask decoder, and the way in and out."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.models.prompt_encoder import PromptEncoder
from samblocks.models.sam1.mask_decoder import MaskDecoder
from samblocks.ops.precision import at_least_float32


class SAMModel(nn.Module):
    """The Segment Anything Model.

    It has what Meta's `SamPredictor` and what Ultralytics' predictors ask of a model. Beside Meta's class,
    gradients are recorded in `forward` unless the caller switches them off.

    Args:
        image_encoder: `ImageEncoderViT` or `TinyViT`.
        prompt_encoder: its `input_image_size` is the size that images are padded to.
        mask_decoder: takes what both encoders give.
        pixel_mean: mean of the channels, for values from 0 to 255.
        pixel_std: deviation of the channels.

    Examples:
        >>> from samblocks.blocks import TwoWayTransformer
        >>> from samblocks.models import ImageEncoderViT, MaskDecoder, PromptEncoder
        >>> model = SAMModel(ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=16),
        ...                  PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False),
        ...                  MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32))).eval()
        >>> photo = {"image": torch.full((3, 48, 64), 128.0), "original_size": (96, 128),
        ...          "boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]])}
        >>> [answer] = model([photo], multimask_output=True)
        >>> answer["masks"].shape, answer["masks"].dtype
        (torch.Size([1, 3, 96, 128]), torch.bool)

    Upstream: facebookresearch/segment-anything segment_anything/modeling/sam.py
    """

    mask_threshold: float = 0.0
    image_format: str = "RGB"

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        pixel_mean: Sequence[float] = (123.675, 116.28, 103.53),
        pixel_std: Sequence[float] = (58.395, 57.12, 57.375),
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self._pixel_statistics = tuple(pixel_mean), tuple(pixel_std)
        for name, values in zip(("pixel_mean", "pixel_std"), self._pixel_statistics, strict=True):
            self.register_buffer(name, torch.tensor(values).reshape(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.pixel_mean.device

    def remake(self, device: torch.device) -> None:
        """Make mean and deviation, which no checkpoint holds, anew on `device` in the weights' dtype."""
        dtype = self.prompt_encoder.no_mask_embed.weight.dtype
        mean, std = self._pixel_statistics
        self.pixel_mean = torch.tensor(mean, dtype=dtype, device=device).reshape(-1, 1, 1)
        self.pixel_std = torch.tensor(std, dtype=dtype, device=device).reshape(-1, 1, 1)

    def forward(
        self, batched_input: Sequence[Mapping[str, Any]], multimask_output: bool
    ) -> list[dict[str, Tensor]]:
        """Segment several images, each with prompts of its own.

        Each input has `image`, [3, H, W] from 0 to 255 with its longest side scaled to the model's size,
        and `original_size`, the (height, width) before that scaling. Prompts are in the scaled image's
        pixels and optional: `point_coords` [B, N, 2] with `point_labels` [B, N], `boxes` [B, 4],
        `mask_inputs` [B, 1, h, w].

        Args:
            batched_input: one mapping for each image.
            multimask_output: whether to give several masks for each prompt, or one.

        Returns:
            For each image `masks`, [B, M, H, W] bool in the original size; `iou_predictions`, [B, M]; and
            `low_res_logits`, [B, M, h, w], to be given back as `mask_inputs`.

        Raises:
            ValueError: an input lacks `image` or `original_size`, or an image is larger than the model's.
        """
        embeddings = self.image_encoder(self.prepared(batched_input))
        return [
            self.segment(record, embedding.unsqueeze(0), multimask_output)
            for record, embedding in zip(batched_input, embeddings, strict=True)
        ]

    def prepared(self, batched_input: Sequence[Mapping[str, Any]]) -> Tensor:
        """Normalise and pad the images of several inputs to one batch; see `forward`."""
        for i, record in enumerate(batched_input):
            if missing := {"image", "original_size"} - record.keys():
                raise ValueError(f"batched_input[{i}] lacks {sorted(missing)}")
        return torch.stack([self.preprocess(record["image"]) for record in batched_input])

    def segment(
        self, record: Mapping[str, Any], embedding: Tensor, multimask_output: bool, **more: Any
    ) -> dict[str, Tensor]:
        """Answer one input of `forward` from its features [1, C, H, W]; `more` goes to the mask decoder."""
        points = (record["point_coords"], record["point_labels"]) if "point_coords" in record else None
        sparse, dense = self.prompt_encoder(
            points=points, boxes=record.get("boxes"), masks=record.get("mask_inputs")
        )
        low_res, iou = self.mask_decoder(
            image_embeddings=embedding,
            image_pe=self.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            **more,
        )
        size = cast("tuple[int, int]", tuple(record["image"].shape[-2:]))
        masks = self.postprocess_masks(low_res, input_size=size, original_size=record["original_size"])
        return {"masks": masks > self.mask_threshold, "iou_predictions": iou, "low_res_logits": low_res}

    def preprocess(self, x: Tensor) -> Tensor:
        """Normalise an image, then pad it with zeros at the bottom and at the right.

        Args:
            x: [B, 3, H, W] or [3, H, W], from 0 to 255, of any dtype.

        Returns:
            The same in the model's size and dtype.

        Raises:
            ValueError: `x` is larger than the model's size, or has other channels than the model's mean.
        """
        height, width = self.prompt_encoder.input_image_size
        if x.dim() < 3 or x.shape[-3] != len(self.pixel_mean):
            raise ValueError(
                f"x is {tuple(x.shape)}, it must have {len(self.pixel_mean)} channels, as pixel_mean has"
            )
        if x.shape[-2] > height or x.shape[-1] > width:
            raise ValueError(f"x is {tuple(x.shape[-2:])} pixels, more than the model's {(height, width)}")
        wide = at_least_float32(x.dtype)
        x = (x.to(wide) - self.pixel_mean) / self.pixel_std
        return F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2])).to(self.pixel_mean.dtype)

    def postprocess_masks(
        self, masks: Tensor, input_size: tuple[int, int], original_size: tuple[int, int]
    ) -> Tensor:
        """Take the padding out of masks and bring them to the image's own size.

        Args:
            masks: [B, M, h, w] logits from the mask decoder.
            input_size: (height, width) of the image that was given to `preprocess`.
            original_size: (height, width) before that.

        Returns:
            [B, M, H, W] logits of `original_size`.
        """
        height, width = self.prompt_encoder.input_image_size
        masks = F.interpolate(masks, (height, width), mode="bilinear", align_corners=False)
        masks = masks[..., : input_size[0], : input_size[1]]
        return F.interpolate(masks, tuple(original_size), mode="bilinear", align_corners=False)

    def set_imgsz(self, imgsz: Sequence[int]) -> None:
        """Set the size of the images to come.

        Prompt encoder and image encoder are told; positions of the image encoder are resized in each call.

        Args:
            imgsz: height and width in pixels, multiples of the image encoder's stride (16 as released).

        Raises:
            ValueError: `imgsz` is not two positive multiples of it.
        """
        stride = self.prompt_encoder.input_image_size[0] // self.prompt_encoder.image_embedding_size[0]
        if len(imgsz) != 2 or min(imgsz) < stride or any(side % stride for side in imgsz):
            raise ValueError(
                f"imgsz={imgsz} must be a height and a width that are positive multiples of {stride}"
            )
        height, width = imgsz
        self.prompt_encoder.set_sizes((height // stride, width // stride), (height, width))
        image_encoder = cast(Any, self.image_encoder)
        if hasattr(image_encoder, "set_imgsz"):
            image_encoder.set_imgsz(imgsz)
        image_encoder.img_size = max(imgsz)
