"""How often a stranger's check is wrong: honest rewrites must hold, on other processors too, and planted bugs must not.

Run as a script it prints how many of the honest rewrites raise an alarm in this process.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import parity
from parity.execution.personalities import PERSONALITIES
from parity.fill import fill_, tensor

ROOT = Path(__file__).parents[3]
Function = Callable[[Tensor], Tensor]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x * 0.5**0.5))


def softmax(x: Tensor) -> Tensor:
    powers = (x - x.amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def normalized(x: Tensor, eps: float = 1e-5) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


TO_ONE: dict[str, tuple[Function, Function]] = {
    "sum backwards": (lambda x: x.flip(0).sum(), lambda x: x.sum()),
    "mean of means": (lambda x: x.reshape(8, -1).mean(1).mean(), lambda x: x.mean()),
    "sum in a loop": (lambda x: sum(x.flatten().split(512), torch.zeros(512)).sum(), lambda x: x.sum()),
    "norm": (lambda x: x.square().sum().sqrt(), lambda x: x.flatten().norm()),
    "variance": (lambda x: (x - x.mean()).square().mean(), lambda x: x.var(correction=0)),
    "product": (lambda x: x[0] @ x[1], lambda x: (x[0] * x[1]).sum()),
    "logsumexp": (lambda x: x.exp().sum().log(), lambda x: x.flatten().logsumexp(0)),
    "loss": (
        lambda x: -softmax(x)[:, 0].log().mean(),
        lambda x: F.cross_entropy(x, torch.zeros(len(x)).long()),
    ),
}
BLOCKS: dict[str, tuple[Function, Function]] = {
    "gelu": (gelu, F.gelu),
    "softmax": (softmax, lambda x: x.softmax(-1)),
    "norm": (normalized, lambda x: F.layer_norm(x, x.shape[-1:])),
    "attention": (
        lambda x: softmax(x @ x.mT * x.shape[-1] ** -0.5) @ x,
        lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None])[0],
    ),
    "rows one by one": (lambda x: torch.stack([row @ x[:4].T for row in x]), lambda x: x @ x[:4].T),
}


def alarms() -> tuple[int, int]:
    """How many honest rewrites raise an alarm, and of how many."""
    wrong = count = 0
    for number in range(8):
        for kinds, shape in ((TO_ONE, (8, 512)), (BLOCKS, (12, 32))):
            for name, (candidate, reference) in kinds.items():
                found = parity.check(candidate, reference, tensor(f"{name} {number}", shape))
                wrong, count = wrong + (not found), count + 1
    return wrong, count


def test_honest_rewrites_hold() -> None:
    wrong, count = alarms()
    assert count == 104
    assert wrong == 0


@pytest.mark.parametrize("name", ["all-old"])
def test_honest_rewrites_hold_with_other_kernels(name: str) -> None:
    personality = next(each for each in PERSONALITIES if each.name == name)
    if why := personality.why_not():
        pytest.skip(why)
    variables = {**os.environ, **personality.variables, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "104"]


class Layer(nn.Module):
    """A stranger's block: attention and a convolution of their own, with a place for each bug."""

    def __init__(self, bug: str = "") -> None:
        super().__init__()
        self.bug = bug
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.conv = nn.Conv2d(16, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, bug = x.shape[1], self.bug
        eps = 1.1e-5 if bug == "epsilon a tenth larger" else 1e-5
        y = F.layer_norm(
            x, (16,), self.norm.weight, None if bug == "no bias in a norm" else self.norm.bias, eps
        )
        q, k, v = self.qkv(y).reshape(len(x), n, 3, 2, 8).permute(2, 0, 3, 1, 4)
        if bug == "keys for queries":
            q = k
        logits = q @ k.mT * (16 if bug == "scale of the width" else 8) ** -0.5
        if bug == "a masked token":
            logits[..., -1] = -1e4
        seen = logits.softmax(-2 if bug == "softmax over queries" else -1) @ v
        if bug == "heads not put back":
            seen = seen.reshape(len(x), n, 16)
        else:
            seen = seen.transpose(1, 2).reshape(len(x), n, 16)
        y = self.out(seen)
        y = F.gelu(y, approximate="tanh" if bug == "tanh" else "none")
        y = y if bug == "no residual" else x + y
        image = y.mT.reshape(len(x), 16, 6, 6)
        mode = "replicate" if bug == "other padding" else "constant"
        image = F.conv2d(F.pad(image, (1, 1, 1, 1), mode=mode), self.conv.weight, self.conv.bias, 2)
        if bug == "one pixel":
            image = image.clone()
            image[0, 0, -1, -1] *= 1 + 1e-6
        if bug == "last item of the batch":
            image = torch.cat([image[:-1], image[:1]])
        return image * (1 + 3e-7) if bug == "three units of rounding" else image


BUGS = (
    "epsilon a tenth larger",
    "no bias in a norm",
    "keys for queries",
    "scale of the width",
    "a masked token",
    "softmax over queries",
    "heads not put back",
    "tanh",
    "no residual",
    "other padding",
    "one pixel",
    "last item of the batch",
    "three units of rounding",
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_planted_bug_is_seen(dtype: torch.dtype) -> None:
    def layer(bug: str = "") -> nn.Module:
        return fill_(Layer(bug)).eval().to(dtype)

    x = tensor("x", (2, 36, 16)).to(dtype)
    assert parity.check(layer(), layer(), x)
    survived = [bug for bug in BUGS if parity.check(layer(bug), layer(), x)]
    assert not survived


if __name__ == "__main__":
    print(*alarms())
