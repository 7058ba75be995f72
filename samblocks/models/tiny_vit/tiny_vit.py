"""The image encoder of MobileSAM: a small hybrid of convolutions and windowed attention."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from samblocks.blocks.arguments import checks_arguments
from samblocks.models.sam1.image_encoder import make_neck
from samblocks.models.tiny_vit.blocks import TinyViTBlock
from samblocks.models.tiny_vit.convs import PatchEmbed, PatchMerging, as_map, halved
from samblocks.models.tiny_vit.stages import BasicLayer, ConvLayer
from samblocks.ops.fast_path import fast_path_allowed
from samblocks.ops.half_precision import call_in_float32


@checks_arguments(in_chans="patch_embed.in_chans")
class TinyViT(nn.Module):
    """A stem, a stage of convolutions, three stages of windowed attention, and SAM's neck.

    The released model ends at a sixteenth of the image's size: its last stage, 320 channels wide, does not
    halve the map. `norm_head` and `head` are what the distillation's classifier left behind; they are in
    the state dict and never used.

    Tokens do not know their map, so each stage holds its size: `set_imgsz` changes it.

    `drop_path_rate` works while training, as in MobileSAM's own code. (Ultralytics accepts it and does
    nothing with it. In evaluation both are the same.)

    Args:
        img_size: side of the image, in pixels.
        in_chans: channels of the image.
        num_classes: width of the unused `head`; 0 leaves it out.
        embed_dims: channels of the four stages.
        depths: blocks of the stages.
        num_heads: heads of the stages; the first has no attention.
        window_sizes: windows of the stages, likewise.
        mlp_ratio: hidden channels of the MLPs over the stage's.
        drop_rate: dropout in the MLPs.
        drop_path_rate: of the last block; it grows to this from 0.
        use_checkpoint: whether blocks are run again in the backward pass, to save memory.
        mbconv_expand_ratio: hidden channels of the first stage over its channels.
        local_conv_size: side of the depthwise kernels.
        layer_lr_decay: factor between the learning rates of a block and the next.

    Raises:
        ValueError: `local_conv_size` is even.

    Examples:
        >>> encoder = TinyViT(64, embed_dims=(8, 16, 32, 320), depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 10))
        >>> encoder(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 256, 4, 4])
        >>> encoder.set_imgsz([32, 96])
        >>> encoder(torch.zeros(1, 3, 32, 96)).shape
        torch.Size([1, 256, 2, 6])

    Upstream: ChaoningZhang/MobileSAM mobile_sam/modeling/tiny_vit_sam.py
    """

    def __init__(
        self,
        img_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
        embed_dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_sizes: Sequence[int] = (7, 7, 14, 7),
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        use_checkpoint: bool = False,
        mbconv_expand_ratio: float = 4.0,
        local_conv_size: int = 3,
        layer_lr_decay: float = 1.0,
    ) -> None:
        super().__init__()
        if local_conv_size % 2 == 0:
            raise ValueError(f"local_conv_size={local_conv_size} must be odd: else maps would grow")
        self.img_size = img_size
        self.num_classes = num_classes
        self.depths = depths
        self.num_layers = len(depths)
        self.mlp_ratio = mlp_ratio
        self.patch_embed = PatchEmbed(in_chans, embed_dims[0], img_size, nn.GELU)
        self.patches_resolution = self.patch_embed.patches_resolution

        rates = _linear_rates(drop_path_rate, sum(depths))
        self.layers = nn.ModuleList()
        for i, depth in enumerate(depths):
            last = i + 1 == len(depths)
            first_block = sum(depths[:i])
            common: dict[str, Any] = {
                "dim": embed_dims[i],
                "input_resolution": self.patches_resolution,  # set for good below
                "depth": depth,
                "drop_path": rates[first_block : first_block + depth],
                "downsample": None if last else PatchMerging,
                "use_checkpoint": use_checkpoint,
                "out_dim": None if last else embed_dims[i + 1],
                "activation": nn.GELU,
            }
            if i == 0:
                self.layers.append(ConvLayer(conv_expand_ratio=mbconv_expand_ratio, **common))
            else:
                self.layers.append(
                    BasicLayer(
                        num_heads=num_heads[i],
                        window_size=window_sizes[i],
                        mlp_ratio=mlp_ratio,
                        drop=drop_rate,
                        local_conv_size=local_conv_size,
                        **common,
                    )
                )
        self._set_resolutions(self.patches_resolution)

        self.norm_head = nn.LayerNorm(embed_dims[-1])
        self.head = nn.Linear(embed_dims[-1], num_classes) if num_classes > 0 else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        self.layer_lr_decay = layer_lr_decay
        self.set_layer_lr_decay(layer_lr_decay)
        self.neck = make_neck(embed_dims[-1], 256)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of normalised images.

        Args:
            x: [B, in_chans, H, W], of the size that was set.

        Returns:
            [B, 256, H / 16, W / 16], rounded up.

        Raises:
            ValueError: the image is of another size than was set.
        """
        return self.forward_features(x)

    def forward_features(self, x: Tensor) -> Tensor:
        """Do what `forward` does; hosts call it by this name, too."""
        return self._encode(x, None)

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Do what `forward` does, and return what the second stage gave, too.

        Args:
            x: as for `forward`.

        Returns:
            The result of `forward`, and one map [B, H / 16, W / 16, C] in a list; C is the third of `embed_dims`.
        """
        maps: list[Tensor] = []
        return self._encode(x, maps), maps

    def _encode(self, x: Tensor, maps: list[Tensor] | None) -> Tensor:
        if fast_path_allowed(self, x):  # convolutions of maps that lie so take half the time
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.patch_embed(x)
        expected = tuple(self.patches_resolution)
        if x.shape[-2:] != expected:
            raise ValueError(
                f"x makes a map of {tuple(x.shape[-2:])}, the encoder is set for {expected}; "
                "set_imgsz sets it for images of another size"
            )
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if maps is not None and index == 1:
                maps.append(as_map(x, cast(BasicLayer, self.layers[2]).input_resolution))
        last = cast(BasicLayer, self.layers[-1])
        return call_in_float32(self.neck, as_map(x, last.input_resolution).permute(0, 3, 1, 2))

    def set_imgsz(self, imgsz: Sequence[int] = (1024, 1024)) -> None:
        """Set the size of the images to come.

        Args:
            imgsz: height and width, in pixels.

        Raises:
            ValueError: `imgsz` is not two positive sizes.
        """
        if len(imgsz) != 2 or min(imgsz) < 1:
            raise ValueError(f"imgsz={imgsz} must be a height and a width of at least 1")
        height, width = (halved(halved(side)) for side in imgsz)
        self.img_size = max(imgsz)
        self.patches_resolution = (height, width)
        self._set_resolutions(self.patches_resolution)

    def set_layer_lr_decay(self, layer_lr_decay: float) -> None:
        """Give every parameter but the neck's an attribute `lr_scale`, for an optimizer's groups.

        Args:
            layer_lr_decay: factor between a block and the next; the last has 1.
        """
        depth = sum(self.depths)
        scales = [layer_lr_decay ** (depth - i - 1) for i in range(depth)]
        scaled: list[tuple[nn.Module | None, float]] = [(self.patch_embed, scales[0])]
        i = 0
        for layer in self.layers:
            for block in cast(nn.ModuleList, layer.blocks):
                scaled.append((block, scales[i]))
                i += 1
            scaled.append((cast(PatchMerging | None, layer.downsample), scales[i - 1]))
        scaled += [(self.norm_head, scales[-1]), (self.head, scales[-1])]
        for module, scale in scaled:
            for parameter in () if module is None else module.parameters():
                parameter.lr_scale = scale  # type: ignore[attr-defined]

    def remake(self, device: torch.device) -> None:
        """Mark the parameters' learning rates anew: tensors that were assigned have lost the marks."""
        self.set_layer_lr_decay(self.layer_lr_decay)

    def no_weight_decay_keywords(self) -> set[str]:
        """Name the parameters that weight decay should leave alone."""
        return {"attention_biases"}

    def _set_resolutions(self, resolution: tuple[int, int]) -> None:
        for layer in cast("Sequence[ConvLayer | BasicLayer]", self.layers):
            layer.input_resolution = resolution
            for block in layer.blocks:
                if isinstance(block, TinyViTBlock):
                    block.input_resolution = resolution
            if layer.downsample is not None:
                layer.downsample.input_resolution = resolution
                if layer.downsample.stride == 2:
                    resolution = (halved(resolution[0]), halved(resolution[1]))


def _linear_rates(last: float, count: int) -> list[float]:
    """`count` rates from 0 to `last`, in plain Python: tensors have no values on the meta device."""
    return [last * i / max(count - 1, 1) for i in range(count)]
