"""`parity.diverge` in this process: a model is right, a changed copy of it is not, and the change is found."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from parity.diverge import Report, diverge, text
from parity.diverge.planted import PLANTED
from parity.execution.fill import fill_
from samblocks.blocks import Block, LayerNorm2d
from samblocks.models import FpnNeck, Hiera, ImageEncoder


def encoder() -> nn.Module:
    trunk = Hiera(
        embed_dim=8,
        num_heads=1,
        stages=(1, 1, 3, 1),
        q_pool=2,
        global_att_blocks=(3,),
        window_spec=(4, 2, 2, 2),
        window_pos_embed_bkg_spatial_size=(3, 3),
    )
    neck = FpnNeck(8, trunk.channel_list, fpn_interp_model="nearest", fpn_top_down_levels=[2, 3])
    # Two stages keep their size, where the pyramid would double it: the last one is taken off.
    neck.fpn_top_down_levels = [1]
    return fill_(ImageEncoder(trunk, neck)).eval()


def image() -> Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def names(report: Report) -> list[str]:
    return [culprit.tap.name for culprit in report.culprits]


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_mistake_is_located(name: str) -> None:
    reference = encoder()
    candidate = copy.deepcopy(reference)
    places = PLANTED[name].plant(candidate)
    report = diverge(candidate, reference, image())
    assert PLANTED[name].found(report, places), (places, list(text.verdict(report)))
    assert not report


def test_equal_models_have_no_culprit() -> None:
    reference = encoder()
    report = diverge(copy.deepcopy(reference), reference, image())
    assert report
    assert report.culprits == ()
    assert {tap.total for tap in report.taps} == {0.0}
    assert "trunk.blocks.1.attn.proj" in {tap.name for tap in report.taps}


def test_inherited_error_is_told_from_introduced() -> None:
    reference = encoder()
    candidate = copy.deepcopy(reference)
    candidate.get_parameter("trunk.blocks.1.mlp.layers.0.weight").data[0] += 1.0
    report = diverge(candidate, reference, image())
    assert names(report) == ["trunk.blocks.1.mlp.layers.0"]
    assert report.culprits[0].tensors == ("trunk.blocks.1.mlp.layers.0.weight: the values differ",)
    later = next(tap for tap in report.taps if tap.name == "trunk.blocks.2")
    assert not later.failed
    assert later.total is not None
    assert later.total > 1000


class _Scaled(nn.Module):
    """Attention whose arithmetic between two layers is its own."""

    def __init__(self, scale: float, *, swap: bool = False) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.proj = nn.Linear(8, 8)
        self.scale = scale
        self.swap = swap

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        if self.swap:
            k, v = v, k
        weights = torch.softmax(q @ k.transpose(-1, -2) * self.scale, dim=-1)
        out: Tensor = self.proj(weights @ v)
        return out


@pytest.mark.parametrize(
    "change", [{"scale": 0.3536}, {"scale": 8**-0.5, "swap": True}], ids=["scale", "k and v swapped"]
)
def test_the_step_in_a_block_is_named(change: dict[str, Any]) -> None:
    reference, candidate = fill_(_Scaled(8**-0.5)), fill_(_Scaled(**change))
    report = diverge(candidate, reference, torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0)))
    assert names(report) == ["(model)"]
    assert report.culprits[0].step == "between qkv and proj"


def test_swapped_axes_of_relative_positions_lie_between_qkv_and_proj() -> None:
    reference = fill_(Block(12, 2, use_rel_pos=True, input_size=(4, 4))).eval()
    candidate: Any = copy.deepcopy(reference)
    attention = candidate.attn
    attention.rel_pos_h, attention.rel_pos_w = attention.rel_pos_w, attention.rel_pos_h
    report = diverge(candidate, reference, torch.randn(1, 4, 4, 12))
    assert names(report) == ["attn"]
    assert report.culprits[0].step == "between qkv and proj"
    assert report.culprits[0].tensors == (
        "attn.rel_pos_h: the values differ",
        "attn.rel_pos_w: the values differ",
    )


class _Dictionary(nn.Module):
    """Keyword inputs, a part that is called twice, and a nested result."""

    def __init__(self, second: float = 1.0, *, norm: bool = True) -> None:
        super().__init__()
        self.part = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.second = second
        self.uses_norm = norm

    def forward(self, *, x: Tensor, extra: dict[str, Tensor]) -> dict[str, Any]:
        first = self.part(x + extra["shift"])
        again = self.part(first * self.second)
        return {"levels": [first, self.norm(again) if self.uses_norm else again], "count": 2, "none": None}


def _keyword_inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    x, shift = torch.randn(2, 3, 4, generator=generator), torch.randn(4, generator=generator)
    return {"x": x, "extra": {"shift": shift}}


def test_keywords_nested_results_and_repeated_calls() -> None:
    reference = fill_(_Dictionary())
    assert diverge(fill_(_Dictionary()), reference, _keyword_inputs())
    report = diverge(fill_(_Dictionary(second=1.01)), reference, _keyword_inputs())
    assert names(report) == ["(model)"]
    assert report.culprits[0].step == "between part and part (call 2)"
    assert report.culprits[0].settings == ("second 1.01, upstream 1",)


def test_a_part_that_is_not_called_is_said() -> None:
    report = diverge(fill_(_Dictionary(norm=False)), fill_(_Dictionary()), _keyword_inputs())
    assert report.culprits[0].step == "after part (call 2): upstream calls norm, ours does not"


class _Renamed(nn.Module):
    """The same as `_Scaled`, with other names inside and one part more."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.ModuleDict({"into": nn.Linear(8, 24)})
        self.out = nn.Sequential(nn.Linear(8, 8))
        self.act = nn.Identity()

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = self.inside["into"](tokens).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5, dim=-1)
        out: Tensor = self.act(self.out(weights @ v))
        return out


