"""Templates: what fits, what two of them share, and what a key is sorted by."""

import random

import pytest

from samblocks.errors import LayoutError
from samblocks.layouts.templates import TemplateIndex, fill, holes


@pytest.mark.parametrize(
    ("template", "key", "bindings"),
    [
        ("pos_embed", "pos_embed", ()),
        ("blocks.{i}.norm{n}.*", "blocks.11.norm2.bias", (("*", "bias"), ("i", "11"), ("n", "2"))),
        ("{a}.{b}.x", "0.10.x", (("a", "0"), ("b", "10"))),
        ("neck.0.weight", "neck.0.weight", ()),
    ],
)
def test_a_key_is_found_and_made_again(
    template: str, key: str, bindings: tuple[tuple[str, str], ...]
) -> None:
    index = TemplateIndex()
    index.add(template, 7)
    assert index.find(key) == (7, bindings)
    assert fill(template, bindings) == key
    assert sorted(holes(template)) == [name for name, _ in bindings]


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("blocks.{i}.norm.*", "blocks.01.norm.weight"),
        ("blocks.{i}.norm.*", "blocks.x.norm.weight"),
        ("blocks.{i}.norm.*", "blocks.1.norm.gamma"),
        ("blocks.{i}.norm.*", "blocks.1.norm"),
        ("blocks.{i}.norm.*", "blocks.1.norm.weight.x"),
        ("blocks.{i}.norm.*", "a.blocks.1.norm.weight"),
        ("norm{n}.*", "norm.weight"),
        ("norm{n}.*", "norm-1.weight"),
        ("blocks.{i}.x", "blocks.٣.x"),
        ("blocks.{i}.x", "blocks.1\n.x"),
    ],
)
def test_only_whole_keys_with_plain_numbers_fit(template: str, key: str) -> None:
    index = TemplateIndex()
    index.add(template, 0)
    assert index.find(key) is None


@pytest.mark.parametrize(
    "template",
    ["", "a..b", "a.", "{i}.{i}", "a{i", "a}", "a{i}b", "a1{i}", "*.a", "a.*.b", "a.*b", "{I}", "{}"],
)
def test_a_template_that_cannot_be_read_is_refused(template: str) -> None:
    with pytest.raises(LayoutError, match="template"):
        holes(template)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.b", "a.b"),
        ("a.{i}", "a.{j}"),
        ("a.{i}.c", "a.12.c"),
        ("a.norm{n}", "a.norm3"),
        ("a.*", "a.weight"),
        ("a.*", "a.bias"),
        ("a.{i}.*", "a.0.bias"),
        ("{a}.0.x", "0.{b}.x"),
    ],
)
def test_two_templates_that_share_a_key_are_refused_in_either_order(first: str, second: str) -> None:
    for one, other in ((first, second), (second, first)):
        index = TemplateIndex()
        index.add(one, 0)
        with pytest.raises(LayoutError, match="both fit"):
            index.add(other, 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.b", "a.c"),
        ("a.{i}", "a.b"),
        ("a.{i}", "a.norm{i}"),
        ("a.norm{n}", "a.layer_norm{n}"),
        ("a.*", "a.gamma"),
        ("a.{i}.weight", "a.{i}.bias"),
        ("a.{i}", "a.{i}.b"),
        ("a.norm{n}", "a.norm"),
        ("a.{i}", "a.007"),
    ],
)
def test_two_templates_without_a_common_key_live_together(first: str, second: str) -> None:
    for one, other in ((first, second), (second, first)):
        index = TemplateIndex()
        index.add(one, 0)
        index.add(other, 1)


def test_a_refused_template_leaves_nothing_behind() -> None:
    index = TemplateIndex()
    index.add("a.weight", 0)
    with pytest.raises(LayoutError, match="both fit"):
        index.add("a.*", 1)
    assert index.find("a.bias") is None


def test_the_order_of_adding_decides_nothing_about_what_is_found() -> None:
    templates = [
        f"{head}.{{i}}.{tail}" for head in "abc" for tail in ("x.*", "y", "norm{n}.*", "0.w", "z.{k}")
    ]
    samples = [
        f"{head}.3.{tail}" for head in "abcd" for tail in ("x.bias", "y", "norm4.weight", "0.w", "z.9", "q")
    ]
    orders = [templates[:] for _ in range(5)]
    for seed, order in enumerate(orders):
        random.Random(seed).shuffle(order)
    found = []
    for order in orders:
        index = TemplateIndex()
        for template in order:
            index.add(template, templates.index(template))
        found.append([index.find(sample) for sample in samples])
    assert all(one == found[0] for one in found)
    assert sum(one is not None for one in found[0]) == 15


def test_keys_are_sorted_as_templates_were_added_and_numbers_count_up() -> None:
    index = TemplateIndex(["first"])
    for template in ("b.{i}.y.*", "b.{i}.x", "a", "first.z"):
        index.add(template, 0)
    keys = ["a", "b.10.x", "b.2.x", "b.2.y.bias", "b.2.y.weight", "first.z", "unknown"]
    order = ["first.z", "b.2.y.weight", "b.2.y.bias", "b.2.x", "b.10.x", "a", "unknown"]
    assert sorted(keys, key=index.rank) == order


def test_the_nearest_templates_are_named() -> None:
    index = TemplateIndex()
    for template in ("blocks.{i}.norm1.*", "blocks.{i}.norm2.*", "neck.0.weight", "pos_embed"):
        index.add(template, 0)
    assert set(index.nearest("block.3.norm1.weight")[:2]) == {"blocks.{i}.norm1.*", "blocks.{i}.norm2.*"}


def test_a_name_of_ten_thousand_parts_is_simply_unknown() -> None:
    index = TemplateIndex()
    index.add("{a}.{b}.x", 0)
    assert index.find(".".join(["0"] * 10_000)) is None
    assert index.find("9" * 5_000 + ".1.x") is not None
    index.rank("9" * 5_000 + ".1.x")
