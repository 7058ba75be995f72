"""A part or a model that is whole loads, whatever else is in the file; what is unknown inside it is refused."""

from typing import Any

import pytest
import torch
from synthetic import sparse, values

from samblocks.checkpoints import inspect, load
from samblocks.errors import CheckpointError
from samblocks.layouts import TensorInfo, expected, meta_tensors
from samblocks.layouts.components import component_paths
from samblocks.variants import VARIANTS

TINY = "sam2.1_hiera_tiny"
PARTS = tuple(component_paths("sam2"))
VECTOR = TensorInfo((3,))
SEEN = "sam_prompt_encoder.no_mask_embed.weight"
"""A tensor by whose values a test tells that the right one was loaded."""


def tiny():
    return dict(meta_tensors(VARIANTS[TINY]))


def listed(report):
    """What the report says is no part of what was asked for, and why."""
    return {row.name: row.why for row in report.rows if row.status == "dropped"}


def around(count):
    """Tensors of a language model around SAM, with names that SAM's memory attention has too."""
    names = ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "mlp.up_proj.weight", "norm1.weight")
    return {f"model.layers.{i // 4}.{names[i % 4]}": VECTOR for i in range(count)}


HOLDERS = {
    "sam_mask_decoder.hf_token.weight": ("mask_decoder",),
    "image_encoder.trunk.blocks.0.attn.qkv.lora_A.default.weight": ("image_encoder", "trunk"),
    "image_encoder.adapter.0.weight": ("image_encoder",),
    "image_encoder.neck.convs.7.conv.weight": ("image_encoder", "neck"),
    "memory_attention.layers.9.norm1.weight": ("memory_attention",),
    "text_projection.weight": (),
}
"""Unknown tensors, with the parts inside which they lie."""


@pytest.mark.parametrize("part", PARTS)
def test_an_unknown_tensor_hinders_the_parts_that_it_lies_in_alone(tmp_path, part):
    path = sparse(tmp_path / "a.safetensors", tiny() | dict.fromkeys(HOLDERS, VECTOR))
    inside = {name for name, parts in HOLDERS.items() if part in parts}
    module, report = load(path, component=part, strict="explain")
    assert {row.name for row in report.unexplained} == inside
    assert {listed(report)[name] for name in HOLDERS.keys() - inside} == {f"not part of {part}"}
    assert not report.missing
    if not inside:
        assert load(path, component=part).state_dict().keys() == module.state_dict().keys()
        return
    with pytest.raises(CheckpointError, match=f"{len(inside)} unexpected") as caught:
        load(path, component=part)
    assert all(name in str(caught.value) for name in inside)


@pytest.mark.parametrize("layout", ["transformers", "muggled"])
def test_the_same_in_other_layouts(tmp_path, layout):
    tensors = dict(expected(layout, VARIANTS[TINY]))
    path = sparse(tmp_path / "a.safetensors", tensors | {"mask_decoder.hf_token.weight": VECTOR})
    for part in ("image_encoder", "prompt_encoder", "memory_attention"):
        assert sum(1 for _ in load(path, component=part).parameters()) > 4
    with pytest.raises(CheckpointError, match=r"1 unexpected \(mask_decoder.hf_token.weight\)"):
        load(path, component="mask_decoder")


def test_a_whole_part_beside_one_that_is_rebuilt(tmp_path):
    """An encoder with factors in place of its weights, and a decoder as it was."""
    tensors = {}
    for name, info in meta_tensors(VARIANTS["sam_vit_b"]).items():
        tensors[name.replace("attn.qkv.", "attn.qkv.base_layer.")] = info
    path = sparse(tmp_path / "a.safetensors", tensors)
    assert load(path, component="mask_decoder").num_mask_tokens == 4
    with pytest.raises(CheckpointError, match="24 missing"):
        load(path, component="image_encoder")


@pytest.mark.parametrize("count", [530, 2000])
def test_a_model_within_a_larger_one(tmp_path, count):
    front = "model.visual_model."
    tensors = {front + name: info for name, info in tiny().items()} | around(count)
    given = {front + SEEN: values("seen", (1, 256))}
    path = sparse(tmp_path / "a.safetensors", tensors, given)
    model, report = load(path, strict="explain")
    assert torch.equal(model.get_parameter(SEEN), given[front + SEEN])
    assert f"all 471 tensors of {TINY} lie under {front}, {count:,} others" in str(report)
    assert report.complete
    assert set(listed(report).values()) == {f"not under {front}, where the model is"}
    assert len(listed(report)) == count
    assert inspect(path).complete
    assert load(path).image_size == 1024
    assert load(path, component="trunk").channel_list == [768, 384, 192, 96]
    path = sparse(tmp_path / "b.safetensors", tensors | {f"{front}more": VECTOR})
    with pytest.raises(CheckpointError, match=r"1 unexpected \(model.visual_model.more\)"):
        load(path)


def test_parts_that_have_prefixes_of_their_own(tmp_path):
    """The decoder under another name than the one that it has in the model, and the prompts at the root."""
    names = {
        "sam_mask_decoder.": "mask_decoder.",
        "sam_prompt_encoder.": "",
        "image_encoder.": "net.backbone.",
    }
    tensors, given = {}, {}
    for name, info in tiny().items():
        part = next((part for part in names if name.startswith(part)), None)
        if part is not None:
            tensors[names[part] + name.removeprefix(part)] = info
    tensors |= {"mask_decoder.hf_token.weight": VECTOR, "net.backbone.trunk.prompt_generator.weight": VECTOR}
    given["no_mask_embed.weight"] = values("seen", (1, 256))
    path = sparse(tmp_path / "a.safetensors", tensors, given)
    prompts = load(path, component="prompt_encoder", variant=TINY)
    assert torch.equal(prompts.get_parameter("no_mask_embed.weight"), given["no_mask_embed.weight"])
    assert load(path, component="neck").d_model == 256
    for part, extra in (
        ("mask_decoder", "mask_decoder.hf_token"),
        ("trunk", "net.backbone.trunk.prompt_generator"),
    ):
        with pytest.raises(CheckpointError, match=f"1 unexpected .{extra}.weight"):
            load(path, component=part)
    with pytest.raises(CheckpointError, match="missing"):
        load(path, component="memory_attention")


def test_no_prefix_is_said_that_only_some_of_the_parts_have(tmp_path):
    tensors = {
        name.removeprefix("sam_"): info
        for name, info in tiny().items()
        if name.startswith(("image_encoder.", "sam_mask_decoder."))
    }
    report = inspect(sparse(tmp_path / "a.safetensors", tensors | {"heads.0.weight": VECTOR}))
    assert report.prefix == ""
    assert "lie under" not in str(report)
    (beside,) = (row for row in report.rows if row.name == "heads.0.weight")
    assert (beside.status, beside.why) == ("dropped", "not part of image_encoder+mask_decoder")


def test_two_copies_are_named_and_none_is_chosen(tmp_path):
    tensors = {f"{who}.{name}": info for name, info in tiny().items() for who in ("student", "teacher")}
    path = sparse(tmp_path / "a.safetensors", tensors)
    choices: tuple[dict[str, Any], ...] = ({}, {"component": "trunk"}, {"strict": "explain"})
    for options in choices:
        with pytest.raises(CheckpointError, match=r"stand under student and under teacher: say which"):
            load(path, **options)
    assert "the model stands under teacher. and again under student." in str(inspect(path))
