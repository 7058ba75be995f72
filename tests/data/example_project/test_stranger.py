"""A project that has nothing to do with this one, and its whole use of parity: thirty lines."""

from torch import Tensor, nn

from parity.fill import tensor


class TheirNorm(nn.Module):
    """The module that is taken as given."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], eps=1e-6)


class OurNorm(nn.Module):
    """The module that must equal it."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def inputs() -> Tensor:
    return tensor("x", (4, 150))


def test_side_by_side(parity):
    parity.check(OurNorm(), TheirNorm(), inputs(), gradients=True)


def test_by_golden(parity):
    parity.golden("norm", OurNorm(), inputs(), reference=TheirNorm())
