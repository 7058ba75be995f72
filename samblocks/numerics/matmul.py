"""How exact matrix products are on this processor: kernels differ by it, whoever calls them.

A kernel that adds hundreds of products one after the other rounds more than one that adds them in groups. The relative
rms error of the same float32 product was 3.5e-7 with MKL's kernels for AVX-512, 2.5e-7 with those for AVX2 and 2.0e-7
with those for every processor, and the error of a whole encoder follows it. So where a reference ran elsewhere, its
error is no yardstick before it has been brought to the kernels of this processor.
"""

from functools import cache

import numpy as np
import torch

_ROWS, _TERMS = 256, 768
"""Rows enough for the kernels that encoders take, and as many terms as ViT-B and Hiera-T have channels."""

_ALIKE, _FLOAT32 = 1.1, 2.5
"""The errors of one kind of kernels differ by less than the one; those of two that compute in float32 by less than the
other. Products that are less exact than that compute in something else, bfloat16 or TF32, which is no excuse."""


@cache
def matmul_error() -> float:
    """The relative rms error of a float32 matrix product on this processor, with the kernels that are in use."""
    random = np.random.RandomState(0)  # a stream that NumPy has frozen
    x, y = (torch.from_numpy(random.uniform(-1.0, 1.0, (_ROWS, _TERMS))) for _ in range(2))
    x, y = x.float(), y.float()
    truth = x.double() @ y.double().T
    return float(torch.linalg.vector_norm((x @ y.T).double() - truth) / torch.linalg.vector_norm(truth))


def matmul_error_ratio(elsewhere: float | None) -> float:
    """How many times less exact float32 products are here than where they had an error of `elsewhere`; at least 1.

    Args:
        elsewhere: `matmul_error()` of another process, perhaps on another processor; None where it is not known.
    """
    ratio = 1.0 if not elsewhere else matmul_error() / elsewhere
    return ratio if _ALIKE < ratio < _FLOAT32 else 1.0
