"""The tensors of mobile_sam's image encoder, a TinyViT, without its neck."""

from __future__ import annotations

from collections.abc import Iterator

from samblocks.layouts.tensors import TensorInfo

Named = Iterator[tuple[str, TensorInfo]]

_WIDTHS = (64, 128, 160, 320)
_DEPTHS = (2, 2, 6, 2)
_HEADS = (2, 4, 5, 10)
_WINDOWS = (7, 7, 14, 7)
_CLASSES = 1000


def _affine(name: str, out: int, *entry: int) -> Named:
    yield f"{name}.weight", TensorInfo((out, *entry))
    yield f"{name}.bias", TensorInfo((out,))


def _conv_bn(name: str, out: int, entry: int, side: int) -> Named:
    """A convolution without bias and the batch norm behind it."""
    yield f"{name}.c.weight", TensorInfo((out, entry, side, side))
    yield from _affine(f"{name}.bn", out)
    yield f"{name}.bn.running_mean", TensorInfo((out,))
    yield f"{name}.bn.running_var", TensorInfo((out,))
    yield f"{name}.bn.num_batches_tracked", TensorInfo((), "I64")


def _mobile_block(name: str, width: int) -> Named:
    yield from _conv_bn(f"{name}.conv1", 4 * width, width, 1)
    yield from _conv_bn(f"{name}.conv2", 4 * width, 1, 3)
    yield from _conv_bn(f"{name}.conv3", width, 4 * width, 1)


def _attention_block(name: str, width: int, heads: int, window: int) -> Named:
    yield f"{name}.attn.attention_biases", TensorInfo((heads, window * window))
    yield from _affine(f"{name}.attn.norm", width)
    yield from _affine(f"{name}.attn.qkv", 3 * width, width)
    yield from _affine(f"{name}.attn.proj", width, width)
    yield from _affine(f"{name}.mlp.norm", width)
    yield from _affine(f"{name}.mlp.fc1", 4 * width, width)
    yield from _affine(f"{name}.mlp.fc2", width, 4 * width)
    yield from _conv_bn(f"{name}.local_conv", width, 1, 3)


def tiny_vit_tensors(name: str) -> Named:
    """Every tensor of the TinyViT under a name, in state-dict order, without the neck.

    Args:
        name: the module's name, as "image_encoder".

    Yields:
        name, and shape with dtype.

    Upstream: ChaoningZhang/MobileSAM (the names of its state dict)
    """
    yield from _conv_bn(f"{name}.patch_embed.seq.0", _WIDTHS[0] // 2, 3, 3)
    yield from _conv_bn(f"{name}.patch_embed.seq.2", _WIDTHS[0], _WIDTHS[0] // 2, 3)
    for stage, width in enumerate(_WIDTHS):
        for index in range(_DEPTHS[stage]):
            block = f"{name}.layers.{stage}.blocks.{index}"
            if stage == 0:
                yield from _mobile_block(block, width)
            else:
                yield from _attention_block(block, width, _HEADS[stage], _WINDOWS[stage])
        if stage + 1 < len(_WIDTHS):
            after = _WIDTHS[stage + 1]
            downsample = f"{name}.layers.{stage}.downsample"
            yield from _conv_bn(f"{downsample}.conv1", after, width, 1)
            yield from _conv_bn(f"{downsample}.conv2", after, 1, 3)
            yield from _conv_bn(f"{downsample}.conv3", after, after, 1)
    yield from _affine(f"{name}.norm_head", _WIDTHS[-1])
    yield from _affine(f"{name}.head", _CLASSES, _WIDTHS[-1])
