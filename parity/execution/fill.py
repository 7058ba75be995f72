"""Values that follow from a tensor's name and shape, so that two libraries can be given equal weights.

Default initialisation hides bugs: zero tables, unit norms and layer scales of 1e-6 make whole code paths
invisible. Here every parameter and buffer gets values of its own, scaled so that activations stay of order
one and attention has favourites, and the stream behind them is one that NumPy has frozen
(`numpy.random.RandomState`), so that they are the same on every platform.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import TypeVar
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

# Free tensors (tables, tokens, embeddings) have no fan-in: they get a fixed spread.
_TABLE = re.compile(
    r"(^|\.)(pos_embed|pos_embed_window|rel_pos_h|rel_pos_w|attention_biases|gamma|maskmem_tpos_enc"
    r"|no_mem_embed|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$"
    r"|(^|\.)(iou_token|mask_tokens|obj_score_token|point_embeddings\.\d+|not_a_point_embed|no_mask_embed)\.weight$"
)
_GAUSSIAN = re.compile(r"(^|\.)positional_encoding_gaussian_matrix$")
_TRANSPOSED = re.compile(r"(^|\.)output_upscaling\.\d+\.weight$")
_QUERY_KEY = re.compile(r"(^|\.)(qkv|q_proj|k_proj)\.weight$")

Module = TypeVar("Module", bound=nn.Module)

UNIT = 3.0**0.5
"""Half-width of the uniform distribution with variance one."""

_PART = 1 << 15
"""How many numbers are drawn at a time."""

_KEPT_BYTES = 200 << 20
"""How much of what was drawn last is kept, for the next case on the same model: the smallest released ones fit."""


class _Kept:
    """What was drawn last."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[tuple[str, tuple[int, ...]], np.ndarray] = OrderedDict()
        self._bytes = 0
        self._one_at_a_time = Lock()

    def get(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A tensor's values, drawn if they are not there any more."""
        with self._one_at_a_time:
            found = self._arrays.pop((name, shape), None)
            if found is None:
                found = _drawn_in_parts(name, shape)
                self._bytes += found.nbytes
            self._arrays[name, shape] = found
            while self._bytes > _KEPT_BYTES:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return found


_kept = _Kept()


def uniform(name: str, shape: Iterable[int], low: float = -UNIT, high: float = UNIT) -> np.ndarray:
    """Float64 array of the given shape, uniform in [low, high), drawn from the stream named `name`."""
    return low + (high - low) * _stream(name).random_sample(tuple(shape))


def integers(name: str, shape: Iterable[int], low: int, high: int) -> np.ndarray:
    """Int64 array of the given shape with values in [low, high), drawn from the stream named `name`."""
    return np.asarray(np.floor(uniform(name, shape, float(low), float(high))), dtype=np.int64)


def values(name: str, shape: Iterable[int]) -> np.ndarray:
    """The float64 values of the floating-point tensor called `name`, before the one rounding.

    Args:
        name: canonical name: the tensor's key in Meta's layout, relative to the module that is filled.
        shape: the tensor's shape.
    """
    shape = tuple(shape)
    return uniform(name, shape, *_range(name, shape))


def rounded(name: str, shape: Iterable[int]) -> np.ndarray:
    """`values`, rounded to float32, which cannot be written to: it is kept for whoever asks for it next."""
    return _kept.get(name, tuple(shape))


def _drawn_in_parts(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Drawn in parts that stay in the processor's cache, since models are large."""
    low, high = _range(name, shape)
    found = np.empty(int(np.prod(shape)), np.float32)
    stream = _stream(name)
    for start in range(0, found.size, _PART):
        part = stream.random_sample(min(_PART, found.size - start))
        part *= high - low
        part += low
        found[start : start + _PART] = part
    found.flags.writeable = False
    return found.reshape(shape)


def _range(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Between which values a tensor's lie."""
    kind = name.rsplit(".", 1)[-1]
    if kind == "running_var":
        return 0.6, 1.6
    if _GAUSSIAN.search(name):
        return -UNIT, UNIT
    if kind == "weight" and len(shape) == 1:  # a norm
        return 0.6, 1.4
    if kind == "weight" and len(shape) >= 2 and not _TABLE.search(name):
        # Non-overlapping transposed convolutions sum over their first axis, all others over the rest.
        fan_in = shape[0] if _TRANSPOSED.search(name) else int(np.prod(shape[1:]))
        # Twice the variance in queries and keys gives logits a spread of 2: softmax then has favourites.
        gain = 2.0**0.5 if _QUERY_KEY.search(name) else 1.0
        half = gain * UNIT / max(fan_in, 1) ** 0.5
        return -half, half
    if kind == "bias" or kind == "running_mean":
        return -0.4, 0.4
    return -0.8, 0.8


def tensor(name: str, shape: Iterable[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """The filled tensor called `name`: `values`, rounded once to `dtype`."""
    return torch.from_numpy(np.asarray(values(name, shape), order="C")).to(dtype)


def widened(name: str, shape: Iterable[int]) -> Tensor:
    """The float32 tensor called `name`, widened to float64: what a float64 run is given.

    The rounding to float32 is NumPy's, so that a mode which rewrites torch's casts cannot skip it.
    """
    return torch.from_numpy(rounded(name, shape).astype(np.float64))


def state(entries: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, filled tensor) for each entry of a state dict with canonical names.

    Integer and boolean tensors keep their values: they are indices and counters, not weights.
    """
    for name, entry in entries.items():
        if entry.is_floating_point():
            yield name, tensor(name, entry.shape, entry.dtype)
        else:
            yield name, entry


def fill_(module: Module) -> Module:
    """Fill every parameter and buffer of `module` in place, by its name in `state_dict()`; returns `module`."""
    with torch.no_grad():
        for name, entry in module.state_dict().items():
            if entry.is_floating_point():
                entry.copy_(torch.from_numpy(values(name, entry.shape)))
    return module


def _stream(name: str) -> np.random.RandomState:
    # RandomState, not Generator: NumPy promises that this stream never changes.
    return np.random.RandomState(crc32(name.encode()))
