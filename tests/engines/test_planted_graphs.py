"""Bugs planted in exported graphs, each of which a hand-made port has had: `samblocks verify` sees them."""

import json
import re
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


Slice = tuple[str, int, int, int, int]
"""Of an input: its name, axis, start, end, step."""

PADDING: Slice = ("tokens", 1, 0, -1, 1)
BACKWARDS: Slice = ("pointers", 0, -1, -(2**31), -1)


def _sliced_onnx(file: Path, cut: Slice) -> None:
    """Let all nodes that read an input read a slice of it."""
    import onnx
    from onnx import helper, numpy_helper

    model: Any = onnx.load(file)
    name, *values = cut
    for node in model.graph.node:
        for place, read in enumerate(node.input):
            if read == name:
                node.input[place] = f"{name}_planted"
    for key, value in zip(("axis", "start", "end", "step"), values, strict=True):
        model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), f"{name}_{key}"))
    order = [name, *(f"{name}_{key}" for key in ("start", "end", "axis", "step"))]
    model.graph.node.insert(0, helper.make_node("Slice", order, [f"{name}_planted"]))
    onnx.save(model, file)


def _epsilon_onnx(file: Path) -> None:
    import onnx

    model: Any = onnx.load(file)
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    for attribute in norm.attribute:
        if attribute.name == "epsilon":
            attribute.f *= 10
    onnx.save(model, file)


def _sliced_openvino(file: Path, cut: Slice) -> None:
    import openvino
    from openvino import opset13

    model = openvino.Core().read_model(str(file))
    name, axis, start, end, step = cut
    port = model.input(name)
    readers = list(port.get_target_inputs())
    found = opset13.slice(port.get_node(), [start], [end], [step], [axis])
    for reader in readers:
        reader.replace_source_output(found.output(0))
    openvino.save_model(model, str(file.with_suffix(".planted.xml")), compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        file.with_suffix(f".planted{suffix}").replace(file.with_suffix(suffix))


def _epsilon_openvino(file: Path) -> None:
    text = file.read_text()
    changed = re.sub(r'(type="MVN".*?<data[^>]* eps=")([^"]+)"', _tenfold, text, count=1, flags=re.DOTALL)
    assert changed != text
    file.write_text(changed)


def _tenfold(found: re.Match[str]) -> str:
    return f'{found[1]}{10 * float(found[2])}"'


PLANTED: dict[str, tuple[str, dict[str, Callable[[Path], None]]]] = {
    "another epsilon": ("memory_attention", {"onnx": _epsilon_onnx, "openvino": _epsilon_openvino}),
    "a missing padding token": (
        "mask_decoder_shared",
        {
            "onnx": lambda file: _sliced_onnx(file, PADDING),
            "openvino": lambda file: _sliced_openvino(file, PADDING),
        },
    ),
    "wrong pointer order": (
        "memory_attention",
        {
            "onnx": lambda file: _sliced_onnx(file, BACKWARDS),
            "openvino": lambda file: _sliced_openvino(file, BACKWARDS),
        },
    ),
}


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from engine_models import small_sam2

    folder = tmp_path_factory.mktemp(request.param) / "files"
    export(small_sam2(), folder, request.param, frames=6)
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
    assert "<polyline" in (exported / "card.html").read_text()
    assert all(set(calls) == {"engine"} for calls in video["calls"].values())


@pytest.mark.parametrize("bug", list(PLANTED))
def test_a_planted_bug_is_seen(exported: Path, bug: str, capsys: pytest.CaptureFixture[str]) -> None:
    graph, plants = PLANTED[bug]
    card = json.loads((exported / "card.json").read_text())
    files = [exported / name for name in card["files"] if name.startswith(f"{graph}.")]
    whole = {file: file.read_bytes() for file in files}
    try:
        plants[card["kind"]](files[0] if card["kind"] == "onnx" else exported / f"{graph}.xml")
        assert main(["verify", str(exported)]) == 1  # the card knows the file by its hash
        assert "is damaged" in capsys.readouterr().err
        write_card(exported, {**card, "files": card["files"] | {file.name: sha256(file) for file in files}})
        assert main(["verify", str(exported)]) == 1
        assert re.search(rf"^{graph} \w+ \(sample \d\): ", capsys.readouterr().out, re.MULTILINE)
    finally:
        for file, data in whole.items():
            file.write_bytes(data)
        write_card(exported, card)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_openvino_files_hold(precision: str, tmp_path: Path) -> None:
    import openvino
    from engine_models import small_sam

    if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("OpenVINO has no bfloat16 on this processor")
    export(small_sam(), tmp_path / "files", "openvino", precision=precision)
    assert main(["verify", str(tmp_path / "files")]) == 0
