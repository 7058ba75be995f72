"""Truths against more than float64: LayerNorm, softmax and attention, linear, GELU, in NumPy's long double."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.execution import fill
from samblocks.numerics.float64 import WAYS

pytestmark = pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps), reason="long double is float64 here"
)


def _values(name: str, *shape: int) -> np.ndarray:
    return fill.uniform(name, shape)


def _torch(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _long(array: np.ndarray) -> np.ndarray:
    return array.astype(np.longdouble)


def _softmax(x: np.ndarray) -> np.ndarray:
    raised = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def _close(found: Tensor, exact: np.ndarray) -> None:
    error = np.abs(_long(found.detach().numpy()) - exact).max() / np.abs(exact).max()
    assert found.dtype is torch.float64
    assert float(error) < 2e-15


@pytest.mark.parametrize("way", sorted(WAYS))
def test_layer_norm(way: str) -> None:
    x, weight, bias = _values("x", 5, 24), _values("weight", 24), _values("bias", 24)
    with WAYS[way]():
        norm = nn.LayerNorm(24, eps=1e-6)
        norm.load_state_dict({"weight": _torch(weight), "bias": _torch(bias)})
        found = norm(_torch(x).float())
    wide = _long(x)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    _close(found, centred / np.sqrt(variance + np.longdouble(1e-6)) * _long(weight) + _long(bias))


@pytest.mark.parametrize("way", sorted(WAYS))
def test_linear_and_gelu(way: str) -> None:
    x, weight, bias = _values("x", 3, 40), _values("weight", 16, 40), _values("bias", 16)
    with WAYS[way]():
        linear = nn.Linear(40, 16)
        linear.load_state_dict({"weight": _torch(weight), "bias": _torch(bias)})
        plain = linear(_torch(x).to(torch.float32))
        bent = functional.gelu(_torch(x).half())
    _close(plain, _long(x) @ _long(weight).T + _long(bias))
    # The error function is the C library's, in float64: enough for a bound of a few ulps.
    phi = np.vectorize(lambda value: math.erfc(-float(value) / math.sqrt(2.0)) / 2.0)(x)
    _close(bent, _long(x) * _long(phi))


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("fused", [False, True])
def test_attention(way: str, fused: bool) -> None:
    q, k, v = (_values(name, 2, 7, 8) * 2 for name in "qkv")
    with WAYS[way]():
        queries, keys, values = (_torch(value).float() for value in (q, k, v))
        if fused:
            found = functional.scaled_dot_product_attention(queries, keys, values)
        else:
            found = (queries @ keys.mT / math.sqrt(8)).softmax(dim=-1) @ values
    scores = _long(q) @ _long(k).transpose(0, 2, 1) / np.sqrt(np.longdouble(8))
    _close(found, _softmax(scores) @ _long(v))


def test_the_second_way_reaches_names_and_methods() -> None:
    with WAYS["substituted"]():
        assert torch.zeros(2, dtype=torch.float32).dtype is torch.float64
        assert torch.arange(3, dtype=torch.float).half().bfloat16().dtype is torch.float64
        assert torch.polar(torch.ones(2), torch.ones(2)).to(torch.complex64).dtype is torch.complex128
    assert torch.zeros(2, dtype=torch.float32).float().dtype is torch.float32
    assert torch.get_default_dtype() is torch.float32
    assert torch.ones(2).half().dtype is torch.float16
