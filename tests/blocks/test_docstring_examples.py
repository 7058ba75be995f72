"""Every example in a docstring of samblocks runs and prints what it says."""

import doctest
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import samblocks
from samblocks import blocks, models, predict

USUAL = {"np": np, "torch": torch, "nn": nn}
"""What a reader has imported before an example: nobody writes these three lines above each."""

PUBLIC = [
    (package, name)
    for package in (samblocks, blocks, models, predict)
    for name in package.__all__
    if callable(getattr(package, name))
]


def modules() -> Iterator[str]:
    for found in pkgutil.walk_packages(samblocks.__path__, "samblocks."):
        if not found.name.endswith("__main__"):
            yield found.name


@pytest.mark.parametrize("name", list(modules()))
def test_examples(name: str) -> None:
    if name == "samblocks.demo.page":
        pytest.importorskip("gradio")
    torch.manual_seed(0)
    results = doctest.testmod(importlib.import_module(name), extraglobs=USUAL, report=True)
    assert results.failed == 0


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=lambda part: getattr(part, "__name__", part))
def test_a_public_example_needs_no_import_of_its_module(package: ModuleType, name: str) -> None:
    """Who copies it has the name it explains, and not what its file happens to import."""
    torch.manual_seed(0)
    given = {**USUAL, getattr(package, name).__name__: getattr(package, name)}
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(recurse=False).find(getattr(package, name), name, globs=given):
        runner.run(example)
    assert runner.failures == 0


@pytest.mark.parametrize("name", blocks.__all__)
def test_every_public_block_has_an_example(name: str) -> None:
    documentation = inspect.getdoc(getattr(blocks, name)) or ""
    assert ">>> " in documentation
    assert f"{name}(" in documentation
    assert documentation.splitlines()[-1].startswith("Upstream: ")


@pytest.mark.parametrize("name", [name for name in blocks.__all__ if name[0].isupper()])
def test_every_forward_says_the_shape_of_each_tensor(name: str) -> None:
    forward = getattr(blocks, name).forward
    for parameter, annotation in inspect.get_annotations(forward).items():
        if annotation in (Tensor, Tensor | None):
            where = "Returns:" if parameter == "return" else f"{parameter}: "
            after = (inspect.getdoc(forward) or "").split(where, 1)[1]
            shape = r".*?\[[^\]]+\]" if parameter == "return" else r"\[[^\]]+\]"
            assert re.match(shape, after, re.DOTALL), f"{name}.forward: {parameter}"


def test_the_pages_wrong_examples_are_right_here() -> None:
    """The five of the reference page that raise, or print another shape than it says."""
    two_way = blocks.SAM2TwoWayAttentionBlock(256, 8)
    tokens, image = torch.randn(1, 100, 256), torch.randn(1, 256, 256)
    queries, keys = two_way(tokens, image, torch.randn(1, 100, 256), torch.randn(1, 256, 256))
    assert (queries.shape, keys.shape) == ((1, 100, 256), (1, 256, 256))

    transformer = blocks.SAM2TwoWayTransformer(1, 256, 8, 64)
    image = torch.randn(1, 256, 16, 16)
    queries, keys = transformer(image, image, tokens)
    assert (queries.shape, keys.shape) == ((1, 100, 256), (1, 256, 256))

    x = torch.randn(1, 56, 56, 32)
    assert blocks.MultiScaleBlock(32, 64, 8, window_size=7)(x).shape == (1, 56, 56, 64)
    assert blocks.MultiScaleBlock(32, 64, 8, q_stride=(2, 2), window_size=8)(x).shape == (1, 28, 28, 64)
    assert blocks.PositionEmbeddingSine(128)(torch.randn(1, 3, 24, 24)).shape == (1, 128, 24, 24)
    assert blocks.PatchEmbed()(torch.randn(1, 3, 224, 224)).shape == (1, 14, 14, 768)
