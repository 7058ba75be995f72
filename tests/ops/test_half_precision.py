"""Half precision computed in float32: the numbers are those of float32, rounded, and nobody notices."""

import platform
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from samblocks.ops import half_precision
from samblocks.ops.fast_path import plain_paths
from samblocks.ops.half_precision import (
    call_in_float32,
    computes_half_in_float32,
    half_in_float32,
    has_fast_products,
)

HALF = [torch.bfloat16, torch.float16]


@computes_half_in_float32
class Squared(nn.Module):
    """A layer, and what it is called in; nested in itself on request."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.inner = inner
        self.register_buffer("shift", torch.full((4,), 0.3))
        self.seen: list[Any] = []

    def forward(self, x: Tensor, *more: Any) -> Any:
        self.seen.append((x.dtype, x.stride(), more))
        shift = self.get_buffer("shift")
        if self.inner is not None:
            return [self.inner(x) + shift, {"rest": (x.square(), "text", torch.arange(3))}]
        return self.layer(x).square() + shift


Squared.__module__ = "samblocks.blocks.of_this_test"  # only our own modules are called in another way


def made(dtype: torch.dtype = torch.bfloat16, inner: nn.Module | None = None) -> Squared:
    torch.manual_seed(5)
    return Squared(inner).to(dtype).eval().requires_grad_(False)


def given(dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.linspace(-3, 3, 12).view(3, 4).to(dtype)


@pytest.fixture(autouse=True)
def _wide() -> Iterator[None]:
    with half_in_float32(True):
        yield


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_numbers_are_those_of_float32_rounded_once(dtype: torch.dtype) -> None:
    module, x = made(dtype), given(dtype)
    expected = made(dtype).float()(x.float())
    found = module(x)
    assert found.dtype == dtype
    assert torch.equal(found, expected.to(dtype))
    assert not torch.equal(found, with_steps_rounded(module, x))
    assert torch.equal(call_in_float32(module.layer, x), module.layer.float()(x.float()).to(dtype))


def with_steps_rounded(module: nn.Module, x: Tensor) -> Tensor:
    with half_in_float32(False):
        out: Tensor = module(x)
    return out


def test_the_module_stays_as_it_is() -> None:
    module = made(inner=made())
    before = dict(module.named_parameters()) | dict(module.named_buffers())
    parts = list(module.modules())
    out, more = module(given())
    after = dict(module.named_parameters()) | dict(module.named_buffers())
    assert all(before[name] is after[name] for name in before | after)
    assert list(module.modules()) == parts
    assert {x.dtype for x in after.values()} == {torch.bfloat16}
    square, text, places = more["rest"]
    assert (out.dtype, square.dtype, text, places.dtype) == (
        torch.bfloat16,
        torch.bfloat16,
        "text",
        torch.int64,
    )


def test_what_is_computed_inside_is_not_rounded() -> None:
    inner = made()
    made(inner=inner)(given())
    assert [dtype for dtype, *_ in inner.seen] == [torch.float32]


def test_a_view_of_one_row_stays_a_view() -> None:
    module = made()
    row = given()[:1].expand(1000, 4)
    assert torch.equal(module(row)[7], module(given())[0])
    assert module.seen[0][:2] == (torch.float32, (0, 1))


def test_two_threads_may_call_one_module() -> None:
    module, x = made(inner=made()), given()
    expected = module(x)[0]
    found: list[Tensor] = []

    def call() -> None:
        with half_in_float32(True):
            found.extend(module(x)[0] for _ in range(50))

    threads = [Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert all(torch.equal(out, expected) for out in found)


class Foreign(nn.Linear):
    """A layer that somebody else has put in the place of one of torch's."""


def hooked(module: Squared) -> None:
    module.layer.register_forward_hook(lambda *_: None)


def trained(module: Squared) -> None:
    module.train()


def with_gradients(module: Squared) -> None:
    module.requires_grad_(True)


def with_a_foreign_layer(module: Squared) -> None:
    module.layer = Foreign(4, 4).bfloat16().eval().requires_grad_(False)


def with_another_forward(module: Squared) -> None:
    module.layer.forward = nn.Linear(4, 4).bfloat16().requires_grad_(False).forward  # type: ignore[method-assign]


def with_a_compiled_layer(module: Squared) -> None:
    module.layer._compiled_call_impl = module.layer._call_impl


NOTICED = [hooked, trained, with_gradients, with_a_foreign_layer, with_another_forward, with_a_compiled_layer]


@pytest.mark.parametrize("change", NOTICED)
def test_it_is_left_where_somebody_would_notice(change: Any) -> None:
    module = made()
    change(module)
    module(given())
    call_in_float32(module, given())
    assert [dtype for dtype, *_ in module.seen] == [torch.bfloat16] * 2


def test_hooks_on_the_module_itself_see_its_own_dtype() -> None:
    module, seen = made(), []
    module.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype, out.dtype)))
    expected = module(given())
    assert torch.equal(call_in_float32(module, given()), expected)
    row = nn.Sequential(nn.Linear(4, 4)).bfloat16().eval().requires_grad_(False)
    row.register_forward_hook(lambda module, args, out: seen.append((args[0].dtype, out.dtype)))
    call_in_float32(row, given())
    assert seen == [(torch.bfloat16, torch.bfloat16)] * 3


def test_it_is_left_in_other_dtypes_and_contexts() -> None:
    module = made()
    with plain_paths():
        module(given())
    with torch.autocast("cpu", torch.bfloat16):
        module(given())
    module(given(), given(torch.float32))  # the mixture is the caller's
    module.get_buffer("shift").data = module.get_buffer("shift").float()
    module(given())  # a table is no weight: it is as it is
    assert [dtype for dtype, *_ in module.seen] == [torch.bfloat16] * 3 + [torch.float32]
    wide = made(torch.float32)
    wide(given(torch.float32))
    assert wide.seen[0][0] == torch.float32


PROCESSORS = [
    ("x86_64", {"avx2": True}, False, False),
    ("AMD64", {"avx512_f": True, "avx512_bw": True}, False, False),
    ("x86_64", {"avx512_bf16": True}, True, False),
    ("x86_64", {"amx_bf16": True, "avx512_fp16": True}, True, True),
    ("x86_64", {"amx_fp16": True}, False, True),
    ("aarch64", {}, True, True),
]


@pytest.mark.parametrize(("machine", "has", "bfloat16", "float16"), PROCESSORS)
def test_the_processor_decides(
    machine: str, has: dict[str, bool], bfloat16: bool, float16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    asked = has_fast_products.__wrapped__
    assert (asked(torch.bfloat16), asked(torch.float16)) == (bfloat16, float16)
    monkeypatch.setattr(half_precision, "has_fast_products", asked)
    module, chosen = made(), half_precision._chosen.set(None)
    module(given())
    half_precision._chosen.reset(chosen)
    assert module.seen[0][0] == (torch.bfloat16 if bfloat16 else torch.float32)


def test_an_older_torch_is_asked_by_its_own_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_amx_fp16_supported")
    for name in names:
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    asked = has_fast_products.__wrapped__
    assert not asked(torch.bfloat16)
    assert not asked(torch.float16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert asked(torch.bfloat16)
    monkeypatch.delattr(torch.cpu, "_is_amx_fp16_supported")  # torch 2.6 has none
    assert not asked(torch.float16)
