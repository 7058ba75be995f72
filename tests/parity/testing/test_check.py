"""`parity.check` between any two callables: what is equal, what is not, and what cannot be compared."""

import copy
import functools
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import parity
from parity import UsageError
from parity.fill import fill_, tensor


def net() -> nn.Module:
    return fill_(nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 2, 1))).eval()


@pytest.fixture
def x() -> Tensor:
    return tensor("x", (2, 3, 8, 8))


class Predictor:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def predict(self, x: Tensor) -> Tensor:
        return self.model(x)


def closure(model: nn.Module) -> Callable[[Tensor], Tensor]:
    layers = list(model.children())
    return lambda x: layers[2](layers[1](layers[0](x)))


def default(model: nn.Module) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor, inner: nn.Module = model) -> Tensor:
        result: Tensor = inner(x)
        return result

    return call


WRAPPED: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "module": lambda model: model,
    "bound method": lambda model: model.forward,
    "partial": lambda model: functools.partial(model),
    "lambda": lambda model: lambda x: model(x),
    "default": default,
    "closure over a list": closure,
    "method of an object": lambda model: Predictor(model).predict,
    "compiled": lambda model: torch.compile(model, backend="eager"),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_any_callable_is_run_in_float64_too(kind: str, x: Tensor) -> None:
    same = parity.check(WRAPPED[kind](net()), WRAPPED[kind](net()), x)
    assert same
    assert same.worst.relative == 0.0  # the candidate was compared in float64
    assert not same.notes
    other = net()
    other[0].weight.data[0, 0, 0, 0] *= 1 + 1e-4
    assert "another function" in str(parity.check(WRAPPED[kind](other), net(), x))


class Uncounted(nn.Module):
    """The smallest bug that R does not see, and float64 does."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, x.shape[-1:], eps=self.eps)


def test_float64_sees_what_r_does_not(x: Tensor) -> None:
    found = parity.check(Uncounted(1.02e-6), Uncounted(1e-6), x)
    assert found.worst.comparison.ratio is None or found.worst.comparison.ratio < 2
    assert "another function" in str(found)


def test_what_only_rounds_worse_is_the_same_function(x: Tensor) -> None:
    found = parity.check(lambda t: t.half().float() * 2, lambda t: t * 2, x)
    assert not found
    assert "the same function, less precise" in str(found)


def test_the_caller_keeps_what_is_the_callers(x: Tensor) -> None:
    model, before = fill_(nn.BatchNorm2d(3)).train(), torch.get_rng_state()
    state = copy.deepcopy(model.state_dict())
    parity.check(copy.deepcopy(model), model, x, gradients="all")
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(before, torch.get_rng_state())


class Drops(nn.Module):
    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.inner, self.drop, self.scale = nn.Linear(8, 8), nn.Dropout(0.1), scale

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.inner(x)) * self.scale


class Noise(Drops):
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x + torch.randn_like(x) * (torch.rand(x.shape) > 0.5)) * self.scale


@pytest.mark.parametrize("kind", [Drops, Noise])
def test_what_is_random_is_refused_unless_its_seed_is_fixed(kind: type[Drops], x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"the reference is not the same in every run.*draws random numbers"):
        parity.check(nn.Identity(), fill_(kind()).train(), x)
    with pytest.raises(UsageError, match=r"the candidate is not the same .*training flag on in .*seed="):
        parity.check(fill_(kind()).train(), nn.Identity(), x)
    assert parity.check(fill_(kind()).train(), fill_(kind()).train(), x, seed=3)
    assert not parity.check(fill_(kind(1 + 1e-5)).train(), fill_(kind()).train(), x, seed=3)


def test_the_layers_that_draw_are_named(x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"drop: Dropout\(p=0.1, inplace=False\) draws random numbers"):
        parity.check(nn.Identity(), fill_(Drops()).train(), x)


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Settles(nn.Module):
    """A table that is made when it is first needed."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(8, dtype=torch.float32).sin()
        return self.inner(x) + self.table