_NAMES = {"inside.into": "qkv", "out.0": "proj"}


def _canonical(name: str) -> str:
    path, _, kind = name.rpartition(".")
    return f"{_NAMES[path]}.{kind}"


@pytest.mark.parametrize(("scale", "found"), [(8**-0.5, []), (0.3536, ["(model)"])])
def test_trees_of_other_names_are_aligned_by_their_tensors(scale: float, found: list[str]) -> None:
    candidate = fill_(_Scaled(scale))
    reference = _Renamed()
    reference.load_state_dict(
        {
            f"{theirs}.{kind}": candidate.get_parameter(f"{ours}.{kind}")
            for theirs, ours in _NAMES.items()
            for kind in ("weight", "bias")
        }
    )
    report = diverge(candidate, reference, torch.randn(2, 6, 8), canonical=_canonical)
    assert names(report) == found
    assert {"qkv", "proj"} <= {tap.name for tap in report.taps}
    assert "act" in report.only_theirs
    assert report.skipped == {"out": "ours has no such module", "act": "ours has no such module"}
    assert all(culprit.step == "between qkv and proj" for culprit in report.culprits)


class WithWeights(nn.Module):
    """A linear that also returns what nobody asked for, as attention returns its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return functional.linear(x, self.linear.weight, self.linear.bias), x.softmax(-1)


class Around(nn.Module):
    """Calls one part, whatever it returns."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        result = self.part(x)
        return result[0] if isinstance(result, tuple) else result


class Alone(WithWeights):
    """The same, which returns its result alone, times a scale."""

    scale = 1.0

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0] * self.scale


@pytest.mark.parametrize(("scale", "found"), [(1.0, []), (1.001, ["part"])])
def test_a_result_is_judged_though_upstream_returns_more_behind_it(scale: float, found: list[str]) -> None:
    part = Alone()
    candidate, reference = fill_(Around(part)), fill_(Around(WithWeights()))
    part.scale = scale
    report = diverge(candidate, reference, torch.rand(2, 4))
    assert names(report) == found
    assert "part" in {tap.name for tap in report.taps}


def test_a_module_that_raises_is_the_culprit() -> None:
    reference = fill_(nn.Sequential(LayerNorm2d(4), nn.Conv2d(4, 4, 1)))
    candidate = fill_(nn.Sequential(LayerNorm2d(4), nn.Conv2d(4, 4, 1)))

    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("no such luck")

    candidate.get_submodule("1").forward = fail
    report = diverge(candidate, reference, torch.randn(1, 4, 3, 3), call=_only_first)
    assert names(report) == ["1"]
    assert report.culprits[0].tap.introduced.cause == "ours raised RuntimeError: no such luck"


def _only_first(module: Any, inputs: Tensor) -> object:
    """The candidate's free run cannot pass the part that raises."""
    try:
        return module(inputs)
    except RuntimeError:
        return None


def test_text_groups_what_is_alike_and_shows_the_named_points() -> None:
    reference = encoder()
    candidate: Any = copy.deepcopy(reference)
    for block in candidate.trunk.blocks:
        block.mlp.act = nn.GELU(approximate="tanh")
    page = "\n".join(text.lines(diverge(candidate, reference, image())))
    assert page.startswith("CULPRIT trunk.blocks.0.mlp.act (and 5 alike, to trunk.blocks.5.mlp.act)")
    assert "approximate tanh, upstream none" in page
    assert "blocks[2].attn.out" in page
    assert "inherited" in page


