"""Swapping hosts' modules: what ours hold, what comes out, and what everything is afterwards."""

import copy
import json
import pickle
import subprocess
import sys

import fake_hosts
import fake_transformers
import pytest
import torch
from fake_hosts import picture, pipeline
from fake_transformers import decoder, maps
from torch import nn

import samblocks
from samblocks import swap_blocks
from samblocks.blocks import Attention, CXBlock, Fuser, LayerNorm2d, RoPEAttention, TwoWayTransformer
from samblocks.errors import SwapError
from samblocks.models import MemoryAttention
from samblocks.swap.catalog import CATALOG
from samblocks.swap.hosts import READERS

MODELS = {
    "pipeline": (pipeline, picture),
    "transformers": (decoder, maps),
    "transformers eager": (lambda: decoder("eager"), maps),
}


def outputs(model, inputs):
    with torch.no_grad():
        found = model(inputs)
    return found if isinstance(found, tuple) else (found,)


def state(model):
    return list(model.state_dict(keep_vars=True).items())


def assert_same_state(before, after):
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(a is b for (_, a), (_, b) in zip(before, after, strict=True))


@pytest.fixture(params=MODELS)
def hosted(request):
    make, inputs = MODELS[request.param]
    return make(), inputs()


def test_every_entry_has_a_reader():
    assert {entry.target for entry in CATALOG.values()} == set(READERS)


def test_results_keep_their_bits(hosted):
    model, inputs = hosted
    before = outputs(model, inputs)
    report = swap_blocks(model)
    assert report.swapped
    assert not report.kept
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(model, inputs), strict=True))


def test_tensors_names_and_order_stay(hosted):
    model, _ = hosted
    before, parameters = state(model), {id(p) for p in model.parameters()}
    swap_blocks(model)
    assert_same_state(before, state(model))
    assert {id(p) for p in model.parameters()} == parameters


def test_undo_brings_back_the_same_objects(hosted):
    model, inputs = hosted
    modules, results = dict(model.named_modules()), outputs(model, inputs)
    report = swap_blocks(model)
    report.undo()
    assert not report.applied
    assert dict(model.named_modules()) == modules
    assert all(torch.equal(a, b) for a, b in zip(results, outputs(model, inputs), strict=True))
    report.undo()  # nothing more happens
    report.apply()
    assert dict(model.named_modules()) != modules


def test_the_largest_modules_go_first():
    model = pipeline()
    report = swap_blocks(model)
    assert [row.path for row in report.swapped] == ["fuser", "norm", "decoder", "memory"]
    kinds = (Fuser, LayerNorm2d, TwoWayTransformer, MemoryAttention)
    for row, kind in zip(report.swapped, kinds, strict=True):
        assert isinstance(model.get_submodule(row.path), kind)
    row = report.swapped[0]
    assert (row.source, row.target) == (
        "ultralytics.models.sam.modules.blocks.Fuser",
        "samblocks.blocks.Fuser",
    )


def test_where_decides_from_the_outside_in():
    model, before = pipeline(), outputs(pipeline(), picture())
    report = swap_blocks(model, lambda module, path: type(module).__name__ in ("CXBlock", "Attention"))
    paths = [row.path for row in report.swapped]
    assert paths[:2] == ["fuser.layers.0", "fuser.layers.1"]
    assert type(model.fuser) is fake_hosts.Fuser
    assert isinstance(model.fuser.layers[0], CXBlock)
    assert isinstance(model.decoder.layers[1].self_attn, Attention)
    assert all("memory" not in path for path in paths)
    assert torch.equal(before[0], outputs(model, picture())[0])


ALONE = [
    (model, name)
    for model, names in (
        ("pipeline", "CXBlock Fuser LayerNorm2d MLPBlock Attention TwoWayAttentionBlock TwoWayTransformer"),
        ("pipeline", "RoPEAttention MemoryAttentionLayer MemoryAttention"),
        ("transformers", "Sam2FeedForward Sam2LayerNorm Sam2Attention Sam2TwoWayAttentionBlock"),
        ("transformers eager", "Sam2Attention Sam2TwoWayTransformer"),
    )
    for name in names.split()
]


@pytest.mark.parametrize(("model", "name"), ALONE)
def test_every_class_alone(model, name):
    make, inputs = MODELS[model]
    hosted, given = make(), inputs()
    before, tensors = outputs(hosted, given), state(hosted)
    report = swap_blocks(hosted, lambda module, path: type(module).__name__ == name)
    assert report.swapped
    assert_same_state(tensors, state(hosted))
    assert all(torch.equal(a, b) for a, b in zip(before, outputs(hosted, given), strict=True))
    report.undo()