class Tabled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        self.register_buffer("table", torch.arange(8, dtype=torch.float32).sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.table


def test_state_is_refused_and_a_cache_is_not(x: Tensor) -> None:
    with pytest.raises(UsageError, match="the reference keeps state: a second call"):
        parity.check(nn.Identity(), Counts(), x)
    with pytest.raises(UsageError, match="the candidate keeps state: a second call"):
        parity.check(Counts(), nn.Identity(), x)
    assert parity.check(fill_(Settles()).eval(), fill_(Settles()).eval(), x)


def test_running_statistics_are_compared(x: Tensor) -> None:
    def norm(momentum: float) -> nn.Module:
        return fill_(nn.BatchNorm2d(3, momentum=momentum)).train()

    assert "state/running_mean" in str(parity.check(norm(0.1), norm(0.1), x))
    assert "DIVERGED state/running_mean" in str(parity.check(norm(0.2), norm(0.1), x))


def test_rounding_of_a_table_is_no_other_function(x: Tensor) -> None:
    def weighted(module: nn.Module) -> nn.Module:
        module.inner.load_state_dict(fill_(nn.Linear(8, 8)).state_dict())
        return module.eval()

    candidate, reference = weighted(Settles()), weighted(Tabled())
    found = parity.check(candidate, reference, x)
    assert found
    assert "by no more than the rounding of table, which one side holds alone" in str(found)
    assert not parity.check(lambda t: candidate(t) + 1e-6, reference, x)


def test_a_folded_norm_is_no_other_function(x: Tensor) -> None:
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    reference = fill_(nn.Sequential(conv, norm)).eval()
    folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
    assert parity.check(folded, reference, x)
    folded.weight.data *= 1 + 3e-6
    assert not parity.check(folded, reference, x)


class Blind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rel_pos_h, self.rel_pos_w = (nn.Parameter(torch.zeros(8)) for _ in range(2))
        self.unused, self.norm = nn.Parameter(torch.rand(3)), nn.LayerNorm(8)

    def forward(self, x: Tensor, mask: Tensor, places: Tensor) -> dict[str, Tensor]:
        seen = self.norm(x) + self.rel_pos_h + self.rel_pos_w
        return {"seen": seen[places], "kind": x.argmax(-1), "flat": torch.ones(3), "none": x[:0]}


def test_what_was_not_seen_is_said(x: Tensor) -> None:
    given = (x, torch.ones(4, dtype=torch.bool), torch.tensor([1, 0]))
    found = parity.check(Blind().eval(), Blind().eval(), given)
    assert found
    assert found.unseen == (
        "rel_pos_h, rel_pos_w, norm.bias are zero",
        "norm.weight is constant",
        "none is empty",
        "flat is constant",
        "no output depends on input 1, unused",
    )
    strict = parity.check(Blind().eval(), Blind().eval(), given, strict_sight=True)
    assert not strict
    assert "not seen: rel_pos_h, rel_pos_w, norm.bias are zero" in str(strict)


def test_sight_is_cheap(x: Tensor) -> None:
    calls = 0

    class Watched(Blind):
        def forward(self, *given: Tensor) -> dict[str, Tensor]:
            nonlocal calls
            calls += 1
            return super().forward(*given)

    parity.check(Blind().eval(), Watched().eval(), (x, torch.ones(4, dtype=torch.bool), torch.tensor([1, 0])))
    assert calls <= 3 + 1 + 1 + 8  # thrice, in float64, backwards, and at most 8 more


def test_filled_copies_are_compared_and_the_originals_stay(x: Tensor) -> None:
    given = (x, torch.ones(4, dtype=torch.bool), torch.tensor([1, 0]))
    candidate, reference = Blind().eval(), Blind().eval()
    found = parity.check(candidate, reference, given, fill=True)
    assert found
    assert not any("rel_pos" in sentence for sentence in found.unseen)
    assert not bool(reference.rel_pos_h.any())
    with pytest.raises(UsageError, match=r"they differ in .* names or shapes"):
        parity.check(net(), reference, given, fill=True)


@dataclass
class Batch:
    x: Tensor
    times: int


Pair = namedtuple("Pair", "a b")

VALUES: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any]] = {
    "a dataclass": (lambda b: {"y": b.x * b.times}, lambda b: {"y": b.times * b.x}, Batch(torch.rand(3), 2)),
    "a named tuple": (lambda p: Batch(p.a + p.b, 1), lambda p: Batch(p.b + p.a, 1), Pair(torch.rand(3), 2.0)),
    "keywords": (lambda x, y: [x * y], lambda x, y: [y * x], {"x": torch.rand(3), "y": 2.0}),
    "arrays": (lambda a: (a @ a).sum(), lambda a: np.einsum("ij,jk->", a, a), np.ones((5, 5), np.float32)),
    "a number": (lambda n: torch.arange(n), lambda n: torch.arange(0, n), 4),
    "text": (lambda x: {"name": "a", "x": x}, lambda x: {"name": "a", "x": x}, torch.rand(3)),
    "complex": (lambda x: torch.fft.fft(x * 3) / 3, torch.fft.fft, torch.rand(4, 32)),
    "infinities": (lambda x: (-x).exp() / 0, lambda x: 1 / x.exp() / 0, torch.rand(3)),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_many_kinds(kind: str) -> None:
    candidate, reference, given = VALUES[kind]
    assert parity.check(candidate, reference, given), str(parity.check(candidate, reference, given))


def no_double(x: Tensor) -> Tensor:
    if x.dtype is torch.float64:
        raise NotImplementedError("\"my_kernel\" not implemented for 'Double'")
    return x.exp()


def test_where_there_is_no_float64(x: Tensor) -> None:
    with pytest.raises(UsageError, match=r"the operator 'my_kernel' of the reference has no float64.*truth="):
        parity.check(no_double, no_double, x)
    assert parity.check(torch.exp, no_double, x, truth=torch.exp)
    alone = parity.check(no_double, no_double, x, truth=x.double().exp())
    assert alone
    assert "the candidate was not compared in float64" in str(alone)
    told = str(parity.check(lambda t: no_double(t) * (1 + 1e-6), no_double, x, truth=torch.exp))
    assert "less precise, or another function" in told or "8 draws" in told
    with pytest.raises(UsageError, match="a truth is in float64"):
        parity.check(no_double, no_double, x, truth=x.exp())


class Far(nn.Module):
    """Lies, as it were, on a device that has no float64."""

    def __init__(self) -> None:
        super().__init__()
        self.far, self.inner = True, nn.Linear(8, 8)

    def to(self, *_: object) -> "Far":
        self.far = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.far and x.dtype is torch.float64:
            raise TypeError("Cannot convert a far tensor to float64, which that device does not have")
        return self.inner(x)


def test_where_a_device_has_no_float64_the_cpu_has(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"its run in float64 raised TypeError: Cannot convert.*pass truth="):
        parity.check(fill_(nn.Linear(8, 8)), fill_(Far()), x)
    monkeypatch.setattr("parity.testing.wide._devices", lambda *_: {"far", "cpu"})
    candidate, reference = fill_(Far()), fill_(Far())
    found = parity.check(candidate, reference, x)
    assert found
    assert found.worst.relative == 0.0
    assert found.notes[0].startswith("float64 on the CPU: TypeError: Cannot convert")
    assert reference.far


@pytest.mark.parametrize("given", [None, "abc", iter([1]), {1: torch.ones(2)}])
def test_inputs_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="inputs is a"):
        parity.check(len, len, given)


