"""What engines promise beside their numbers, with one that computes as eager does."""

import copy
import io
import operator
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import samblocks
from samblocks import EngineError, ImagePredictor, VideoPredictor, accelerate, engine_report
from samblocks.engines import accelerate as accelerating
from samblocks.engines import blobs, recipes, settings
from samblocks.engines import export as exporting
from samblocks.engines.export import export
from samblocks.engines.finding import parts_of
from samblocks.engines.sibling import ManyRows
from samblocks.engines.tables import constant_tables
from samblocks.engines.verify import TOLD, Run, figures, judged
from samblocks.models.build import assemble


class Engine:
    """Runs the graphs in eager, away from zero by a step, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.error = 0.0
        monkeypatch.setattr(accelerating, "compile_graph", self.compile)

    def compile(self, part, graph, example, samples, settings):
        def run(tensors: list[Tensor]) -> list[Tensor]:
            self.ran.append(graph.name)
            with torch.no_grad():
                return [x.clone() + self.error for x in graph.module(*tensors)]

        run(example)
        self.ran.clear()
        return run, False


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    return Engine(monkeypatch)


def test_parts_of_the_released_models() -> None:
    with torch.device("meta"):
        found = [
            [part.path for part in parts_of(assemble(name))] for name in ("mobile_sam", "sam2.1_hiera_tiny")
        ]
    assert found == [
        ["image_encoder", "mask_decoder"],
        ["image_encoder", "memory_attention", "memory_encoder", "sam_mask_decoder"],
    ]


def test_a_model_runs_in_it_and_is_given_back(engine, sam2, photo) -> None:
    before = {name: id(module) for name, module in sam2.named_modules()}
    state = {name: value.clone() for name, value in sam2.state_dict().items()}
    clip = [photo, photo[:, ::-1].copy(), photo[::-1].copy()]

    def tracked() -> list[Tensor]:
        predictor = VideoPredictor(sam2)
        video = predictor.init_state(np.stack(clip))
        for number, point in ((1, [20, 20]), (2, [40, 30])):
            predictor.add_new_points_or_box(video, frame_idx=0, obj_id=number, points=[point], labels=[1])
        return [masks.clone() for _, _, masks in predictor.propagate_in_video(video)]

    eager = tracked()
    with accelerate(sam2, "compile", cache=False) as report:
        found = tracked()
        assert {name: id(module) for name, module in sam2.named_modules()} == before
        assert list(sam2.state_dict()) == list(state)
        assert set(report.calls) == {
            "image_encoder",
            "memory_attention",
            "memory_encoder",
            "sam_mask_decoder",
        }
        assert all(set(calls) == {"engine"} for calls in report.calls.values())
        assert report.verify(clip).holds
    for a, b in zip(found, eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    ran = len(engine.ran)
    assert all(map(torch.equal, tracked(), eager))
    assert len(engine.ran) == ran
    assert not any("_compiled_call_impl" in vars(module) for module in sam2.modules())
    assert all(torch.equal(value, state[name]) for name, value in sam2.state_dict().items())


def test_one_image_is_not_copied_for_each_prompt(engine, sam, photo) -> None:
    predictor = ImagePredictor(sam)
    with accelerate(sam, "compile", cache=False):
        predictor.set_image(photo)
        predictor.predict(point_coords=[[20, 20]], point_labels=[1])
        assert engine.ran == ["image_encoder", "mask_decoder_shared"]
        engine.ran.clear()
        low = predictor.predict(point_coords=[[20, 20]], point_labels=[1], multimask_output=False)[2]
        predictor.predict(point_coords=[[20, 20]], point_labels=[1], mask_input=low)
        assert engine.ran == ["mask_decoder_shared"] * 2


def test_eager_answers_where_the_engine_cannot(engine, sam) -> None:
    x = torch.randn(1, 3, 64, 64)
    report = accelerate(sam, "compile", cache=False)
    calls = report._attached[0].calls
    sam.image_encoder(x)
    assert calls == {"gradients are recorded": 1}
    with torch.no_grad():
        assert len(sam.image_encoder(x.expand(3, -1, -1, -1))) == 3
        assert engine.ran == ["image_encoder"] * 3
        sam.image_encoder.train()(x)
        sam.image_encoder.eval()
        hook = sam.image_encoder.blocks[0].register_forward_hook(lambda *args: None)
        sam.image_encoder(x)
        hook.remove()
        with torch.autocast("cpu", torch.bfloat16):
            sam.image_encoder(x)
        sam.image_encoder.neck[0].weight.mul_(2)
        with pytest.warns(UserWarning, match="weights of image_encoder were changed"):
            changed = sam.image_encoder(x)
        sam.image_encoder(x)
    assert calls == {
        "gradients are recorded": 1,
        "engine": 1,
        "training mode": 1,
        "forward hooks": 1,
        "autocast": 1,
        "changed weights": 2,
    }
    report.undo()
    with torch.no_grad():
        assert torch.equal(changed, sam.image_encoder(x))


def test_another_size_runs_in_eager(engine, sam) -> None:
    report = accelerate(sam, "compile", cache=False)
    sam.set_imgsz((32, 48))
    with torch.no_grad():
        assert sam.image_encoder(torch.randn(1, 3, 32, 48)).shape[-2:] == (2, 3)
    assert report.calls["image_encoder"] == {"another size than it was compiled for": 1}


def test_copies_and_pickles_are_plain(engine, sam) -> None:
    accelerate(sam, "compile", cache=False)
    stream = io.BytesIO()
    torch.save(sam, stream)
    stream.seek(0)
    twins = copy.deepcopy(sam), torch.load(stream, weights_only=False)
    for twin in twins:
        with torch.no_grad():
            twin.image_encoder(torch.randn(1, 3, 64, 64))
    assert not engine.ran


def test_threads_share_it(engine, sam) -> None:
    report = accelerate(sam, "compile", cache=False)

    def run() -> None:
        with torch.no_grad():
            sam.image_encoder(torch.randn(1, 3, 64, 64))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert report.calls["image_encoder"] == {"engine": 4}


def test_a_wrong_engine_is_seen(engine, sam, photo) -> None:
    report = accelerate(sam, "compile", cache=False)
    assert report.verify(photo)
    engine.error = 0.1
    verdict = report.verify(photo)
    assert not verdict
    assert verdict.verdict == "DIVERGED"
    assert verdict.ratio > 100
    assert verdict.flipped
    assert verdict.beyond
    assert verdict.score is not None
    assert verdict.score > 0.01
    assert report.applied


def test_what_did_not_run_in_it_is_said(engine, sam, photo) -> None:
    report = accelerate(sam, "compile", cache=False)
    sam.image_encoder.blocks[0].register_forward_hook(lambda *args: None)
    verdict = report.verify(photo)
    assert verdict.not_run == ("image_encoder",)
    assert (verdict.verdict, bool(verdict)) == ("INCOMPLETE", False)


def test_a_pixel_within_rounding_is_not_beyond_it() -> None:
    truth = torch.tensor([[1e-9, 1.0]]).double()
    eager = torch.tensor([[1e-8, 1.0]])
    engine = torch.tensor([[-1e-8, 1.0]])
    (row,) = figures({"masks": engine}, {"masks": eager}, {"masks": eager}, {"masks": truth})
    assert (row.flipped, row.beyond, row.iou) == (1, 0, 0.5)


def test_luck_in_one_draw_is_settled_by_others() -> None:
    truth = torch.ones(1, 4).double()

    def run(ratio: float, draw: int = 0) -> Run:
        eager = {"iou": (truth + 2.0**-20).float()}
        return {"iou": (truth + ratio * 2.0**-20).float()}, eager, eager, {"iou": truth}

    for first, others, draws, precise in (
        (3, 1.5, 8, True),
        (3, 3, 8, False),
        (60, 1, 1, False),
        (1, 9, 1, True),
    ):
        (row,) = judged(run(first), partial(run, others), "f32")
        assert (row.draws, row.precise) == (draws, precise)
        assert row.ratio == pytest.approx(others if draws == 8 else first, rel=0.1)
    nothing: Run = ({"iou": torch.full((1, 4), torch.nan)}, *run(1)[1:])
    (row,) = judged(nothing, lambda draw: run(1), "f32")
    assert row.ratio == float("inf")
    assert not row.precise
    (row,) = judged(run(3), lambda draw: nothing if draw == 2 else run(1), "f32")
    assert (row.draws, row.precise) == (2, False)


def test_object_scores_are_told_and_not_judged(engine, sam2, photo) -> None:
    with accelerate(sam2, "compile", cache=False) as report:
        verdict = report.verify(photo)
    (row,) = (row for row in verdict.outputs if row.output == TOLD)
    assert row.score == verdict.score is not None
    unlucky = replace(verdict, outputs=(replace(row, ratio=9.0),))
    assert unlucky.ratio != 9.0


def test_rows_that_come_alone_are_computed_as_many() -> None:
    shapes = []

    class Seen(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            shapes.extend([tuple(args[0].shape)] if func is torch.nn.functional.linear else [])
            return func(*args, **(kwargs or {}))

    linear, x = torch.nn.Linear(256, 8), torch.randn(2, 3, 256)
    with torch.no_grad():
        with Seen(), ManyRows():
            found = linear(x)
            linear(torch.randn(40, 256))
        torch.testing.assert_close(found, linear(x), rtol=1e-5, atol=1e-6)
    assert shapes == [(16, 256), (40, 256)]


def test_a_failed_conversion_leaves_the_model(sam, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_graph(part, *args):
        if part.kind == "mask_decoder":
            raise RuntimeError("no such operator")
        return (lambda tensors: tensors), False

    monkeypatch.setattr(accelerating, "compile_graph", compile_graph)
    with pytest.raises(EngineError, match=r"compile cannot take mask_decoder .*no such operator.*as it was"):
        accelerate(sam, "compile", cache=False)
    assert not any("_compiled_call_impl" in vars(module) for module in sam.modules())


@pytest.mark.parametrize("capabilities", [["FP32", "INT8"], ["FP32", "BF16"]])
def test_bfloat16_is_refused_where_it_would_be_float32(
    capabilities: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Core:
        def get_property(self, *_: str) -> list[str]:
            return capabilities

    def require(package: str, extra: str) -> Any:
        return SimpleNamespace(Core=Core)

    monkeypatch.setattr(settings, "require", require)
    monkeypatch.setattr(exporting, "require", require)
    words = "no bfloat16 on this processor and would compute in float32"
    if "BF16" in capabilities:  # the next thing that is wrong with it
        words = "a Linear holds no module of samblocks that"
    with pytest.raises(EngineError, match=words):
        accelerate(torch.nn.Linear(2, 2), "openvino", "bf16")
    with pytest.raises(EngineError, match=words):
        export(torch.nn.Linear(2, 2), tmp_path / "files", "openvino", precision="bf16")
    assert not (tmp_path / "files").exists()


def test_what_there_is_not_is_said_at_once(sam) -> None:
    for arguments, words in (
        (("tensorrt",), "backend='tensorrt' must be one of 'openvino', 'onnxruntime', 'compile'"),
        (("openvino", "fp16"), "precision='fp16': the backend 'openvino' has 'f32', 'bf16', 'int8'"),
        (("onnxruntime", "bf16"), "'onnxruntime' has 'f32', 'int8'"),
        (("openvino", "int8"), "needs calibration="),
        (("openvino", "f32", [0]), "calibration is for precision='int8'"),
        ((["openvino"],), r"backend=\['openvino'\] must be one of"),
        (("openvino", "int8", "photos"), "calibration must be a list of pictures, not a str"),
        (("openvino", "int8", np.zeros((4, 4, 3))), "calibration must be a list of pictures, not a ndarray"),
        (("compile", "f32", None, 3), "cache=3 must be"),
        (("compile", "f32", None, ""), "cache='' must be"),
        (("compile", "f32", None, __file__), "is there already and no folder: name another place"),
    ):
        with pytest.raises(ValueError, match=words):
            accelerate(sam, *arguments)
    with pytest.raises(ValueError, match="impact='no' must be True or False"):
        accelerate(sam, "compile", impact="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"model is a str; it must be a torch\.nn\.Module"):
        accelerate("mobile_sam", "compile")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"format": None}, "format=None must be one of"),
        ({"folder": 3}, "folder=3 must be"),
        ({"parts": "image_encoder"}, "parts must be a list of names, not a str"),
        ({"parts": []}, "parts is empty: name some of 'image_encoder', 'mask_decoder'"),
        ({"frames": "3"}, "frames='3' must be an integer from 0"),
        ({"frames": -1}, "frames=-1 must be an integer from 0"),
        ({"pictures": "photos"}, "pictures must be a list of pictures, not a str"),
        ({"pictures": 3}, "pictures must be a list of pictures, not a int"),
    ],
)
def test_an_export_that_cannot_be_is_refused_at_once(
    sam, tmp_path, arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        export(sam, **{"folder": tmp_path / "out", "format": "exported", **arguments})
    with pytest.raises(EngineError, match=r"weights in torch.bfloat16.*call .float\(\) first"):
        export(copy.deepcopy(sam).bfloat16(), tmp_path / "out", "exported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_missing_runtime_is_named_with_its_extra(
    sam, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samblocks.engines.settings.find_spec", lambda name: None)
    extra = {"openvino": "openvino", "onnxruntime": "onnx"}[backend]
    with pytest.raises(EngineError, match=rf"not installed.*pip install 'samblocks\[{extra}\]'"):
        accelerate(sam, backend)


def test_weights_in_half_and_a_second_engine_are_refused(engine, sam) -> None:
    with pytest.raises(EngineError, match=r"weights in torch.bfloat16.*call .float\(\) first"):
        accelerate(copy.deepcopy(sam).bfloat16(), "compile")
    accelerate(sam, "compile", cache=False)
    with pytest.raises(EngineError, match="runs in an engine already: undo that first"):
        accelerate(sam, "compile", cache=False)


def test_load_takes_a_backend(engine, tmp_path, monkeypatch: pytest.MonkeyPatch, sam) -> None:
    monkeypatch.setattr("samblocks.engines.load.load_eager", lambda path, **options: sam)
    model = samblocks.load("sam.pt", backend="compile", cache=False)
    assert model is sam
    assert engine_report(model).settings.name == "compile f32"
    with pytest.raises(ValueError, match="backend is for a whole model"):
        samblocks.load("sam.pt", backend="compile", component="image_encoder")


def test_a_damaged_blob_is_refused_and_made_anew(tmp_path) -> None:
    file, key = tmp_path / "blob", "0" * 64
    blobs.write(file, key, b"compiled graph")
    assert blobs.kept(file, key) == b"compiled graph"
    whole = file.read_bytes()
    with pytest.raises(EngineError, match="of other weights, versions or settings"):
        blobs.read(file, "1" * 64)
    for place in range(0, len(whole), 9):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(EngineError, match="delete it"):
            blobs.read(file, key)
    file.write_bytes(whole[:-1])
    assert blobs.kept(file, key) is None


def test_recipes_are_checked(engine, sam, tmp_path) -> None:
    recipes.write(tmp_path / "recipe.json", "int8", ["image_encoder.blocks.0"], note="for people")
    assert recipes.wide_modules(tmp_path / "recipe.json", "int8") == ("image_encoder.blocks.0",)
    for recipe, words in (
        (tmp_path / "none.json", "cannot be read"),
        ({}, "its format must be"),
        ({"format": recipes.FORMAT, "precision": "int8", "wide": "all"}, "must be a list"),
    ):
        with pytest.raises(ValueError, match=words):
            recipes.wide_modules(recipe, "int8")
    with pytest.raises(ValueError, match="no module 'head'"):
        recipes.check(["head"], sam)


def test_a_host_that_does_something_around_ours(engine, sam, photo) -> None:
    from samblocks.models import ImageEncoderViT

    class Shifted(ImageEncoderViT):
        def forward(self, pixel_values: Tensor) -> Tensor:
            return super().forward(pixel_values) + 1

    Shifted.__module__ = "samblocks.swap.hosts.shifted"
    sam.image_encoder.__class__ = Shifted
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        eager = sam.image_encoder(x)
        with accelerate(sam, "compile", cache=False):
            torch.testing.assert_close(sam.image_encoder(x), eager)
    assert engine.ran == ["image_encoder"]


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)
def test_a_resized_table_is_a_constant_of_the_graph(sam2) -> None:
    (part,) = (part for part in parts_of(sam2) if part.kind == "image_encoder")
    graph, image = part.graphs["image_encoder"], torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        eager = graph.module(image)
        with constant_tables(graph, (image,)):
            traced = torch.jit.trace(graph.module, image, check_trace=False)
        assert "aten::upsample_bicubic2d" in str(torch.jit.trace(graph.module, image).inlined_graph)
        assert "aten::upsample_bicubic2d" not in str(traced.inlined_graph)
        assert "aten::upsample_nearest2d" in str(traced.inlined_graph)
        for found, wanted in zip(traced(image), eager, strict=True):
            torch.testing.assert_close(found, wanted)


def test_encodings_of_places_are_kept_until_they_are_written_into(engine, sam2) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = sam2.image_encoder(image)["vision_pos_enc"]
        with accelerate(sam2, "compile", cache=False):
            first = sam2.image_encoder(image)["vision_pos_enc"]
            assert all(map(operator.is_, sam2.image_encoder(image)["vision_pos_enc"], first))
            first[0].zero_()
            with torch.inference_mode():
                for found in (sam2.image_encoder(image), sam2.image_encoder(image)):
                    assert all(map(torch.equal, found["vision_pos_enc"], wanted))
            two = sam2.image_encoder(image.repeat(2, 1, 1, 1))["vision_pos_enc"]
            assert all(map(torch.equal, two, (x.repeat(2, 1, 1, 1) for x in wanted)))


def test_hq_sam_stays_in_eager(engine) -> None:
    from samblocks.blocks import TwoWayTransformer
    from samblocks.models import ImageEncoderViT, PromptEncoder
    from samblocks.models.sam1.hq_mask_decoder import MaskDecoderHQ
    from samblocks.models.sam1.hq_model import SAMModelHQ

    encoder = ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=16, global_attn_indexes=(0,))
    decoder = MaskDecoderHQ(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32), vit_dim=32)
    model = SAMModelHQ(encoder, PromptEncoder(16, (4, 4), (64, 64), 16), decoder).eval()
    with pytest.raises(EngineError, match="image_encoder: nothing called it on the model's own way"):
        accelerate(model, "compile", cache=False)
    assert not any("_compiled_call_impl" in vars(module) for module in model.modules())
