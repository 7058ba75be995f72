"""Hold an attention of your own against torch's, judged by float64; then plant a bug, and see it named.

  python examples/check_my_kernel.py

The same two lines are a test of pytest, `parity.check` being the method of a fixture there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

import parity
from parity.fill import tensor


def in_tiles(q: Tensor, k: Tensor, v: Tensor, tile: int = 16, *, forget: bool = False) -> Tensor:
    """Attention [B, H, L, D] that never holds more than `tile` columns of the scores: a softmax that goes along.

    `forget` is the bug: what was summed before is not rescaled when a larger score turns up.
    """
    scale = q.shape[-1] ** -0.5
    top = q.new_full((*q.shape[:-1], 1), float("-inf"))
    total, weighted = torch.zeros_like(top), torch.zeros_like(q)
    for keys, values in zip(k.split(tile, -2), v.split(tile, -2), strict=True):
        scores = q @ keys.mT * scale
        larger = torch.maximum(top, scores.amax(-1, keepdim=True))
        shrink = torch.ones_like(top) if forget else (top - larger).exp()
        part = (scores - larger).exp()
        total = total * shrink + part.sum(-1, keepdim=True)
        weighted = weighted * shrink + part @ values
        top = larger
    return weighted / total


def main() -> tuple[parity.Result, parity.Result]:
    """Judge both; the results."""
    q, k, v = (tensor(name, (2, 4, 50, 8)) for name in "qkv")
    right = parity.check(in_tiles, F.scaled_dot_product_attention, (q, k, v), gradients=True)
    print(right)

    def buggy(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return in_tiles(q, k, v, forget=True)

    wrong = parity.check(buggy, F.scaled_dot_product_attention, (q, k, v))
    print(wrong)
    return right, wrong


if __name__ == "__main__":
    main()
