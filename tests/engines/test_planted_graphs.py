"""Bugs planted in exported graphs, each of which a hand-made port has had: `samblocks verify` sees them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samblocks import export
from samblocks.cli import main
from samblocks.engines.export import write_card
from samblocks.files import sha256

pytestmark = pytest.mark.engines


def _sliced(model: Any, name: str, axis: int, start: int, end: int, step: int) -> None:
    """Let all nodes that read an input read a slice of it."""
    from onnx import helper, numpy_helper

    for node in model.graph.node:
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = f"{name}_planted"
    values = {"start": start, "end": end, "axis": axis, "step": step}
    for key, value in values.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"{name}_{key}"))
    inputs = [name, *(f"{name}_{key}" for key in values)]
    model.graph.node.insert(0, helper.make_node("Slice", inputs, [f"{name}_planted"]))


def another_epsilon(model: Any) -> None:
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    assert norms
    for attribute in norms[0].attribute:
        if attribute.name == "epsilon":
            attribute.f *= 10


def a_missing_padding_token(model: Any) -> None:
    _sliced(model, "tokens", 1, 0, -1, 1)


def wrong_pointer_order(model: Any) -> None:
    _sliced(model, "pointers", 0, -1, -(2**31), -1)


PLANTED: tuple[tuple[str, Callable[[Any], None]], ...] = (
    ("memory_attention", another_epsilon),
    ("mask_decoder_shared", a_missing_padding_token),
    ("memory_attention", wrong_pointer_order),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from engine_models import small_sam2

    folder = tmp_path_factory.mktemp("planted") / "files"
    export(small_sam2(), folder, "onnx", frames=6)
    return folder


def test_what_was_exported_holds_without_torch(exported: Path) -> None:
    hidden = "import sys; sys.modules['torch'] = None; sys.argv = ['verify.py']; import runpy; "
    hidden += "runpy.run_path('verify.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", hidden], cwd=exported, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("it holds")
    video = json.loads((exported / "card.json").read_text())["video"]
    assert len(video["curve"]) == 6
    assert all(set(calls) == {"engine"} for calls in video["calls"].values())


@pytest.mark.parametrize(("graph", "plant"), PLANTED, ids=[plant.__name__ for _, plant in PLANTED])
def test_a_planted_bug_is_seen(
    exported: Path, graph: str, plant: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx

    file = exported / f"{graph}.onnx"
    whole, card = file.read_bytes(), json.loads((exported / "card.json").read_text())
    try:
        model = onnx.load_from_string(whole)
        plant(model)
        file.write_bytes(model.SerializeToString())
        assert main(["verify", str(exported)]) == 2  # the card knows the file by its hash
        assert "is damaged" in capsys.readouterr().err
        write_card(exported, {**card, "files": {**card["files"], file.name: sha256(file)}})
        assert main(["verify", str(exported)]) == 1
        assert f"{graph} " in capsys.readouterr().out
    finally:
        file.write_bytes(whole)
        write_card(exported, card)
    assert main(["verify", str(exported)]) == 0


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_files_hold(precision: str, tmp_path: Path) -> None:
    from engine_models import small_sam

    export(small_sam(), tmp_path / "files", "openvino", precision=precision)
    assert main(["verify", str(tmp_path / "files")]) == 0
