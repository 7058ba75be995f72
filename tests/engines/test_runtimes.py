"""Real runtimes: numbers, caches, precisions. They need an environment of their own (`make engines`)."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import samblocks
from parity.bench.sensitivity import effects, ranked
from samblocks import EngineError, accelerate
from samblocks.engines import onnxruntime, openvino, recipes

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("kind", ["sam", "sam2"])
def test_float32_is_as_precise(backend: str, kind: str, request, photo, cache: Path) -> None:
    model = request.getfixturevalue(kind)
    report = accelerate(model, backend, cache=cache)
    verdict = report.verify([photo, photo[::-1].copy()])
    assert verdict, str(verdict)
    report.undo()
    kept = sorted(cache.iterdir())
    again = accelerate(model, backend, cache=cache)
    assert all(row.cached for row in again.rows)
    assert again.verify(photo)
    again.undo()
    for file in kept:
        file.write_bytes(file.read_bytes()[:-9])
    assert not any(row.cached for row in accelerate(model, backend, cache=cache).rows)
    with torch.no_grad():
        model.image_encoder.float()


def test_precision_is_what_was_asked_for(sam, photo) -> None:
    import openvino

    has = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in has:
        with pytest.raises(EngineError, match="OpenVINO has no bfloat16 on this processor"):
            accelerate(sam, "openvino", "bf16", cache=False)
    for precision, dtype in (("f32", "f32"), *([("bf16", "bf16")] if "BF16" in has else [])):
        with accelerate(sam, "openvino", precision, cache=False) as report:
            for one in report._attached:
                for runner in one._runners.values():
                    hint = runner._compiled.get_property("INFERENCE_PRECISION_HINT")  # type: ignore[attr-defined]
                    assert str(hint.to_string() if hasattr(hint, "to_string") else hint) == dtype
                    threads = runner._compiled.get_property("INFERENCE_NUM_THREADS")  # type: ignore[attr-defined]
                    assert threads == torch.get_num_threads()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_int8_says_what_it_does(sam, photo, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    with accelerate(sam, backend, "int8", [photo], cache=False) as report:
        assert report.impact is not None
        assert report.impact.ratio > 10  # it is not float32
        assert f"on the first calibration picture: {report.impact.summary()}" in str(report)
        assert report.impact.summary() in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_what_is_sensitive_stays_wide(
    sam, photo, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"openvino": openvino, "onnxruntime": onnxruntime}[backend]
    models: list[Any] = []
    compiled = kind.compiled
    monkeypatch.setattr(kind, "compiled", lambda model, *more: models.append(model) or compiled(model, *more))

    def quantizers() -> int:
        """How many places of the image encoder's graph are quantized."""
        if backend == "openvino":
            return sum(op.get_type_name() == "FakeQuantize" for op in models[0].get_ordered_ops())
        import onnx

        return sum(node.op_type == "QuantizeLinear" for node in onnx.load_from_string(models[0]).graph.node)

    worst = ranked(list(effects(sam, "int8", "block", [photo], "image_encoder.blocks")))[0].path
    recipes.write(tmp_path / "recipe.json", "int8", [worst])
    found = []
    for recipe in (None, tmp_path / "recipe.json"):
        models.clear()
        with accelerate(sam, backend, "int8", [photo], cache=False, recipe=recipe) as report:
            assert report.verify(photo, iou=0.8).not_run == ()
        found.append(quantizers())
    assert 0 < found[1] <= found[0] - 4, (worst, found)


def test_another_model_has_another_blob(sam, cache: Path) -> None:
    accelerate(sam, "openvino", cache=cache).undo()
    with torch.no_grad():
        sam.image_encoder.neck[0].weight.mul_(2)
    report = accelerate(sam, "openvino", cache=cache)
    assert {row.path: row.cached for row in report.rows} == {"image_encoder": False, "mask_decoder": True}
    assert openvino.device()


def test_the_lines_of_the_page_run(sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "runtimes.md").read_text(encoding="utf-8")
    lines = page.partition("```python\n")[2].partition("```")[0]
    assert "samblocks.export" in lines
    lines = lines.replace('precision="f32"', 'precision="f32", cache=False')
    monkeypatch.chdir(tmp_path)
    import samblocks
    from parity.execution.pictures import PHOTOGRAPH

    monkeypatch.setattr("samblocks.engines.load.load_eager", lambda path, **options: sam)
    monkeypatch.setenv("SAMBLOCKS_CACHE", str(tmp_path / "cache"))
    exec(lines.replace("photo.jpg", str(PHOTOGRAPH)), {"samblocks": samblocks})
    assert (tmp_path / "files" / "card.html").exists()


def test_the_page_runs(sam2, photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("PIL.Image").fromarray(photo).save("photo.jpg")

    def load(name: str, backend: str, precision: str) -> nn.Module:
        accelerate(sam2, backend, precision, cache=False)
        return sam2

    monkeypatch.setattr(samblocks, "load", load)
    page = (Path(__file__).parents[2] / "docs" / "runtimes.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(block, {"samblocks": samblocks})
    assert Path("files/card.json").exists()
