"""timm as a reference: its copies of SAM's image encoder and of SAM 2's trunk."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from parity.execution.case import NoCounterpart
from parity.references.common import torchvision_operators
from parity.references.common.adapter import Adapter, Arguments
from parity.references.common.dialect import Entry
from parity.references.common.prefixes import Part, alike, part

Kwargs = Mapping[str, Any]
_SAM, _SAM2 = "timm.models.vision_transformer_sam", "timm.models.hieradet_sam2"

_LINEARS = (part("fc1", "lin1"), part("fc2", "lin2"))
_LAYERS = (part("fc1", "layers.0"), part("fc2", "layers.1"))
_RE_ATTENTION = alike("rel_pos_h", "rel_pos_w", "qkv", "proj")
_BLOCK = (
    *alike("norm1"),
    part("attn", inner=_RE_ATTENTION),
    *alike("norm2"),
    part("mlp", inner=_LINEARS),
)
_VIT = (
    *alike("pos_embed", "patch_embed.proj"),
    part("blocks.{i}", inner=_BLOCK),
    *alike("neck.0", "neck.1", "neck.2", "neck.3"),
)
_MULTI_SCALE_BLOCK = (
    *alike("norm1"),
    part("attn", inner=alike("qkv", "proj")),
    *alike("norm2"),
    part("mlp", inner=_LAYERS),
    *alike("proj"),
)
_HIERA = (
    *alike("pos_embed", "pos_embed_window", "patch_embed.proj"),
    part("blocks.{i}", inner=_MULTI_SCALE_BLOCK),
)


def _forward(inner: nn.Module, x: Tensor) -> Any:
    return inner(x)


def _plain(path: str, parts: tuple[Part, ...], **without: Any) -> Callable[[Kwargs], nn.Module]:
    """A builder for a class with the reference page's arguments, but for those it lacks, each with its one value."""

    def build(kwargs: Kwargs) -> nn.Module:
        given = Arguments(kwargs)
        for name, allowed in without.items():
            given.only(name, *allowed)
        accepted = {name: value for name, value in kwargs.items() if name not in without}
        return Adapter(Entry(path).load()(**accepted), parts, _forward, kwargs)

    return build


_FLAG = {"rel_pos_zero_init": (True, False)}


def _mlp_block(kwargs: Kwargs) -> nn.Module:
    given = Arguments(kwargs)
    inner = Entry("timm.layers:Mlp").load()(
        given.take("embedding_dim"), given.take("mlp_dim"), act_layer=given.take("act", nn.GELU)
    )
    given.end()
    return Adapter(inner, _LINEARS, _forward, kwargs)


def _layer_norm_2d(kwargs: Kwargs) -> nn.Module:
    given = Arguments(kwargs)
    inner = Entry("timm.layers:LayerNorm2d").load()(given.take("num_channels"), eps=given.take("eps", 1e-6))
    given.end()
    return Adapter(inner, alike("weight", "bias"), _forward, kwargs)


def _image_encoder(kwargs: Kwargs) -> nn.Module:
    """See the reference page's ImageEncoderViT."""
    given = Arguments(kwargs)
    channels = given.take("out_chans", 256)
    settings = {
        "use_rel_pos": False,
        "window_size": 0,
        "global_attn_indexes": (),
        **{name: value for name, value in kwargs.items() if name != "out_chans"},
    }
    inner = Entry(f"{_SAM}:VisionTransformerSAM").load()(
        num_classes=0, neck_chans=channels, global_pool="", **settings
    )
    return Adapter(inner, _VIT, lambda inner, x: inner.forward_features(x), kwargs, without=("head.",))


def _hiera(kwargs: Kwargs) -> nn.Module:
    """See the reference page's Hiera."""
    given = Arguments(kwargs)
    given.only("return_interm_layers", True)
    settings = {name: value for name, value in kwargs.items() if name != "return_interm_layers"}
    size = settings.pop("window_pos_embed_bkg_spatial_size", (14, 14))
    inner = Entry(f"{_SAM2}:HieraDet").load()(num_classes=0, global_pos_size=tuple(size), **settings)

    def call(inner: Any, x: Tensor) -> Any:
        return inner.forward_intermediates(x, intermediates_only=True)

    return Adapter(inner, _HIERA, call, kwargs, without=("head.",))


def _drop_path(kwargs: Kwargs) -> nn.Module:
    return Adapter(Entry("timm.layers:DropPath").load()(**kwargs), (), _forward, kwargs)


def _window_partition(x: Tensor, window_size: int) -> Any:
    return Entry(f"{_SAM}:window_partition").load()(x, window_size)


def _window_unpartition(windows: Tensor, window_size: int, pad_hw: Any, hw: Any) -> Any:
    return Entry(f"{_SAM}:window_unpartition").load()(windows, window_size, hw, pad_hw)


_BUILDERS: dict[str, Callable[[Kwargs], nn.Module]] = {
    "REAttention": _plain(f"{_SAM}:Attention", _RE_ATTENTION, **_FLAG),
    "Block": _plain(f"{_SAM}:Block", _BLOCK, **_FLAG),
    "MLPBlock": _mlp_block,
    "LayerNorm2d": _layer_norm_2d,
    "DropPath": _drop_path,
    "ImageEncoderViT": _image_encoder,
    "MultiScaleAttention": _plain(f"{_SAM2}:MultiScaleAttention", alike("qkv", "proj")),
    "MultiScaleBlock": _plain(f"{_SAM2}:MultiScaleBlock", _MULTI_SCALE_BLOCK),
    "PatchEmbed": _plain(f"{_SAM2}:HieraPatchEmbed", alike("proj"), bias=(True,)),
    "Hiera": _hiera,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "window_partition": _window_partition,
    "window_unpartition": _window_unpartition,
    "get_rel_pos": lambda *args, **kwargs: Entry(f"{_SAM}:get_rel_pos").load()(*args, **kwargs),
}


class Timm:
    """timm's blocks, spoken to by the reference page's names."""

    name = "timm"

    def construct(self, block: str, kwargs: Kwargs) -> nn.Module:
        """See `parity.execution.case.Library`."""
        if block not in _BUILDERS:
            raise NoCounterpart(f"timm has no {block}")
        return _BUILDERS[block](kwargs)

    def function(self, name: str) -> Callable[..., Any]:
        """See `parity.execution.case.Library`."""
        if name not in _FUNCTIONS:
            raise NoCounterpart(f"timm has no function {name}")
        return _FUNCTIONS[name]

    def model(self, variant: str, image_size: int, options: Mapping[str, Any]) -> nn.Module:
        """See `parity.execution.case.Library`."""
        raise NoCounterpart("timm has image encoders only; they are compared by themselves")

    def canonical(self, name: str) -> str:
        """The adapters speak Meta's names already."""
        return name


def library() -> Timm:
    """The entry point that a worker calls."""
    torchvision_operators.declare_missing()
    import timm.models  # noqa: F401 - fails here, not in the middle of a run

    return Timm()
