"""Swaps in what somebody else has wrapped or compiled: what the caller holds is what is swapped."""

import fake_hosts
import pytest
import torch
from fake_hosts import Fuser as HostFuser
from fake_hosts import picture, pipeline
from torch import nn

from samblocks import SwapError, swap_blocks
from samblocks.blocks import Fuser, TwoWayTransformer


def peft_model(model):
    """A model as peft has it: in a tuner, in its own model."""

    class BaseTuner(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, *args):
            return self.model(*args)

    class LoraModel(BaseTuner):
        pass

    class PeftModel(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.base_model = LoraModel(model)

        def forward(self, *args):
            return self.base_model(*args)

    return PeftModel(model)


WRAPPERS = {
    "data parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "peft": peft_model,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_the_caller_holds_is_swapped(wrap):
    model = pipeline()
    with torch.no_grad():
        before = model(picture())
    wrapper = wrap(model).eval()
    inner = wrapper.module if hasattr(wrapper, "module") else wrapper.base_model.model
    report = swap_blocks(wrapper)
    assert isinstance(inner.fuser, Fuser)
    with torch.no_grad():
        assert torch.equal(inner(picture()), before)
        assert torch.equal(wrapper(picture()), before)
    report.undo()
    assert type(inner.fuser) is HostFuser


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_block_stays_and_its_parts_are_swapped(wrap):
    block = pipeline().fuser
    wrapper = wrap(block)
    report = swap_blocks(wrapper)
    inner = wrapper.module if hasattr(wrapper, "module") else wrapper.base_model.model
    assert type(inner) is HostFuser  # the caller may hold it
    assert {row.path.rpartition(".")[0].rpartition(".")[2] for row in report.swapped} == {"layers"}
    (row,) = swap_blocks(nn.Sequential(pipeline().fuser)).rows  # here nothing says that somebody else does
    assert (row.path, row.verdict) == ("0", "swapped")


def test_undo_after_compile_says_that_it_cannot():
    model = pipeline()
    host = model.fuser
    report = swap_blocks(model)
    ours = model.fuser
    model.fuser = torch.compile(model.fuser, backend="eager")
    with pytest.raises(SwapError, match=r"fuser was compiled since.*_orig_mod"):
        report.undo()
    with pytest.raises(SwapError, match="fuser was compiled since"):
        report.verify(picture())
    assert report.applied
    assert isinstance(model.decoder, TwoWayTransformer)
    model.fuser = model.fuser._orig_mod
    assert model.fuser is ours
    report.undo()
    assert model.fuser is host


def test_undo_under_a_compiled_whole_takes_effect():
    model = pipeline()
    report = swap_blocks(model)
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(picture())
        report.undo()
        model.fuser.proj = nn.Sequential(nn.Tanh())
        assert torch.equal(compiled(picture()), model(picture()))
    assert type(model.decoder) is fake_hosts.TwoWayTransformer


def test_a_compiled_model_is_kept_with_the_reason():
    (row,) = swap_blocks(torch.compile(pipeline(), backend="eager")).rows
    assert row.reason == "it is compiled: swap first, then compile"