def test_the_given_module_itself_stays():
    model = pipeline().decoder
    report = swap_blocks(model)
    assert type(model) is fake_hosts.TwoWayTransformer
    assert {row.path for row in report.swapped} == {"layers.0", "layers.1", "final_attn_token_to_image"}


def test_hosts_recognize_rotary_attention():
    model, before = pipeline(), outputs(pipeline(), picture())
    swap_blocks(model, lambda module, path: type(module).__name__ == "RoPEAttention")
    ours = model.memory.layers[0].cross_attn_image
    assert isinstance(ours, RoPEAttention)
    assert isinstance(ours, fake_hosts.TurnedAttention)
    assert type(ours).forward is RoPEAttention.forward
    assert torch.equal(before[0], outputs(model, picture())[0])
    assert torch.equal(before[0], outputs(copy.deepcopy(model), picture())[0])


def test_a_dry_run_changes_nothing(hosted):
    model, _ = hosted
    modules = dict(model.named_modules())
    plan = swap_blocks(model, dry_run=True)
    assert plan.swapped
    assert dict(model.named_modules()) == modules
    assert "would be swapped" in str(plan)
    plan.undo()
    for call in (plan.apply, lambda: plan.verify(picture())):
        with pytest.raises(SwapError, match="plan only"):
            call()


def test_as_a_context():
    model = pipeline()
    modules = dict(model.named_modules())
    with pytest.raises(RuntimeError, match="inside"), swap_blocks(model) as report:  # noqa: PT012
        assert report.applied
        assert isinstance(model.decoder, TwoWayTransformer)
        raise RuntimeError("inside")
    assert dict(model.named_modules()) == modules


def test_a_report_on_nothing_says_so():
    assert str(swap_blocks(nn.Sequential(nn.Linear(2, 2)))).startswith(
        "nothing in it is a module of Ultralytics"
    )


def test_reports_are_text_and_json(hosted):
    model, _ = hosted
    report = swap_blocks(model)
    data = json.loads(report.to_json())
    assert data["schema"] == 1
    assert len(data["modules"]) == len(report.rows)
    assert set(data["modules"][0]) == {"path", "from", "to", "verdict", "reason"}
    lines = str(report).splitlines()
    assert lines[0].split() == ["path", "from", "to", "verdict", "reason"]
    assert lines[-1] == f"{len(report.swapped)} swapped, 0 kept"
    assert all(row.path in str(report) for row in report.rows)


def test_flags_devices_and_dtypes_stay():
    model = pipeline().double().train()
    model.decoder.layers[0].eval()
    model.memory.norm.weight.requires_grad_(False)
    swap_blocks(model)
    assert model.training
    assert model.fuser.layers[1].training
    assert model.decoder.layers[1].training
    assert not model.decoder.layers[0].training
    assert not model.decoder.layers[0].self_attn.training
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert not model.memory.norm.weight.requires_grad
    model.eval()
    assert not any(module.training for module in model.modules())


def test_undo_hands_back_what_changed_meanwhile():
    model = pipeline()
    report = swap_blocks(model)
    model.train()
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True)
    held = state(model)
    report.undo()
    assert_same_state(held, state(model))
    assert all(module.training for module in model.modules())


def test_applying_again_takes_what_changed_meanwhile():
    model = pipeline()
    report = swap_blocks(model)
    report.undo()
    model.train()
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True)
    held = state(model)
    report.apply()
    assert_same_state(held, state(model))
    assert all(module.training for module in model.modules())


