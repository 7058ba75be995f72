"""What others do with a model while ours is in it: wrap, look up, replace, swap again, undo."""

import copy

import fake_hosts
import fake_transformers
import pytest
import torch
from fake_hosts import picture, pipeline
from fake_transformers import decoder, maps
from torch import nn

from samblocks import swap_blocks
from samblocks.blocks import Fuser, TwoWayTransformer
from samblocks.errors import SwapError
from samblocks.swap import host_types
from samblocks.swap.catalog import CATALOG, qualified


class Wrapper(nn.Module):
    """Somebody's wrapper around a module."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args):
        return self.inner(*args)


def outputs(model, given):
    with torch.no_grad():
        found = model(given)
    return found if isinstance(found, tuple) else (found,)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_undo_reaches_into_wrappers():
    model = pipeline()
    host, before = model.fuser, outputs(model, picture())
    report = swap_blocks(model)
    model.fuser = Wrapper(model.fuser)
    report.undo()
    assert model.fuser.inner is host
    assert equal(outputs(model, picture()), before)
    report.apply()
    assert isinstance(model.fuser.inner, Fuser)
    model.fuser = model.fuser.inner
    report.undo()
    assert model.fuser is host


def test_undo_changes_all_or_nothing():
    model = pipeline()
    report = swap_blocks(model)
    ours = {path: model.get_submodule(path) for path in ("fuser", "norm", "decoder")}
    del model.memory
    with pytest.raises(SwapError, match="memory is gone, not the MemoryAttention"):
        report.undo()
    assert report.applied
    assert all(model.get_submodule(path) is module for path, module in ours.items())


def test_what_was_sharded_since_is_not_undone():
    class FSDPModule:
        pass

    model = pipeline()
    report = swap_blocks(model)
    inner = model.memory.layers[1]
    inner.__class__ = type("Sharded", (FSDPModule, type(inner)), {})
    with pytest.raises(SwapError, match="memory was sharded by FSDP since"):
        report.undo()
    assert report.applied
    assert isinstance(model.fuser, Fuser)


def test_undo_in_another_order():
    model = pipeline()
    modules, before = dict(model.named_modules()), outputs(model, picture())
    first = swap_blocks(model, lambda module, path: path == "decoder")
    second = swap_blocks(model)
    assert [(row.path, row.reason) for row in second.kept] == [("decoder", "it is ours already")]
    assert equal(outputs(model, picture()), before)
    first.undo()
    assert type(model.decoder) is fake_hosts.TwoWayTransformer
    assert isinstance(model.fuser, Fuser)
    second.undo()
    assert dict(model.named_modules()) == modules


@pytest.mark.parametrize(("make", "given"), [(pipeline, picture), (decoder, maps)])
def test_swapping_twice_finds_nothing_more(make, given):
    model = make()
    before = outputs(model, given())
    first = swap_blocks(model)
    second = swap_blocks(model)
    assert not second.swapped
    assert {(row.path, row.reason) for row in second.kept} == {
        (row.path, "it is ours already") for row in first.swapped
    }
    assert equal(outputs(model, given()), before)


def test_a_model_that_is_ours_is_said_to_be():
    (row,) = swap_blocks(TwoWayTransformer(1, 16, 2, 24)).rows
    assert (row.path, row.verdict, row.reason) == ("", "kept", "it is ours already")


def test_a_part_then_the_whole():
    model = pipeline()
    before = outputs(model, picture())
    swap_blocks(model, lambda module, path: path == "decoder.layers.0")
    report = swap_blocks(model)
    assert {row.path: row.reason for row in report.kept} == {
        "decoder": "it holds layers.0, where ours is already",
        "decoder.layers.0": "it is ours already",
    }
    assert {row.path for row in report.swapped} >= {"decoder.layers.1", "decoder.final_attn_token_to_image"}
    assert equal(outputs(model, picture()), before)


def test_parts_are_found_under_the_hosts_names():
    model = decoder()
    hosted = dict(model.named_modules())
    linear = model.transformer.layers[1].cross_attn_image_to_token.o_proj
    swap_blocks(model)
    layer = model.transformer.layers[1]
    assert layer.cross_attn_image_to_token.o_proj is linear
    assert layer.cross_attn_image_to_token.hidden_size == 16
    assert model.get_submodule("transformer.layers.1.layer_norm4") is layer.norm4
    assert layer.mlp.proj_out is layer.mlp.layers[1]
    found = dict(model.named_modules())
    assert all(model.get_submodule(path) is module for path, module in found.items())
    linears = {path for path, module in hosted.items() if isinstance(module, nn.Linear)}
    # The one in the middle of three has a name that is the first one's here.
    assert {path for path in linears if found.get(path) is not hosted[path]} == {"iou_head.layers.0"}
    assert not hasattr(model.transformer, "o_proj")


def test_layers_put_in_place_by_the_hosts_names_take_effect():
    model, twin = decoder(), decoder()
    report = swap_blocks(model)
    for either in (model, twin):
        parent = either.get_submodule("transformer.layers.0.mlp")
        parent.proj_in = nn.Sequential(parent.proj_in, nn.Tanh())
    assert not equal(outputs(model, maps()), outputs(decoder(), maps()))
    assert equal(outputs(model, maps()), outputs(twin, maps()))
    assert list(model.state_dict()) == list(twin.state_dict())
    copied = copy.deepcopy(model)
    assert [path for path, _ in copied.named_modules()] == [path for path, _ in model.named_modules()]
    assert copied.transformer.layers[0].mlp.proj_in is not model.transformer.layers[0].mlp.proj_in
    report.undo()
    assert equal(outputs(model, maps()), outputs(twin, maps()))


HOSTS = [pytest.param(pipeline, picture, id="attributes"), pytest.param(decoder, maps, id="transformers")]


@pytest.mark.parametrize(("make", "given"), HOSTS)
def test_who_picks_modules_by_the_hosts_class_finds_ours(make, given):
    def caught(model, kinds):
        """Where hooks that were placed by class saw an output, and what it was."""
        seen = {}
        for kind in kinds:
            for path, module in model.named_modules():
                if isinstance(module, kind):

                    def hook(module, args, output, path=path, kind=kind):
                        first = output[0] if isinstance(output, tuple) else output
                        seen[kind, path] = first.reshape(-1).clone()

                    module.register_forward_hook(hook)
        outputs(model, given())
        return seen

    model, twin = make(), make()
    homes = {id(kind): kind for kind in map(type, twin.modules()) if qualified(kind) in CATALOG}
    report = swap_blocks(model)
    assert not report.kept
    before, after = caught(twin, homes.values()), caught(model, homes.values())
    assert len(before) > 5
    assert before.keys() == after.keys()
    assert all(torch.equal(after[place], output) for place, output in before.items())


def test_what_a_host_does_for_torch_is_not_done_for_ours(monkeypatch):
    def train(self, mode=True):
        raise AssertionError("a host's table would be gathered")

    model = pipeline()
    train.__module__ = fake_hosts.Fuser.__module__
    monkeypatch.setattr(fake_hosts.Fuser, "train", train, raising=False)
    monkeypatch.setattr(host_types, "_made", {})
    swap_blocks(model)
    assert isinstance(model.fuser, fake_hosts.Fuser)
    assert model.fuser.train().training


def test_nobody_is_told_that_activations_are_recomputed():
    model = decoder()
    model.transformer.gradient_checkpointing = False
    swap_blocks(model)
    assert not hasattr(model.transformer, "gradient_checkpointing")


def test_classes_that_know_more_stay_askable(monkeypatch):
    def depth(self):
        return len(self.layers)

    depth.__module__ = fake_hosts.Fuser.__module__
    monkeypatch.setattr(fake_hosts.Fuser, "depth", depth, raising=False)
    model = pipeline()
    before = outputs(model, picture())
    report = swap_blocks(model)
    assert model.fuser.depth() == 2
    assert isinstance(model.fuser, Fuser)
    assert isinstance(model.fuser, fake_hosts.Fuser)
    assert equal(outputs(model, picture()), before)
    assert report.swapped[0].target == "samblocks.blocks.Fuser"


def test_replaced_methods_other_than_forward(monkeypatch):
    model = pipeline()
    attention = model.decoder.layers[0].self_attn
    plain = attention._heads
    attention._heads = lambda x: plain(x) * 2
    monkeypatch.setattr(fake_hosts.TurnedAttention, "_turn", lambda self, x: x)
    before = outputs(model, picture())
    report = swap_blocks(model)
    reasons = {row.path: row.reason for row in report.kept}
    assert reasons["decoder.layers.0.self_attn"] == "its _heads was replaced on the instance"
    assert "the _turn of its class was replaced" in reasons["memory.layers.0.self_attn"]
    assert equal(outputs(model, picture()), before)


def test_subclasses_without_changes_are_read_as_their_library():
    class Mine(fake_transformers.Sam2TwoWayTransformer):
        """Nothing of its own."""

    class Norm(fake_hosts.TwoPassNorm):
        """Nothing of its own."""

    model, other = decoder(), pipeline()
    model.transformer.__class__, other.norm.__class__ = Mine, Norm
    before = outputs(model, maps()), outputs(other, picture())
    swap_blocks(model)
    swap_blocks(other)
    assert isinstance(model.transformer, TwoWayTransformer)
    assert isinstance(model.transformer, Mine)
    assert model.transformer.layers[0].layer_norm1 is model.transformer.layers[0].norm1
    assert equal(outputs(model, maps()), before[0])
    assert equal(outputs(other, picture()), before[1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_attention_of_nothing_but_quantized_layers():
    if not set(torch.backends.quantized.supported_engines) & {"x86", "fbgemm", "qnnpack", "onednn"}:
        pytest.skip("this torch has no quantized kernels")
    model = torch.ao.quantization.quantize_dynamic(pipeline(), {nn.Linear})
    before = outputs(model, picture())
    report = swap_blocks(model)
    assert {row.path for row in report.swapped} == {"fuser", "norm", "decoder", "memory"}
    assert {row.reason for row in report.kept} == {"a quantized layer: it stays in place"}
    assert equal(outputs(model, picture()), before)
