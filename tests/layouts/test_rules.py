"""Tables of rules: ambiguity, holes, unmatched keys, and that order means nothing."""

import random

import pytest

from samblocks.errors import LayoutError
from samblocks.layouts import Table, TensorInfo, classes_of, expected, meta_tensors, table, variants_of
from samblocks.layouts.operations import Create
from samblocks.layouts.rules import Rule, duplicated, only_meta, only_other, packed, reshaped, same
from samblocks.variants import VARIANTS

VECTOR = TensorInfo((4,))


@pytest.mark.parametrize(
    "rules",
    [
        [same("a.{i}", "x.{i}"), same("a.3", "y")],
        [same("a", "x.{i}.w".replace("{i}", "3")), same("b.{i}", "x.{i}.w")],
        [same("a", "x"), same("b", "x")],
        [same("a.*", "x.*"), only_meta("a.bias", "why")],
        [same("a", "x.*".replace("*", "bias")), only_other("x.*", "why")],
        [packed(["a", "b"], "x"), same("b", "y")],
        [duplicated("a", ["x", "y"]), same("b", "y")],
    ],
)
def test_an_ambiguous_table_is_refused_when_it_is_built(rules: list[Rule]) -> None:
    for order in (rules, rules[::-1]):
        with pytest.raises(LayoutError, match="both fit"):
            Table("demo", order)


@pytest.mark.parametrize(
    ("meta", "other"),
    [("a.{i}", "x.{j}"), ("a.{i}", "x"), ("a", "x.{i}"), ("a.*", "x.weight"), ("a.{i}.{j}", "x.{i}")],
)
def test_holes_that_differ_are_refused(meta: str, other: str) -> None:
    with pytest.raises(LayoutError, match="same holes"):
        same(meta, other)


def test_a_rule_with_several_templates_needs_the_same_holes_in_all() -> None:
    with pytest.raises(LayoutError, match="same holes"):
        packed(["a.{i}", "b"], "x.{i}")


def test_an_unmatched_key_is_named_with_the_nearest_rules() -> None:
    rules = Table("demo", [same("blocks.{i}.norm1.*", "layers.{i}.layer_norm1.*"), same("pos_embed", "pos")])
    with pytest.raises(LayoutError, match=r"'blocks.3.norm7.weight' of Meta's layout.*blocks.\{i\}.norm1.\*"):
        rules.to_other("blocks.3.norm7.weight")
    with pytest.raises(LayoutError, match=r"'layer.0.x' of layout demo"):
        rules.to_meta("layer.0.x")


@pytest.mark.parametrize("layout", ["transformers", "timm", "muggled"])
@pytest.mark.parametrize("variant", ["sam_vit_b", "sam2.1_hiera_tiny"])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_rules_of_every_table_decides_nothing(layout: str, variant: str, seed: int) -> None:
    for model_class in classes_of(layout, VARIANTS[variant]):
        rules = table(layout, VARIANTS[variant], model_class)
        mixed = list(rules.rules)
        random.Random(seed).shuffle(mixed)
        shuffled = Table(rules.name, mixed)
        there = [one.map(meta_tensors(VARIANTS[variant]), to_meta=False) for one in (rules, shuffled)]
        back = [one.map(there[0].infos, to_meta=True) for one in (rules, shuffled)]
        for straight, turned in (there, back):
            assert dict(straight.infos) == dict(turned.infos)
            assert set(straight.mappings) == set(turned.mappings)
            assert not straight.unexplained


@pytest.mark.parametrize("layout", ["meta", "ultralytics", "transformers", "timm", "muggled"])
def test_every_key_has_exactly_one_rule_in_each_direction(layout: str) -> None:
    for row in variants_of(layout):
        for model_class in classes_of(layout, row):
            rules = table(layout, row, model_class)
            for key in meta_tensors(row):
                rules.to_other(key)
            for name in expected(layout, row, model_class):
                for key in rules.to_meta(name):
                    assert name in rules.to_other(key)


def test_a_missing_part_of_a_pack_leaves_the_rest_unexplained() -> None:
    rules = Table("demo", [packed(["a", "b"], "x")])
    result = rules.map({"a": VECTOR}, to_meta=False)
    assert result.mappings == ()
    assert "without b" in result.unexplained["a"]


def test_a_shape_that_does_not_fit_is_unexplained_with_the_shape() -> None:
    rules = Table("demo", [reshaped("a", "c", "x", "1 c 1 1")])
    result = rules.map({"a": TensorInfo((3, 3))}, to_meta=False)
    assert "3x3" in result.unexplained["a"]


@pytest.mark.parametrize("there", [["x"], ["y"], ["x", "y"], ["y", "x"]])
def test_any_copies_will_do_but_one_must_be_there(there: list[str]) -> None:
    rules = Table("demo", [duplicated("a", ["x", "y"])])
    (move,) = rules.map(dict.fromkeys(there, VECTOR), to_meta=True).mappings
    assert (set(move.inputs), move.outputs) == (set(there), ("a",))


def test_copies_of_different_shape_are_unexplained() -> None:
    rules = Table("demo", [duplicated("a", ["x", "y"])])
    result = rules.map({"x": VECTOR, "y": TensorInfo((5,))}, to_meta=True)
    assert set(result.unexplained) == {"x", "y"}


def test_a_tensor_is_invented_only_beside_what_it_belongs_to() -> None:
    zeros = Create("zeros", VECTOR)
    rules = Table("demo", [same("a", "x"), same("b", "y"), only_meta("m", "not kept", zeros, only_with="x")])
    assert set(rules.map({"x": VECTOR}, to_meta=True).infos) == {"a", "m"}
    assert set(rules.map({"y": VECTOR}, to_meta=True).infos) == {"b"}
    (dropped,) = rules.map({"m": VECTOR}, to_meta=False).mappings
    assert (dropped.operation.kind, dropped.outputs, dropped.why) == ("dropped", (), "not kept")


def test_what_only_the_other_side_has_is_made_there_and_dropped_here() -> None:
    rules = Table(
        "demo",
        [only_other("config", "description", Create("bytes", VECTOR, b"abcd")), only_other("fc", "why")],
    )
    assert list(rules.map({}, to_meta=False).infos) == ["config"]
    back = rules.map({"config": VECTOR, "fc": VECTOR}, to_meta=True)
    assert {move.inputs: move.operation.kind for move in back.mappings} == {
        ("config",): "dropped",
        ("fc",): "dropped",
    }
    assert rules.optional_other("fc")
