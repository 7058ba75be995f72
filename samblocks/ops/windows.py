"""Cutting a channels-last map into square windows, and putting it together again."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samblocks.ops.fast_path import fast_path_allowed, graph_takes_operators
from samblocks.ops.linear import linear


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
        >>> from samblocks.blocks import window_partition
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


def padding_is_known(block: nn.Module, projection: nn.Module, x: Tensor, window_size: int) -> bool:
    """Say whether windows need padding, whose projection is known without computing it, and nobody would notice.

    Args:
        block: whose attention is among windows.
        projection: from a map to queries, keys and values.
        x: [B, H, W, C]
        window_size: side of a window, in pixels; 0 for none.

    Returns:
        Whether zeros, projected, are the bias of a linear layer.

    Examples:
        >>> import torch
        >>> layer = nn.Linear(3, 9).eval().requires_grad_(False)
        >>> [padding_is_known(layer, layer, torch.zeros(2, 5, 8, 3), side) for side in (0, 1, 4)]
        [False, False, True]
    """
    if not window_size or not (x.shape[1] % window_size or x.shape[2] % window_size):
        return False
    if type(projection) is not nn.Linear:
        return False
    return graph_takes_operators(x, projection.weight) or fast_path_allowed(block, x)


def attend_in_windows(
    project: nn.Linear, gather: Callable[[Tensor], Tensor], out: nn.Module, x: Tensor, window_size: int
) -> Tensor:
    """Attend in each window of a map on its own; padding is neither projected nor makes anything of its own.

    Args:
        project: from a map to queries, keys and values, for which `padding_is_known` holds.
        gather: from windows of these, [B * windows, S, S, 3 * D], to what the pixels gather, [B * windows, S, S, D].
        out: the projection of what is gathered.
        x: [B, H, W, C]
        window_size: side S of a window, in pixels.

    Returns:
        What the pixels have gathered, projected: [B, H, W, D].

    Examples:
        >>> import torch
        >>> layer = nn.Linear(2, 6).eval().requires_grad_(False)
        >>> tuple(attend_in_windows(layer, lambda qkv: qkv[..., :2], nn.Identity(), torch.zeros(1, 3, 5, 2), 2).shape)
        (1, 3, 5, 2)
    """
    windows = cut_into_windows(linear(project, x), window_size, project.bias)
    return linear(out, join_windows(gather(windows), window_size, (x.shape[1], x.shape[2])))


def cut_into_windows(x: Tensor, window_size: int, padding: Tensor | None) -> Tensor:
    """Cut a map into windows as `window_partition`, padded with one vector. No gradients are recorded.

    Args:
        x: [B, H, W, C]
        window_size: side S of a window, in pixels.
        padding: [C]; None for zeros.

    Returns:
        The windows: [B * windows, S, S, C].

    Examples:
        >>> import torch
        >>> cut_into_windows(torch.ones(1, 1, 3, 1), 2, torch.tensor([7.0])).flatten(1).tolist()
        [[1.0, 1.0, 7.0, 7.0], [1.0, 7.0, 7.0, 7.0]]
    """
    batch, height, width, channels = x.shape
    filling: Tensor | float = 0.0 if padding is None else padding
    if (
        torch.compiler.is_compiling()
    ):  # one kernel writes the windows, where each would be a step of the graph
        right = x.new_zeros(batch, height, -width % window_size, channels) + filling
        below = x.new_zeros(batch, -height % window_size, width + right.shape[2], channels) + filling
        return window_partition(torch.cat((torch.cat((x, right), 2), below), 1), window_size)[0]
    rows, columns = -(-height // window_size), -(-width // window_size)
    windows = x.new_empty(batch, rows, columns, window_size, window_size, channels)
    for region, part, high, wide in _regions(windows, x, window_size):
        region[..., :high, :wide, :] = part
        region[..., high:, :, :] = filling
        region[..., :high, wide:, :] = filling
    return windows.flatten(0, 2)


def join_windows(windows: Tensor, window_size: int, hw: tuple[int, int]) -> Tensor:
    """Put windows together and leave the padding out, the inverse of `cut_into_windows`.

    Args:
        windows: [B * windows, S, S, C]
        window_size: side S of a window, in pixels.
        hw: (height, width) of the map.

    Returns:
        The map: [B, H, W, C].

    Examples:
        >>> import torch
        >>> x = torch.arange(70.0).reshape(1, 5, 7, 2)
        >>> torch.equal(join_windows(cut_into_windows(x, 4, None), 4, (5, 7)), x)
        True
    """
    height, width = hw
    rows, columns = -(-height // window_size), -(-width // window_size)
    if torch.compiler.is_compiling():
        return window_unpartition(windows, window_size, (rows * window_size, columns * window_size), hw)
    windows = windows.view(-1, rows, columns, *windows.shape[1:])
    x = windows.new_empty(windows.shape[0], height, width, windows.shape[-1])
    for region, part, high, wide in _regions(windows, x, window_size):
        part.copy_(region[..., :high, :wide, :])
    return x


def _regions(windows: Tensor, x: Tensor, side: int) -> Iterator[tuple[Tensor, Tensor, int, int]]:
    """Windows that cover as many pixels of the map as one another, and these pixels.

    Args:
        windows: [B, rows, columns, S, S, C]
        x: [B, H, W, C]
        side: S, of a window.

    Yields:
        Some windows, [B, r, c, S, S, C], what the map has of them, [B, r, c, high, wide, C], and high and wide.
    """
    for row, rows, top, high in _parts(x.shape[1], side):
        for column, columns, left, wide in _parts(x.shape[2], side):
            part = x[:, top : top + rows * high, left : left + columns * wide]
            part = part.view(x.shape[0], rows, high, columns, wide, x.shape[3]).transpose(2, 3)
            yield windows[:, row : row + rows, column : column + columns], part, high, wide


def _parts(size: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Windows along an axis that are whole, and the one that is not: the first, how many, where, and their size."""
    whole, rest = divmod(size, side)
    if whole:
        yield 0, whole, 0, side
    if rest:
        yield whole, 1, whole * side, rest


def _check_window_size(window_size: int) -> None:
    if window_size < 1:
        raise ValueError(f"window_size must be at least 1, got {window_size}")
