"""Training held to upstream: equal dropped places on both sides, gradients, and steps of an optimizer.

Two implementations of dropout draw different masks from the same seed, so masks are given to both: each place
where something is dropped gets the mask that follows from its number in the order of the calls and its shape.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parity.execution import fill
from parity.execution.case import Side
from parity.execution.execute import flatten

Run = Callable[[Side, Mapping[str, Tensor]], Any]
"""Runs the case's module on the given inputs, which may carry gradients."""


class Injected(TorchFunctionMode):
    """Context in which whatever would be drawn at random follows from the order of the draws.

    Attributes:
        drawn: how many masks were asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        answer = _ANSWERS.get(func)
        found = answer(self, *args, **(kwargs or {})) if answer is not None else NotImplemented
        return func(*args, **(kwargs or {})) if found is NotImplemented else found

    def uniform(self, like: Tensor) -> Tensor:
        """The next draw, uniform in [0, 1), in the type of `like`."""
        return torch.from_numpy(self._draw(like)).to(like.dtype)

    def keep(self, like: Tensor, probability: float) -> Tensor:
        """The next mask: 1 with the given probability, else 0, in the type of `like`."""
        return torch.from_numpy(self._draw(like) < probability).to(like.dtype)

    def _draw(self, like: Tensor) -> np.ndarray:
        self.drawn += 1
        # Axes of length one are no part of the name: some libraries carry one more than others.
        name = f"draw {self.drawn} of {[size for size in like.shape if size != 1]}"
        return fill.uniform(name, like.shape, 0.0, 1.0)


def _bernoulli_(mode: Injected, x: Tensor, p: float = 0.5, **_: Any) -> Any:
    return x.copy_(mode.keep(x, p))


def _rand(mode: Injected, *size: Any, **kwargs: Any) -> Any:
    return mode.uniform(torch.empty(*size, **kwargs))


def _dropout(mode: Injected, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    if not training or p == 0.0:
        return NotImplemented
    dropped = x * mode.keep(x, 1.0 - p) / (1.0 - p)
    return x.copy_(dropped) if inplace else dropped


def _attention(
    mode: Injected,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Any:
    """Attention step by step, with the mask that an implementation in steps would be given."""
    if dropout_p == 0.0 or is_causal:
        return NotImplemented
    scores = query @ key.transpose(-2, -1) * (1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(dim=-1)
    return (weights * mode.keep(weights, 1.0 - dropout_p) / (1.0 - dropout_p)) @ value


_ANSWERS: dict[Any, Callable[..., Any]] = {
    torch.Tensor.bernoulli_: _bernoulli_,
    torch.rand: _rand,
    functional.dropout: _dropout,
    torch.dropout: _dropout,
    functional.scaled_dot_product_attention: _attention,
}


def plain(side: Side, inputs: Mapping[str, Tensor]) -> Any:
    """The module on the inputs in their order."""
    return side.net(*inputs.values())


def loss_of(side: Side, result: Any) -> Tensor:
    """Every output, weighed by fixed noise, plus half the mean of squares: nothing cancels in its gradient."""
    total = torch.zeros((), dtype=side.dtype)
    for path, output in flatten(result):
        if output.is_floating_point() and output.requires_grad:
            noise = torch.from_numpy(fill.uniform(f"noise:{path}", output.shape)).to(
                output.device, side.dtype
            )
            total = total + (output * noise).mean() + output.square().mean() / 2
    return total


def weighed(side: Side, result: Any) -> Tensor:
    """Every output, weighed by fixed noise: in a plain sum a norm or a softmax would hide, as its sum is constant."""
    total = torch.zeros((), dtype=side.dtype)
    for path, output in flatten(result):
        noise = torch.from_numpy(fill.uniform(f"noise:{path}", output.shape))
        total = total + (output * noise.to(side.dtype)).sum()
    return total


def gradients(
    run: Run = plain,
    *,
    loss: Callable[[Side, Any], Tensor] = weighed,
    drops: bool = False,
    vanishing: tuple[str, ...] = (),
    fixed: tuple[str, ...] = (),
) -> Callable[[Side], Any]:
    """Outputs, and the gradients of all inputs and parameters, with injected masks.

    The parameters' gradients are one long output, in the order of the parameters: the rounding of a bias of a few
    numbers is too much a matter of luck.

    Args:
        run: the call.
        loss: what is differentiated, made of the call's result.
        drops: something must have been dropped, else the case is blind.
        vanishing: last parts of names of parameters whose gradient is zero in exact arithmetic, so that only
            rounding could be compared; they are left out. (Softmax takes no notice of a bias of all keys.)
        fixed: inputs of so few numbers that the rounding of their gradients is luck.
    """

    def call(side: Side) -> Any:
        with torch.enable_grad(), Injected() as masks:
            given = {
                name: value.detach().requires_grad_()
                if value.is_floating_point() and name not in fixed
                else value
                for name, value in side.inputs.items()
            }
            result = run(side, given)
            leaves = {name: value for name, value in given.items() if value.requires_grad}
            parameters = _parameters(side, vanishing)
            found = torch.autograd.grad(
                loss(side, result), [*leaves.values(), *parameters.values()], materialize_grads=True,
                allow_unused=True,
            )  # fmt: skip
        _seen(masks, drops)
        return {
            "out": result,
            "input": dict(zip(leaves, found, strict=False)),
            "parameters": torch.cat([gradient.flatten() for gradient in found[len(leaves) :]]),
        }

    return call


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], float], torch.optim.Optimizer]] = {
    "SGD": lambda parameters, rate: torch.optim.SGD(
        parameters, lr=0.05 * rate, momentum=0.9, weight_decay=0.01
    ),
    # A usual eps of 1e-8 would turn the rounding of a gradient that is zero into a step of full length;
    # this one is of the size of the gradients here.
    "AdamW": lambda parameters, rate: torch.optim.AdamW(
        parameters, lr=2e-3 * rate, eps=1e-3, weight_decay=0.05
    ),
}
"""The optimizers that trajectories are followed with."""


def steps(
    optimizer: str, run: Run = plain, *, count: int = 5, drops: bool = False, rate: float = 1.0
) -> Callable[[Side], Any]:
    """Losses and final weights of a few steps of training, with injected masks.

    Args:
        optimizer: one of `OPTIMIZERS`.
        run: the call.
        count: number of steps.
        drops: something must have been dropped, else the case is blind.
        rate: multiplies the optimizer's rate: large models with filled weights would be thrown off by it.
    """

    def call(side: Side) -> Any:
        parameters = _parameters(side, ())
        before = torch.cat([value.detach().flatten() for value in parameters.values()])
        stepper = OPTIMIZERS[optimizer](list(parameters.values()), rate)
        losses = []
        with torch.enable_grad(), Injected() as masks:
            for _ in range(count):
                stepper.zero_grad()
                loss = loss_of(side, run(side, side.inputs))
                loss.backward()  # type: ignore[no-untyped-call]
                stepper.step()
                losses.append(loss.detach())
        _seen(masks, drops)
        after = torch.cat([value.detach().flatten() for value in parameters.values()])
        return {"losses": torch.stack(losses), "weights": after, "way": after - before}

    return call


def _parameters(side: Side, vanishing: tuple[str, ...]) -> dict[str, nn.Parameter]:
    return {name: value for name, value in side.net.named_parameters() if not name.endswith(vanishing)}


def _seen(masks: Injected, drops: bool) -> None:
    if drops and masks.drawn == 0:
        raise AssertionError(
            "nothing was dropped: the library draws its masks in a way that is not known here"
        )
