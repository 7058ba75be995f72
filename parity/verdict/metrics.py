"""How far two tensors are apart, in the measures that different fields use; none of them is the verdict."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from samblocks.numerics.verdict import all_finite, rms

_COUNTED = 0.01
"""Units in the last place are counted where a value is above this share of the largest one: near zero, where
terms cancel, they say nothing."""

_AS_INTEGERS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}


@dataclass(frozen=True)
class Metrics:
    """Distances of one tensor from another.

    Attributes:
        relative_rms: rms of the difference over the rms of the reference.
        ulp_max: largest distance in units in the last place, of values above 1 % of the largest one.
        ulp_99: the distance that 99 % of these values do not exceed.
        cosine: of the angle between the two as vectors.
        sqnr: signal to noise in decibels: power of the reference over power of the difference.
        psnr: the same with the reference's largest value in place of its power.
    """

    relative_rms: float
    ulp_max: int
    ulp_99: int
    cosine: float
    sqnr: float
    psnr: float


def measure(ours: Tensor, reference: Tensor) -> Metrics | None:
    """All distances between two floating-point tensors of one shape and dtype.

    Returns:
        The distances; None for other tensors, empty ones, and such as are not finite.
    """
    if ours.dtype not in _AS_INTEGERS or ours.dtype != reference.dtype or ours.shape != reference.shape:
        return None
    if not ours.numel() or not (all_finite(ours) and all_finite(reference)):
        return None
    a, b = ours.double().flatten(), reference.double().flatten()
    noise, power, peak = rms(a - b) ** 2, rms(b) ** 2, float(torch.linalg.vector_norm(b, torch.inf))
    ulps = ulp_distance(ours, reference)
    rank = math.ceil(0.99 * len(ulps))
    return Metrics(
        relative_rms=_ratio(noise, power) ** 0.5,
        ulp_max=int(ulps.max()) if len(ulps) else 0,
        ulp_99=int(ulps.kthvalue(rank).values) if len(ulps) else 0,
        cosine=cosine(ours, reference),
        sqnr=_decibels(_ratio(power, noise)),
        psnr=_decibels(_ratio(peak**2, noise)),
    )


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two tensors as vectors; 1 if both are zero, 0 if one is or is not finite."""
    a, b = a.double().flatten(), b.double().flatten()
    lengths = float(a.norm() * b.norm())
    if lengths == 0.0:
        return 1.0 if bool((a == b).all()) else 0.0
    found = float(a @ b) / lengths
    return found if math.isfinite(found) else 0.0


def ulp_distance(a: Tensor, b: Tensor) -> Tensor:
    """How many representable numbers lie between the values of two tensors of one floating-point dtype.

    Args:
        a: one tensor.
        b: the reference; values of it that are small beside its largest one are left out.

    Returns:
        The distances, one for each value that is counted: int64.
    """
    b_wide = b.double().abs().flatten()
    counted = (b_wide > _COUNTED * b_wide.max()) if b_wide.numel() else b_wide.bool()
    return (_ordinal(a.flatten()) - _ordinal(b.flatten())).abs()[counted]


def _ordinal(x: Tensor) -> Tensor:
    """Number the representable values of a dtype in their order, from 0 at zero."""
    kind = _AS_INTEGERS[x.dtype]
    bits = x.contiguous().view(kind).long()
    return torch.where(bits < 0, torch.iinfo(kind).min - bits, bits)


def _ratio(a: float, b: float) -> float:
    if b > 0.0:
        return a / b
    return 0.0 if a == 0.0 else math.inf


def _decibels(ratio: float) -> float:
    return 10.0 * math.log10(ratio) if 0.0 < ratio < math.inf else math.copysign(math.inf, ratio - 1.0)