def test_json_is_plain() -> None:
    import json

    reference = encoder()
    found = text.as_json(diverge(copy.deepcopy(reference), reference, image()))
    assert json.loads(json.dumps(found)) == found
    assert {"culprits", "calls", "skipped", "only_ours", "only_upstream", "settings", "tensors"} <= set(found)


def test_inputs_and_models_stay_as_they_were() -> None:
    reference, x = encoder(), image()
    before, kept = copy.deepcopy(reference.state_dict()), x.clone()
    diverge(copy.deepcopy(reference), reference, x)
    assert torch.equal(x, kept)
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in reference.modules())
    assert "_get_pos_embed" not in vars(reference.get_submodule("trunk"))


def test_building_anew_gives_totals_where_tables_stay_narrow() -> None:
    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.table = torch.arange(4, dtype=torch.float32) / 3

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.layer(x) + self.table
            return out

    make: Callable[[], nn.Module] = Table
    reference = fill_(make())
    x = torch.randn(5, 4)
    assert diverge(copy.deepcopy(reference), reference, x)  # equal bits need no truth
    changed: Any = copy.deepcopy(reference)
    changed.table = changed.table + 1e-3
    narrow = diverge(changed, reference, x)
    assert "LeakError" in narrow.note
    assert "LeakError" in narrow.skipped["(model)"]
    found = diverge(changed, reference, x, build=make)
    assert found.note == ""
    assert names(found) == ["(model)"]


class _Sum(nn.Module):
    """A sum of many numbers, at once, or one after the other, or at less precision."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "narrow" and x.dtype is torch.float32:
            x = x.bfloat16().float()
        if self.how == "one by one":
            total = torch.zeros_like(x[0])
            for row in x:
                total = total + row
            return total * self.weight
        return x.sum(0) * self.weight


@pytest.mark.parametrize("how", ["one by one", "narrow"])
def test_lost_precision_is_told_from_another_function(how: str) -> None:
    x = torch.rand(1024, 4, generator=torch.Generator().manual_seed(2))
    report = diverge(fill_(_Sum(how)), fill_(_Sum("at once")), x)
    (tap,) = report.taps
    assert tap.failed
    assert tap.introduced.cause.startswith("the same function, less precise")
    assert tap.introduced.cause in "\n".join(text.lines(report))


class _Eps(nn.Module):
    """A norm whose epsilon is so near that no R in float32 shows it."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x)
        return out


def test_another_function_is_found_however_small_its_error() -> None:
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(4))
    report = diverge(fill_(_Eps(1.2e-5)), fill_(_Eps(1e-5)), x * 5)
    (culprit,) = report.culprits
    assert culprit.tap.name == "norm"
    assert culprit.tap.introduced.ratio is not None
    assert culprit.tap.introduced.ratio < 2
    assert culprit.tap.introduced.cause.startswith("another function")


class _Rounds(nn.Module):
    """A product whose reference is nearly exact on one input: R of that one is luck."""

    def __init__(self, *, split: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(256))
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        if self.split:
            return (x[:128] * self.weight[:128]).sum() + (x[128:] * self.weight[128:]).sum()
        return (x * self.weight).sum()


def test_a_first_alarm_is_decided_by_varied_inputs() -> None:
    reference, candidate = fill_(_Rounds(split=False)), fill_(_Rounds(split=True))
    truth = copy.deepcopy(reference).double()
    for seed in range(200):
        x = torch.randn(256, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            right = truth(x.double())
            own, theirs = (abs(float(model(x).double() - right)) for model in (candidate, reference))
        floor = torch.finfo(torch.float32).eps / 2 * abs(float(right))
        if 2.5 < own / max(theirs, floor) < 50:
            break
    report = diverge(candidate, reference, x)
    assert report, list(text.lines(report))
    (tap,) = report.taps
    assert tap.introduced.draws in (8, 16)
    assert "in the first draw" in tap.introduced.cause


class _LastChannels(nn.Module):
    """Two convolutions on maps that lie in memory with their channels last, or as they come."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(64, 256, 1), nn.Conv2d(256, 256, 3, padding=1)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        inside = self.first(x)
        layout = torch.channels_last if self.last else torch.contiguous_format
        out: Tensor = self.second(inside.contiguous(memory_format=layout))
        return out


def test_sums_in_the_order_of_another_memory_layout_are_no_lost_precision() -> None:
    """Where a convolution rounds otherwise with its channels last, R of our module is above 2 in every draw."""
    x = torch.randn(1, 64, 16, 16, generator=torch.Generator().manual_seed(5))
    report = diverge(fill_(_LastChannels(last=True)), fill_(_LastChannels(last=False)), x)
    assert report, list(text.lines(report))
