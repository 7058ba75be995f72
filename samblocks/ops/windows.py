"""Cutting a channels-last map into square windows, and putting it together again."""

from torch import Tensor
from torch.nn import functional as F


def window_partition(x: Tensor, window_size: int) -> tuple[Tensor, tuple[int, int]]:
    """Cut a map into windows that do not overlap, padded with zeros at the bottom and the right.

    Args:
        x: [B, H, W, C]
        window_size: side S of a window, in pixels.

    Returns:
        The windows, item by item and row by row, as [B * windows, S, S, C], and the padded (height, width).

    Raises:
        ValueError: if `x` is not 4-D or `window_size` is less than 1.

    Examples:
        >>> import torch
        >>> windows, pad_hw = window_partition(torch.zeros(2, 5, 8, 3), 4)
        >>> tuple(windows.shape), pad_hw
        ((8, 4, 4, 3), (8, 8))

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/utils.py
    """
    _check_window_size(window_size)
    if x.dim() != 4:
        raise ValueError(f"x must be [B, H, W, C], but its shape is {tuple(x.shape)}")
    batch, height, width, channels = x.shape
    pad_h, pad_w = -height % window_size, -width % window_size
    if pad_h or pad_w:
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h))
    rows, columns = (height + pad_h) // window_size, (width + pad_w) // window_size
    windows = x.reshape(batch, rows, window_size, columns, window_size, channels).permute(0, 1, 3, 2, 4, 5)
    windows = windows.reshape(batch * rows * columns, window_size, window_size, channels)
    return windows, (height + pad_h, width + pad_w)


def window_unpartition(
    windows: Tensor, window_size: int, pad_hw: tuple[int, int], hw: tuple[int, int]
) -> Tensor:
    """Put windows together into a map and cut off the padding, the inverse of `window_partition`.

    Args:
        windows: [B * windows, S, S, C]
        window_size: side S of a window, in pixels.
        pad_hw: (height, width) of the padded map, multiples of `window_size`.
        hw: (height, width) of the map.

    Returns:
        The map: [B, H, W, C].

    Raises:
        ValueError: if `window_size` is less than 1, or the windows do not make up maps of size `pad_hw`.

    Examples:
        >>> import torch
        >>> x = torch.arange(70.0).reshape(1, 5, 7, 2)
        >>> windows, pad_hw = window_partition(x, 4)
        >>> torch.equal(window_unpartition(windows, 4, pad_hw, (5, 7)), x)
        True

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/utils.py
    """
    _check_window_size(window_size)
    (padded_h, padded_w), (height, width) = pad_hw, hw
    rows, columns = padded_h // window_size, padded_w // window_size
    if padded_h % window_size or padded_w % window_size or rows * columns == 0:
        raise ValueError(
            f"pad_hw must be positive multiples of window_size {window_size}, got {tuple(pad_hw)}"
        )
    if windows.dim() != 4 or tuple(windows.shape[1:3]) != (window_size, window_size):
        raise ValueError(
            f"windows must be [B * windows, {window_size}, {window_size}, C], "
            f"but their shape is {tuple(windows.shape)}"
        )
    if windows.shape[0] % (rows * columns):
        raise ValueError(
            f"windows must be a multiple of {rows} x {columns} for pad_hw {tuple(pad_hw)}, got {windows.shape[0]}"
        )
    batch, channels = windows.shape[0] // (rows * columns), windows.shape[-1]
    x = windows.reshape(batch, rows, columns, window_size, window_size, channels).permute(0, 1, 3, 2, 4, 5)
    x = x.reshape(batch, padded_h, padded_w, channels)
    if (padded_h, padded_w) != (height, width):
        x = x[:, :height, :width].contiguous()
    return x


def _check_window_size(window_size: int) -> None:
    if window_size < 1:
        raise ValueError(f"window_size must be at least 1, got {window_size}")
