"""The smallest blocks, which all others are made of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.ops.half_precision import computes_half_in_float32
from samblocks.ops.linear import linear
from samblocks.ops.norm import layer_norm_2d


@checks_arguments(C="weight")
class LayerNorm2d(nn.Module):
    """Normalize each pixel of a map over its channels.

    Args:
        num_channels: channels C of the map.
        eps: added to the variance.

    Examples:
        >>> norm = LayerNorm2d(8)
        >>> tuple(norm(torch.randn(2, 8, 5, 4)).shape)
        (2, 8, 5, 4)

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_utils.py
    """

    in_steps: bool = False
    """Whether it is computed in steps, with other last bits, as by the library whose norm it stands for."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize a map.

        Args:
            x: [B, C, H, W]

        Returns:
            The normalized map, in channels-last memory: [B, C, H, W].

        Raises:
            ValueError: if `x` is not 4-D with C channels.
        """
        return layer_norm_2d(x, self.weight, self.bias, self.eps, in_steps=self.in_steps)


@checks_arguments(C="lin1.in_features")
@computes_half_in_float32
class MLPBlock(nn.Module):
    """Two linear layers with an activation between them, back to the width of the input.

    Args:
        embedding_dim: channels C of input and output.
        mlp_dim: channels between the layers.
        act: makes the activation.

    Examples:
        >>> tuple(MLPBlock(8, 32)(torch.randn(2, 5, 8)).shape)
        (2, 5, 8)

    Upstream: facebookresearch/segment-anything segment_anything/modeling/common.py
    """

    def __init__(self, embedding_dim: int, mlp_dim: int, act: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.lin1 = nn.Linear(embedding_dim, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, embedding_dim)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token on its own.

        Args:
            x: [..., C]

        Returns:
            The transformed tokens: [..., C].
        """
        return linear(self.lin2, self.act(linear(self.lin1, x)))


@checks_arguments(C="layers.0.in_features")
@computes_half_in_float32
class MLP(nn.Module):
    """A row of linear layers with activations between them.

    Args:
        input_dim: channels C of the input.
        hidden_dim: channels between the layers.
        output_dim: channels D of the output.
        num_layers: number of linear layers.
        act: makes the activation.
        sigmoid: whether a sigmoid comes last.
        residual: whether the input is added to the last layer's output.
        out_norm: normalizes after that, before the sigmoid.

    Raises:
        ValueError: if `residual` is set and input and output differ in width.
        TypeError: if `out_norm` is neither a module nor None.

    Examples:
        >>> tuple(MLP(8, 16, 4, num_layers=3)(torch.randn(2, 8)).shape)
        (2, 4)

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_utils.py
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        output_dim: int,
        num_layers: int,
        act: Callable[[], nn.Module] = nn.ReLU,
        sigmoid: bool = False,
        residual: bool = False,
        out_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if residual and input_dim != output_dim:
            raise ValueError(f"residual=True needs input_dim == output_dim, got {input_dim} and {output_dim}")
        if out_norm is not None and not isinstance(out_norm, nn.Module):
            raise TypeError(f"out_norm must be an nn.Module or None, got {out_norm!r}")
        self.num_layers = num_layers
        hidden = [hidden_dim] * (num_layers - 1)
        widths = zip([input_dim, *hidden], [*hidden, output_dim], strict=True)
        self.layers = nn.ModuleList(nn.Linear(narrow, wide) for narrow, wide in widths)
        self.sigmoid = sigmoid
        self.act = act()
        self.residual = residual
        self.out_norm = out_norm if out_norm is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token on its own.

        Args:
            x: [..., C]

        Returns:
            The transformed tokens: [..., D].
        """
        out = x
        for index, layer in enumerate(self.layers):
            out = linear(layer, out)
            if index < len(self.layers) - 1:
                out = self.act(out)
        # Modules pickled by older releases lack the three attributes below.
        if getattr(self, "residual", False):
            out = out + x
        out_norm = getattr(self, "out_norm", None)
        if out_norm is not None:
            out = out_norm(out)
        return out.sigmoid() if getattr(self, "sigmoid", False) else out


@checks_arguments()
class DropPath(nn.Module):
    """Drop whole items of a batch at random in training, so that a residual branch is skipped for them.

    Which items are dropped is drawn from the global random generator, one draw per item.

    Args:
        drop_prob: probability with which an item is set to zero.
        scale_by_keep: whether the items kept are divided by the probability of being kept.

    Raises:
        ValueError: if `drop_prob` is not between 0 and 1.

    Examples:
        >>> drop_path = DropPath(0.2)
        >>> out = drop_path(torch.ones(32, 2))  # a new module is in training mode
        >>> sorted(set(out.flatten().tolist()))
        [0.0, 1.25]
        >>> x = torch.randn(32, 2)
        >>> drop_path.eval()(x) is x
        True

    Upstream: facebookresearch/sam2 sam2/modeling/sam2_utils.py
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        if not 0.0 <= drop_prob <= 1.0:
            raise ValueError(f"drop_prob must be between 0 and 1, got {drop_prob}")
        self.drop_prob = drop_prob
        self.scale_by_keep = scale_by_keep

    def forward(self, x: Tensor) -> Tensor:
        """Drop items in training; give back `x` itself in evaluation or if nothing can be dropped.

        Args:
            x: [B, ...], floating point

        Returns:
            The items, some of them zero: [B, ...].

        Raises:
            TypeError: if items are to be dropped from a tensor of integers.
        """
        if self.drop_prob == 0.0 or not self.training:
            return x
        if not x.is_floating_point():
            raise TypeError(f"x must be floating point in training, but its dtype is {x.dtype}")
        keep_prob = 1 - self.drop_prob
        keep = x.new_empty((x.shape[0],) + (1,) * (x.dim() - 1)).bernoulli_(keep_prob)
        if keep_prob > 0.0 and self.scale_by_keep:
            keep = keep / keep_prob
        return x * keep


def drop_path_or_nothing(drop_prob: float) -> nn.Module:
    """Make a `DropPath`, or an `nn.Identity` where nothing is ever dropped.

    Args:
        drop_prob: probability with which an item is set to zero.

    Returns:
        The module.

    Examples:
        >>> drop_path_or_nothing(0.0), drop_path_or_nothing(0.5)
        (Identity(), DropPath())
    """
    return DropPath(drop_prob) if drop_prob > 0.0 else nn.Identity()


@checks_arguments(C="proj.in_channels")
@computes_half_in_float32
class PatchEmbed(nn.Module):
    """Cut an image into patches and give each its channels, by one convolution.

    Args:
        kernel_size: (height, width) of a patch.
        stride: distance of patches, (down, right).
        padding: pixels of zeros around the image, (rows, columns).
        in_chans: channels C of the image.
        embed_dim: channels D of a patch.
        bias: whether the convolution has a bias.

    Examples:
        >>> patch_embed = PatchEmbed()
        >>> tuple(patch_embed(torch.randn(1, 3, 224, 224)).shape)  # channels last
        (1, 14, 14, 768)

    Upstream: facebookresearch/sam2 sam2/modeling/backbones/utils.py
    """

    def __init__(
        self,
        kernel_size: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        padding: tuple[int, int] = (0, 0),
        in_chans: int = 3,
        embed_dim: int = 768,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.proj = nn.Conv2d(
            in_chans, embed_dim, kernel_size=kernel_size, stride=stride, padding=padding, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embed the patches of an image.

        Args:
            x: [B, C, H, W]

        Returns:
            The patches, channels last, h by w of them: [B, h, w, D].
        """
        patches: Tensor = self.proj(x)
        return patches.permute(0, 2, 3, 1)
