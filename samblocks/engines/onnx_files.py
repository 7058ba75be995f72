"""Graphs as ONNX."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from samblocks.engines.parts import Graph
from samblocks.engines.settings import require
from samblocks.engines.tables import constant_tables
from samblocks.swap.verify import evaluating

OPSET = 18
"""The version of ONNX's operators."""


def convert(graph: Graph, example: tuple[Tensor, ...]) -> bytes:
    """A graph of torch's as an ONNX file, in float32, with the free axes free."""
    require("onnx", "onnx")
    stream = io.BytesIO()
    # The exporter leaves what it was given, with all that is in it, in one mode: ours is put right afterwards.
    with evaluating(graph.module), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes which are the same in every call become constants
        with constant_tables(graph, example):
            torch.onnx.export(
                graph.module,
                example,
                stream,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_axes={name: dict(axes) for name, axes in graph.inputs.items() if axes},
            )
    return stream.getvalue()


def quantize(
    model: bytes, names: Sequence[str], samples: Sequence[tuple[Tensor, ...]], wide: Sequence[str]
) -> bytes:
    """A graph in int8, as far as nncf quantizes; ranges from samples.

    Args:
        model: an ONNX file.
        names: of its inputs.
        samples: what goes through it.
        wide: paths, within the graph's module, of modules that stay in float32.
    """
    onnx, nncf = require("onnx", "onnx"), require("nncf", "openvino")
    scope = nncf.IgnoredScope(patterns=[nodes_of(path) for path in wide], validate=False)
    parsed: Any = onnx.load_from_string(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = nncf.quantize(
            parsed,
            nncf.Dataset([dict(zip(names, (x.numpy() for x in sample), strict=True)) for sample in samples]),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=scope if wide else None,
        )
    made: bytes = found.SerializeToString()
    return made


def nodes_of(path: str) -> str:
    """A pattern for the names of the nodes of a module; `path` is within the graph's module, which holds it as `part`.

    A list's member is called by list and number; a sequence's too, but below the sequence.

    Examples:
        >>> re.sub(nodes_of("part.layers.0.proj"), "", "/layers.0/proj/MatMul /layers.0/layers.0.1/MatMul")
        ' /layers.0/layers.0.1/MatMul'
        >>> bool(re.match(nodes_of("part.neck.0"), "/neck/neck.0/Conv"))
        True
    """
    steps: list[list[str]] = []
    for name in path.split(".")[1:]:
        if name.isdigit() and steps:
            steps[-1].append(f"{steps[-1][-1]}.{name}")
        else:
            steps.append([name])
    words = ["".join(f"({re.escape(x)}/)?" for x in names[:-1]) + re.escape(names[-1]) for names in steps]
    return "".join(f"/{word}" for word in words) + r"/\S*"
