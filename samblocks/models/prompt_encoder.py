"""Points, boxes and masks as the tokens and the map that the mask decoder reads. SAM 1 and SAM 2 share it."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samblocks.blocks import LayerNorm2d, PositionEmbeddingRandom
from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.half_precision import call_in_float32
from samblocks.ops.precision import at_least_float32

NOT_A_POINT = -1
TOP_LEFT, BOTTOM_RIGHT = 2, 3


@checks_arguments()
class PromptEncoder(nn.Module):
    """Encodes prompts as sparse tokens (points, boxes) and a dense map (a mask).

    Labels of points: 1 on the object, 0 on the background, -1 no point (padding; its place counts for
    nothing), 2 and 3 the corners of a box. Any other label gives the encoding of the place alone.

    In the tokens, the points come first. Where there are no boxes, one padding point ends them; where there
    are, the two corners of each box do. Batches are prompts, not images: N boxes are N prompts of one box.

    The upstreams differ in two things, and the defaults are Ultralytics':

    * Meta's SAM 1 has no embedding for labels 2 and 3 *of points* (boxes have theirs): its weights want
      `embed_corner_labels=False`, which `samblocks.build` sets for the SAM 1 variants.
    * A mask of another size than `mask_input_size` is resized; Meta would return a map of another size.

    Coordinates may have any dtype; they are used in at least float32, whatever the module's dtype is.

    Args:
        embed_dim: channels of tokens and map; even.
        image_embedding_size: (height, width) of the image encoder's map.
        input_image_size: (height, width), in pixels, of the image that coordinates refer to.
        mask_in_chans: channels inside the mask's convolutions; a multiple of 4.
        activation: activation between those convolutions.
        embed_corner_labels: whether points labelled 2 and 3 get the embedding of a box's corners.

    Raises:
        ValueError: `embed_dim` is odd, or `mask_in_chans` no multiple of 4.

    Examples:
        >>> encoder = PromptEncoder(16, image_embedding_size=(4, 4), input_image_size=(64, 64),
        ...                         mask_in_chans=16)
        >>> click = torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]])
        >>> sparse, dense = encoder(points=click, boxes=None, masks=None)
        >>> sparse.shape, dense.shape                           # the click and the padding point
        (torch.Size([1, 2, 16]), torch.Size([1, 16, 4, 4]))
        >>> encoder(points=None, boxes=torch.tensor([[8.0, 8.0, 40.0, 50.0]]), masks=None)[0].shape
        torch.Size([1, 2, 16])

    Upstream: facebookresearch/sam2 sam2/modeling/sam/prompt_encoder.py
    """

    rounds_points = rounds_corners = False
    """Whether tokens of points, and of boxes' corners, are rounded to the dtype of the encoding of places, which
    autocast lowers: so they are where upstream adds to the encoding in place. SAM 1 and Ultralytics do that for both,
    SAM 2 for corners."""

    def __init__(
        self,
        embed_dim: int,
        image_embedding_size: tuple[int, int],
        input_image_size: tuple[int, int],
        mask_in_chans: int,
        activation: type[nn.Module] = nn.GELU,
        *,
        embed_corner_labels: bool = True,
    ) -> None:
        super().__init__()
        if embed_dim % 2:
            raise ValueError(f"embed_dim={embed_dim} must be even: half of it are sines, half cosines")
        if mask_in_chans < 4 or mask_in_chans % 4:
            raise ValueError(f"mask_in_chans={mask_in_chans} must be a positive multiple of 4")
        self.set_sizes(image_embedding_size, input_image_size)
        self.embed_dim = embed_dim
        self.num_point_embeddings = 4  # background, object, top left, bottom right
        self.embed_corner_labels = embed_corner_labels

        def token() -> nn.Embedding:
            return nn.Embedding(1, embed_dim)

        self.pe_layer = PositionEmbeddingRandom(embed_dim // 2)
        self.point_embeddings = nn.ModuleList(token() for _ in range(self.num_point_embeddings))
        self.not_a_point_embed = token()
        self.mask_downscaling = _make_downscaling(mask_in_chans, embed_dim, activation)
        self.no_mask_embed = token()

    def set_sizes(self, image_embedding_size: tuple[int, int], input_image_size: tuple[int, int]) -> None:
        """Set the sizes of the images to come, as for the constructor; masks have four pixels per cell and side."""
        height, width = image_embedding_size
        self.image_embedding_size = image_embedding_size
        self.mask_input_size = (4 * height, 4 * width)
        self.input_image_size = input_image_size

    def get_dense_pe(self) -> Tensor:
        """Encode the place of every cell of the image encoder's map.

        Returns:
            [1, C, H, W], where H and W are `image_embedding_size`.
        """
        height, width = self.image_embedding_size
        encoding: Tensor = self.pe_layer((height, width))
        return encoding.unsqueeze(0)

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Encode prompts; each kind may be None.

        The batch is that of the points, else of the boxes, else of the masks, else 1.

        Args:
            points: coordinates [B, N, 2] as (x, y) in pixels of `input_image_size`, and labels [B, N].
            boxes: [B, 4] or [B, 2, 2], as (x, y) of the top left and of the bottom right corner.
            masks: [B, 1, h, w], the logits of an earlier prediction.

        Returns:
            sparse: [B, T, C], no tokens (T = 0) without points and boxes.
            dense: [B, C, H, W].

        Raises:
            ValueError: the shapes are others, or points and boxes disagree about the batch.
        """
        corners = None if boxes is None else self._embed_boxes(boxes)
        tokens = []
        if points is not None:
            coords, labels = points
            tokens.append(self._embed_points(coords, labels, pad=boxes is None))
        if corners is not None:
            if tokens and len(tokens[0]) != len(corners):
                raise ValueError(
                    f"boxes hold {len(corners)} prompts and points {len(tokens[0])}; must be as many"
                )
            tokens.append(corners)

        no_mask = self.no_mask_embed.weight
        if tokens:
            sparse = torch.cat(tokens, dim=1).to(no_mask.dtype)
        else:
            sparse = no_mask.new_empty((1 if masks is None else len(masks), 0, self.embed_dim))
        if masks is not None:
            return sparse, self._embed_masks(masks)
        height, width = self.image_embedding_size
        return sparse, no_mask.reshape(1, -1, 1, 1).expand(len(sparse), -1, height, width)

    def _embed_points(self, points: Tensor, labels: Tensor, pad: bool) -> Tensor:
        """Encode points, followed by a padding point if asked for.

        Args:
            points: [B, N, 2].
            labels: [B, N].
            pad: whether to append a point with label -1 at the very corner of the image.
        """
        if points.dim() != 3 or points.shape[-1] != 2 or labels.shape != points.shape[:-1]:
            raise ValueError(
                "points must be coordinates [B, N, 2] and labels [B, N], "
                f"got shapes {tuple(points.shape)} and {tuple(labels.shape)}"
            )
        points = _widened(points) + 0.5  # to the middle of the pixel
        if pad:
            points = F.pad(points, (0, 0, 0, 1))
            labels = F.pad(labels, (0, 1), value=NOT_A_POINT)
        encoding = self._place(points)
        kind = labels.unsqueeze(-1)
        embedded = len(self.point_embeddings) if self.embed_corner_labels else TOP_LEFT
        out = encoding
        for label in range(embedded):
            out = torch.where(kind == label, encoding + self._point_embedding(label), out)
        out = torch.where(kind == NOT_A_POINT, self.not_a_point_embed.weight, out)
        return out.to(encoding.dtype) if self.rounds_points else out

    def _embed_boxes(self, boxes: Tensor) -> Tensor:
        """Encode boxes as their two corners: [B, 2, C]."""
        if boxes.shape[-1:] != (4,) and boxes.shape[-2:] != (2, 2):
            raise ValueError(f"boxes must be [B, 4] or [B, 2, 2], got shape {tuple(boxes.shape)}")
        corners = (_widened(boxes) + 0.5).reshape(-1, 2, 2)
        kinds = torch.cat([self._point_embedding(TOP_LEFT), self._point_embedding(BOTTOM_RIGHT)])
        encoding = self._place(corners)
        out = encoding + kinds
        return out.to(encoding.dtype) if self.rounds_corners else out

    def _embed_masks(self, masks: Tensor) -> Tensor:
        """Encode masks [B, 1, h, w] as a map [B, C, H, W]."""
        if masks.dim() != 4 or masks.shape[1] != 1:
            raise ValueError(f"masks must be [B, 1, h, w], got shape {tuple(masks.shape)}")
        height, width = self.mask_input_size
        if masks.shape[-2:] != (height, width):
            masks = F.interpolate(_widened(masks), size=(height, width), mode="bilinear")
        first = cast(nn.Conv2d, self.mask_downscaling[0])
        return call_in_float32(self.mask_downscaling, masks.to(first.weight.dtype))

    def _place(self, coords: Tensor) -> Tensor:
        """Encode the place of (x, y) coordinates."""
        height, width = self.input_image_size
        encoding: Tensor = self.pe_layer.forward_with_coords(coords, (height, width))
        return encoding

    def _point_embedding(self, label: int) -> Tensor:
        return cast(nn.Embedding, self.point_embeddings[label]).weight


def _make_downscaling(hidden: int, out: int, activation: type[nn.Module]) -> nn.Sequential:
    """Two halvings of a mask, each normed and activated, and a projection to the map's channels."""
    halvings: list[nn.Module] = []
    for channels, wider in ((1, hidden // 4), (hidden // 4, hidden)):
        halvings += [nn.Conv2d(channels, wider, 2, stride=2), LayerNorm2d(wider), activation()]
    return nn.Sequential(*halvings, nn.Conv2d(hidden, out, 1))


def _widened(x: Tensor) -> Tensor:
    """Give integers and half precision room: bfloat16 has no half pixels beyond 128."""
    return x.to(at_least_float32(x.dtype))