def test_training_goes_on_as_before():
    torch.manual_seed(0)
    trained = []
    for swapped in (False, True):
        model = pipeline()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        if swapped:
            swap_blocks(model)
        for _ in range(3):
            optimizer.zero_grad()
            model(picture(2)).square().sum().backward()
            optimizer.step()
        trained.append(model.state_dict())
    for name, tensor in trained[0].items():
        torch.testing.assert_close(trained[1][name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_ties_stay():
    model = pipeline()
    model.decoder.layers[1].mlp.lin1.weight = model.decoder.layers[0].mlp.lin1.weight
    swap_blocks(model)
    first, second = (layer.mlp.lin1.weight for layer in model.decoder.layers)
    assert first is second


def test_a_module_in_two_places_is_one_module():
    model = pipeline()
    model.again = model.fuser
    report = swap_blocks(model)
    assert model.again is model.fuser
    assert isinstance(model.again, Fuser)
    report.undo()
    assert model.again is model.fuser
    assert type(model.again) is fake_hosts.Fuser


def test_attributes_stay_readable():
    model = pipeline()
    model.decoder.note = "mine"
    turned = model.memory.layers[0].self_attn.freqs_cis
    swap_blocks(model)
    assert model.decoder.note == "mine"
    assert model.decoder.layers[0].skip_first_layer_pe is True
    assert model.memory.layers[0].activation_str == "relu"
    assert torch.equal(model.memory.layers[0].self_attn.freqs_cis, turned)


def test_settings_are_the_hosts_not_the_class_defaults():
    model = pipeline()
    model.decoder.norm_final_attn.eps = 0.5
    model.norm.eps = 0.25
    model.memory.layers[1].pos_enc_at_cross_attn_keys = False
    before = outputs(model, picture())
    swap_blocks(model)
    assert model.norm.eps == 0.25
    changed = outputs(model, picture())
    plain = outputs(pipeline(), picture())
    assert not torch.equal(changed[0], plain[0])
    # The fake layer adds positions whatever the flag says; ours does what the flag says.
    assert model.memory.layers[1].pos_enc_at_cross_attn_keys is False
    assert before[0].shape == changed[0].shape


def test_state_dicts_load_under_the_hosts_names():
    model = decoder()
    twin = decoder()
    new = {name: tensor + 0.5 for name, tensor in model.state_dict().items()}
    report = swap_blocks(model)
    model.load_state_dict(new)
    twin.load_state_dict(new)
    assert all(torch.equal(new[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, maps()), outputs(twin, maps()), strict=True))
    lacking = {k: v for k, v in new.items() if k != "transformer.layers.0.mlp.proj_out.bias"}
    with pytest.raises(RuntimeError) as raised:
        model.load_state_dict(lacking | {"transformer.extra": torch.zeros(1)})
    assert "transformer.layers.0.mlp.proj_out.bias" in str(raised.value)
    assert "transformer.extra" in str(raised.value)
    assert "layers.0.mlp.layers.1" not in str(raised.value)
    copied = copy.deepcopy(model)
    assert list(copied.state_dict()) == list(new)
    report.undo()
    assert list(model.state_dict()) == list(new)


def test_models_with_renamed_tensors_can_be_pickled(monkeypatch):
    model = decoder()
    names = list(model.state_dict())
    for kind in (fake_transformers.Sam2TwoWayTransformer, fake_transformers.Sam2LayerNorm):
        monkeypatch.setitem(sys.modules, kind.__module__, fake_transformers)
    for name in ("transformers", "transformers.activations"):
        monkeypatch.setitem(sys.modules, name, fake_transformers)
    swap_blocks(model)
    revived = pickle.loads(pickle.dumps(model.transformer))
    assert type(revived) is type(model.transformer)
    assert [f"transformer.{name}" for name in revived.state_dict()] == [
        name for name in names if name.startswith("transformer.")
    ]


def test_arguments_that_ours_cannot_take_are_refused():
    model = decoder()
    swap_blocks(model)
    tokens, image = torch.zeros(1, 2, 3, 16), maps()
    with pytest.raises(SwapError, match="attention_similarity"):
        model.transformer(tokens, image, image, attention_similarity=torch.ones(1))


def test_predictors_are_given_by_their_model():
    class Predictor:
        model: nn.Module

    class Generator:
        predictor: Predictor

    predictor, generator = Predictor(), Generator()
    predictor.model = pipeline()
    generator.predictor = predictor
    for given in (predictor, generator):
        report = swap_blocks(given)
        assert report.model is predictor.model
        assert len(report.swapped) == 4
        report.undo()
    with pytest.raises(TypeError, match="set up first"):
        swap_blocks(Predictor())


def test_modules_on_the_meta_device_and_in_half_precision():
    with torch.device("meta"):
        model = fake_hosts.Pipeline()
    before = state(model)
    assert len(swap_blocks(model).swapped) == 4
    assert_same_state(before, state(model))
    half = pipeline().bfloat16()
    expected = outputs(half, picture().bfloat16())
    swap_blocks(half)
    found = outputs(half, picture().bfloat16())
    assert found[0].dtype == torch.bfloat16
    torch.testing.assert_close(found[0], expected[0], rtol=0.1, atol=0.1)


def test_no_class_of_the_host_is_touched():
    kinds = [kind for kind in vars(fake_hosts).values() if isinstance(kind, type)]
    before = [dict(vars(kind)) for kind in kinds]
    model = pipeline()
    swap_blocks(model).undo()
    assert [dict(vars(kind)) for kind in kinds] == before


def test_whole_models_inside_something_else():
    holder = nn.Sequential(pipeline())
    report = swap_blocks(holder)
    assert {row.path for row in report.swapped} == {"0.fuser", "0.norm", "0.decoder", "0.memory"}


def test_nothing_but_the_names_of_hosts_is_needed():
    code = (
        "import sys, samblocks.swap\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'ultralytics', 'sam2', 'segment_anything', 'transformers', 'parity'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "swap_blocks" in samblocks.__all__
