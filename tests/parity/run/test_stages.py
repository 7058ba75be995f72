"""The main job's stages: what they are given, and who computes what, without any reference."""

import builtins
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from parity.errors import UsageError
from parity.execution import pictures
from parity.execution.case import Case, uniform
from parity.execution.execute import execute
from parity.execution.fill import fill_
from parity.run import stages
from parity.run.job import Job
from parity.run.runner import run
from parity.run.samblocks_library import library
from parity.verdict.compare import Verdict
from parity.workers.registry import Reference
from parity.workers.reply import Reply
from samblocks.blocks import LayerNorm2d
from samblocks.checkpoints import load, save
from samblocks.errors import SamblocksError
from samblocks.models import build

# --- pictures ------------------------------------------------------------------------------------------------


def test_shipped_pictures_are_small_different_and_have_a_licence() -> None:
    frames = [pictures.read(path) for path in pictures.FRAMES]
    assert all(frame.shape == (360, 640, 3) and frame.dtype == np.uint8 for frame in frames)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(frames[one].astype(int) - frames[other]).mean() > 8
    assert pictures.read(pictures.PHOTOGRAPH).shape == (533, 800, 3)
    for path in (*pictures.FRAMES, pictures.PHOTOGRAPH):
        assert path.stat().st_size <= 60_000
        assert path.name in (path.parent / "README.md").read_text()
    assert "Apache License" in (pictures.PHOTOGRAPH.parent / "README.md").read_text()


def test_for_sam_keeps_the_shape_and_pads() -> None:
    picture = np.full((60, 120, 3), 200, dtype=np.uint8)
    image = pictures.for_sam(picture, 64)
    assert image.shape == (1, 3, 64, 64)
    expected = (200 - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    assert torch.allclose(image[0, :, 5, 7], expected)
    assert torch.equal(image[:, :, 32:], torch.zeros(1, 3, 32, 64))
    assert pictures.for_sam(picture.transpose(1, 0, 2), 64)[0, 0, 63, :32].ne(0).all()


def test_for_sam2_fills_the_square() -> None:
    picture = np.full((60, 120, 3), 255, dtype=np.uint8)
    images = pictures.for_sam2([picture, picture[:, ::-1] // 5], 32)
    assert images.shape == (2, 3, 32, 32)
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(images[0], expected.reshape(3, 1, 1).expand(3, 32, 32))


def test_what_is_no_picture_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(UsageError, match=r"notes\.jpg is not a picture"):
        pictures.read(tmp_path / "notes.jpg")


def test_missing_pillow_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without_pillow(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pillow)
    with pytest.raises(UsageError, match=r"pip install 'samblocks\[images\]'"):
        pictures.read(pictures.PHOTOGRAPH)


# --- jobs ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "some_name.pt"
    save(fill_(build("mobile_sam")), path)
    return path


def test_a_checkpoint_becomes_a_job_on_the_loaded_model(checkpoint: Path) -> None:
    with stages.checkpoint_jobs(str(checkpoint)) as jobs:
        [job] = jobs
        assert job.case.id == "SAMModel/stages_mobile_sam"
        assert job.truth_of == "ultralytics"
        assert job.inputs["image"].shape == (1, 3, 1024, 1024)
        assert job.model is not None
        assert job.weights is not None
        given = safetensors.torch.load_file(job.weights)
        own = job.model.state_dict()
        assert list(given) == list(own) or set(given) == set(own)
        assert all(torch.equal(given[name], own[name]) for name in own)
    assert not job.weights.exists()


def test_the_references_get_the_files_tensors_not_what_loading_made_of_them(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = load

    def wrong(*args: Any, **kwargs: Any) -> Any:
        model, report = original(*args, **kwargs)
        with torch.no_grad():
            model.get_parameter("prompt_encoder.no_mask_embed.weight").add_(1.0)
        return model, report

    monkeypatch.setattr(stages, "load", wrong)
    with stages.checkpoint_jobs(str(checkpoint)) as [job]:
        assert job.model is not None
        assert job.weights is not None
        given = safetensors.torch.load_file(job.weights)["prompt_encoder.no_mask_embed.weight"]
        ours = job.model.state_dict()["prompt_encoder.no_mask_embed.weight"]
    assert torch.allclose(ours, given + 1.0)


def test_a_part_of_a_model_has_no_stages(tmp_path: Path) -> None:
    save(fill_(build("mobile_sam")).image_encoder, tmp_path / "part.safetensors")
    with (
        pytest.raises((UsageError, SamblocksError), match="image_encoder"),
        stages.checkpoint_jobs(str(tmp_path / "part.safetensors")),
    ):
        pass


# --- one truth for all ---------------------------------------------------------------------------------------


class Stand:
    """A reference that answers with our own block, and remembers what it was asked for."""

    versions: Mapping[str, str] = {}

    def __init__(self, name: str) -> None:
        self.reference = Reference(name, "none", ())
        self.asked: list[str] = []

    def execute(
        self,
        case: Case,
        inputs: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        autocast: torch.dtype | None = None,
        lift: bool | str = False,
        weights: Path | None = None,
    ) -> Reply:
        self.asked.append("truth" if lift else str(dtype))
        wide = torch.float64 if lift else dtype
        outcome = execute(case, library(), inputs, dtype=wide)
        return Reply("ok", "", outcome.outputs, outcome.state)


CASE = Case(
    block="LayerNorm2d",
    name="of_this_test",
    why="a small case",
    kwargs={"num_channels": 4},
    inputs={"x": uniform(1, 4, 3, 3)},
)


def test_one_reference_computes_the_truth_for_all() -> None:
    stands = [Stand("meta"), Stand("ultralytics")]
    job = Job(CASE, CASE.tensors(), truth_of="ultralytics")
    rows = list(run([job], stands, dtypes=(torch.float32,)))
    assert [stand.asked for stand in stands] == [["torch.float32"], ["torch.float32", "truth"]]
    assert [row.comparison.verdict for row in rows] == [Verdict.EXACT, Verdict.EXACT]


def test_each_computes_its_own_where_that_reference_is_not_there() -> None:
    stand = Stand("meta")
    list(run([Job(CASE, CASE.tensors(), truth_of="ultralytics")], [stand], dtypes=(torch.float32,)))
    assert stand.asked == ["torch.float32", "truth"]


def test_the_loaded_model_is_what_runs() -> None:
    model = fill_(LayerNorm2d(4))
    stand = Stand("meta")
    rows = list(run([Job(CASE, CASE.tensors(), model=model)], [stand], dtypes=(torch.float32,)))
    assert {row.comparison.verdict for row in rows} == {Verdict.EXACT}
    with torch.no_grad():
        _parameter(model).add_(0.5)
    rows = list(run([Job(CASE, CASE.tensors(), model=model)], [stand], dtypes=(torch.float32,)))
    assert {row.comparison.verdict for row in rows} == {Verdict.DIVERGED}


def _parameter(model: nn.Module) -> nn.Parameter:
    return next(model.parameters())