def test_gradients_of_parameters(x: Tensor) -> None:
    class Stopped(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.weight, self.bias.detach())

    linear, stopped = fill_(nn.Linear(8, 8)), fill_(Stopped(8, 8))
    assert parity.check(stopped, linear, x, gradients=True)
    assert "DIVERGED gradient of bias" in str(parity.check(stopped, linear, x, gradients="all"))
    with pytest.raises(UsageError, match="give False, True or 'all'"):
        parity.check(linear, linear, x, gradients="some")


def coarse(y: Tensor) -> Tensor:
    """The same function in exact arithmetic; in float32 three bits are lost, everywhere alike."""
    return (y + 8) - 8


def test_a_first_alarm_is_decided_by_further_draws() -> None:
    asked: list[int] = []

    def inputs(number: int) -> Tensor:
        asked.append(number)
        return tensor(f"draw{number}", (64,))

    found = parity.check(lambda t: coarse(t * 1.1), lambda t: t * 1.1, inputs)
    assert not found
    assert set(asked) == set(range(9))
    assert found.worst.comparison.draws == 8
    assert "over 8 others, above 2" in str(found)
    told: list[str] = []
    parity.check(lambda t: coarse(t * 1.1), lambda t: t * 1.1, inputs(0), progress=told.append)
    assert [line for line in told if line.startswith("draw")] == [f"draw {k}" for k in range(1, 9)]


def test_where_nothing_varies_float64_decides() -> None:
    numbers = torch.arange(1, 65)
    found = parity.check(lambda t: coarse(t / 70), lambda t: t / 70, numbers)
    assert found
    assert "one draw" in str(found)
    assert "decided by float64" in str(found)


def test_weights_that_were_not_copied_are_named(x: Tensor) -> None:
    candidate, reference = net(), net()
    with torch.no_grad():
        for value in candidate.parameters():
            value.mul_(1.5)
    found = parity.check(candidate, reference, x)
    assert not found
    assert "0.weight, 0.bias, 2.weight, 2.bias: tensors of one name and shape differ" in str(found)
    assert parity.check(candidate, reference, x, fill=True)
    assert "differ between the sides" not in str(parity.check(lambda t: reference(t) * 1.1, reference, x))


def test_the_former_name_of_the_error_map_still_works(x: Tensor) -> None:
    with pytest.warns(DeprecationWarning, match="error_map="):
        found = parity.check(lambda t: t.sin() + 1e-3, torch.sin, x, heat=True)
    assert found.worst.comparison.error_map is not None
