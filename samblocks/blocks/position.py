"""Position encodings of maps and points."""

import math

import torch
from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.fourier import fourier_features, pixel_centres
from samblocks.ops.precision import at_least_float32
from samblocks.ops.sine import sine_grid, sine_interleaved


@checks_arguments()
class PositionEmbeddingSine(nn.Module):
    """Encode the pixels of a map by sines and cosines of row and column.

    Args:
        num_pos_feats: channels of the encoding, a multiple of 4: half of them for the row, half for the
            column. The attribute of this name holds the half.
        temperature: the longest period that is approached.
        normalize: whether rows and columns are scaled to end at `scale`.
        scale: what the last row and column are scaled to; 2π if None.

    Raises:
        ValueError: if `num_pos_feats` is no positive multiple of 4, or `scale` is given without
            `normalize`.

    Examples:
        >>> encoding = PositionEmbeddingSine(num_pos_feats=256)
        >>> tuple(encoding(torch.randn(1, 3, 32, 24)).shape)  # as many channels as num_pos_feats says
        (1, 256, 32, 24)

    Upstream: facebookresearch/sam2 sam2/modeling/position_encoding.py
    """

    def __init__(
        self,
        num_pos_feats: int,
        temperature: int = 10000,
        normalize: bool = True,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        if num_pos_feats < 4 or num_pos_feats % 4:
            raise ValueError(f"num_pos_feats must be a positive multiple of 4, got {num_pos_feats}")
        if scale is not None and not normalize:
            raise ValueError(f"scale must be None if normalize is False, got {scale}")
        self.num_pos_feats = num_pos_feats // 2
        self.temperature = temperature
        self.normalize = normalize
        self.scale = 2 * math.pi if scale is None else scale
        # For hosts that clear it. Encodings are kept by size, device and dtype in `samblocks.ops.sine`.
        self.cache: dict[tuple[int, int], Tensor] = {}

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Encode the pixels of a map; only its size, device and dtype matter.

        Args:
            x: [B, C, H, W]

        Returns:
            The rows' channels, then the columns', `num_pos_feats` in all: [B, D, H, W], float64 for
            float64 input, else float32.

        Raises:
            ValueError: if `x` is not 4-D.
        """
        if x.dim() != 4:
            raise ValueError(f"x must be [B, C, H, W], but its shape is {tuple(x.shape)}")
        batch, _, height, width = x.shape
        scale = self.scale if self.normalize else None
        table = sine_grid((height, width), self.num_pos_feats, self.temperature, scale, like=x)
        return table.unsqueeze(0).repeat(batch, 1, 1, 1)

    def _encode_xy(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Encode coordinates in [0, 1]: two of [N, num_pos_feats / 2]."""
        if x.dim() != 1 or x.shape != y.shape:
            raise ValueError(
                f"x and y must be 1-D and of one length, but their shapes are {tuple(x.shape)} and {tuple(y.shape)}"
            )
        encode_x, encode_y = (
            sine_interleaved(
                p.to(at_least_float32(p.dtype)) * self.scale, self.num_pos_feats, self.temperature
            )
            for p in (x, y)
        )
        return encode_x, encode_y

    @torch.no_grad()
    def encode_boxes(self, x: Tensor, y: Tensor, w: Tensor, h: Tensor) -> Tensor:
        """Encode boxes by centre and size.

        Args:
            x: [N], centres from left to right, from 0 to 1
            y: [N], centres from top to bottom, from 0 to 1
            w: [N], widths
            h: [N], heights

        Returns:
            The channels of y, those of x, height and width: [N, num_pos_feats + 2].
        """
        encode_x, encode_y = self._encode_xy(x, y)
        return torch.cat((encode_y, encode_x, h[:, None], w[:, None]), dim=1)

    encode = encode_boxes

    @torch.no_grad()
    def encode_points(self, x: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        """Encode labelled points.

        Args:
            x: [B, N], from left to right, from 0 to 1
            y: [B, N], from top to bottom, from 0 to 1
            labels: [B, N]

        Returns:
            The channels of y, those of x, and the label: [B, N, num_pos_feats + 1].

        Raises:
            ValueError: if the three do not have one 2-D shape.
        """
        if x.dim() != 2 or not x.shape == y.shape == labels.shape:
            raise ValueError(
                "x, y and labels must have one shape [B, N], but their shapes are "
                f"{tuple(x.shape)}, {tuple(y.shape)} and {tuple(labels.shape)}"
            )
        encode_x, encode_y = (
            encoded.reshape(*x.shape, self.num_pos_feats)
            for encoded in self._encode_xy(x.flatten(), y.flatten())
        )
        return torch.cat((encode_y, encode_x, labels[:, :, None]), dim=2)


@checks_arguments("forward_with_coords")
class PositionEmbeddingRandom(nn.Module):
    """Encode points by random Fourier features.

    Args:
        num_pos_feats: number F of random directions; the encoding has 2 * F channels.
        scale: standard deviation of the directions' components; 1 if None or not positive.

    Examples:
        >>> encoding = PositionEmbeddingRandom(num_pos_feats=64)
        >>> tuple(encoding((32, 32)).shape)
        (128, 32, 32)
        >>> coords = torch.tensor([[[5, 7], [16, 31]]])  # (x, y) in pixels
        >>> tuple(encoding.forward_with_coords(coords, image_size=(32, 32)).shape)
        (1, 2, 128)

    Upstream: facebookresearch/segment-anything segment_anything/modeling/prompt_encoder.py
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_pos_feats: int = 64, scale: float | None = None) -> None:
        super().__init__()
        if scale is None or scale <= 0.0:
            scale = 1.0
        directions = torch.empty((2, num_pos_feats)).normal_(0.0, float(scale))
        self.register_buffer("positional_encoding_gaussian_matrix", directions)

    def _pe_encoding(self, coords: Tensor) -> Tensor:
        """Encode (x, y) in [0, 1]: [..., 2] to [..., 2 * F]."""
        return fourier_features(coords, self.positional_encoding_gaussian_matrix)

    def forward(self, size: tuple[int, int]) -> Tensor:
        """Encode the pixels of a map.

        Args:
            size: (height H, width W) of the map.

        Returns:
            The encoding: [2 * F, H, W].
        """
        matrix = self.positional_encoding_gaussian_matrix
        centres = pixel_centres(size, dtype=at_least_float32(matrix.dtype), device=matrix.device)
        return self._pe_encoding(centres).permute(2, 0, 1)

    def forward_with_coords(self, coords_input: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Encode points of an image.

        Args:
            coords_input: [B, N, 2], (x, y) in pixels, of any dtype
            image_size: (height, width) of the image.

        Returns:
            The encoding, [B, N, 2 * F], in the dtype of the random matrix.
        """
        height, width = image_size
        # Coordinates in float64 are divided in float64 whatever the module's dtype, and rounded afterwards.
        matrix = self.positional_encoding_gaussian_matrix
        coords = coords_input.to(
            torch.promote_types(at_least_float32(coords_input.dtype), at_least_float32(matrix.dtype))
        )
        return self._pe_encoding(torch.stack((coords[..., 0] / width, coords[..., 1] / height), dim=-1))
