"""`samblocks segment` on a small model: what it writes, and what it refuses before anything is loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from parity.execution import fill
from parity.execution.fill import fill_
from samblocks.blocks import TwoWayTransformer
from samblocks.cli import main
from samblocks.models import ImageEncoderViT, MaskDecoder, PromptEncoder, SAMModel
from samblocks.predict import loading


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures, one of them an array, in the working folder; every name means a small model."""

    def load(name: str, **options: Any) -> SAMModel:
        model = SAMModel(
            ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=16),
            PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False),
            MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32)),
        )
        fill_(model)
        return model.eval().to(options["device"], options["dtype"])

    monkeypatch.setattr(loading, "load", load)
    monkeypatch.chdir(tmp_path)
    picture = fill.integers("picture", (40, 60, 3), 0, 256).astype(np.uint8)
    Image.fromarray(picture).save("a.png")
    np.save("b.npy", picture[:30])
    return tmp_path


def _ends(capsys: pytest.CaptureFixture[str], status: int, *arguments: str) -> str:
    assert main(["segment", *arguments]) == status
    out, err = capsys.readouterr()
    return out if status == 0 else err


def test_one_picture_to_one_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = _ends(capsys, 0, "a.png", "--model", "m", "--point", "20,15", "--point", "3,3,0", "-o", "out.png")
    assert "a.png: 1 mask -> out.png, out.json" in out
    told = json.loads(Path("out.json").read_text())
    assert told["points"] == [[20, 15, 1], [3, 3, 0]]
    assert told["files"] == ["out.mask-001.png"]
    assert np.asarray(Image.open("out.mask-001.png")).shape == (40, 60)
    assert np.asarray(Image.open("out.png")).shape == (40, 60, 3)
    assert {path.name for path in folder.iterdir()} == {
        "a.png", "b.npy", "out.png", "out.json", "out.mask-001.png",
    }  # fmt: skip


@pytest.mark.parametrize("format", ["png", "rle", "geojson", "npz"])
def test_several_pictures_to_a_folder(folder: Path, capsys: pytest.CaptureFixture[str], format: str) -> None:
    boxes = ("--box", "5,5,30,25", "--box", "2,3,50,28")
    _ends(capsys, 0, "a.png", "b.npy", "--model", "m", *boxes, "--multimask", "--format", format, "-o", "out")
    for name, height in (("a", 40), ("b", 30)):
        told = json.loads(Path(f"out/{name}.json").read_text())
        assert len(told["masks"]) == 6
        assert told["size"] == [height, 60]
        assert all(Path("out", file).is_file() for file in told["files"])


def test_a_mask_is_refined(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 255
    Image.fromarray(mask).save("mask.png")
    _ends(capsys, 0, "a.png", "--model", "m", "--mask", "mask.png", "--dtype", "bfloat16", "-o", "out")
    np.save("logits.npy", np.zeros((1, 16, 16), np.float32))
    _ends(capsys, 0, "a.png", "--model", "m", "--mask", "logits.npy", "-o", "out")
    np.save("small.npy", np.ones((3, 3), bool))
    err = _ends(capsys, 2, "a.png", "--model", "m", "--mask", "small.npy", "-o", "out")
    assert "--mask small.npy has shape (3, 3), height first; it must have that of a.png, (40, 60)" in err


def test_everything(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from samblocks.predict import generator

    few = {"points_per_side": 2, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    whole = generator.MaskGenerator
    monkeypatch.setattr(generator, "MaskGenerator", lambda model: whole(model, **few))  # type: ignore[arg-type]
    _ends(capsys, 0, "a.png", "--model", "m", "--everything", "-o", "out")
    told = json.loads(Path("out/a.json").read_text())
    assert len(told["masks"]) > 1
    assert Path("out/a.sheet.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "-o", "out"], "give either --everything, or prompts"),
        (["a.png", "--everything", "--point", "1,1", "-o", "out"], "give either --everything, or prompts"),
        (["a.png", "--everything", "--multimask", "-o", "out"], "--multimask is for prompts"),
        (["a.png", "--point", "1", "-o", "out"], "'1': must be 2 or 3 numbers"),
        (["a.png", "--point", "1,2,7", "-o", "out"], "a label is 1 on the object or 0"),
        (["a.png", "--box", "9,9,1,1", "-o", "out"], "the second corner must be right of the first"),
        (["a.png", "--box", "1,1,9,9", "--box", "1,1,5,5", "--point", "1,1", "-o", "o"], "one --box at most"),
        (["missing.png", "--point", "1,1", "-o", "out"], "there is no file missing.png"),
        (["a.png", "b.npy", "--point", "1,1", "-o", "out.png"], "is one file, for 2 pictures"),
        (["a.png", "--point", "1,1", "-o", "b.npy"], "is there already and no folder"),
        (["a.png", "./a.png", "--point", "1,1", "-o", "out"], "two pictures are called a"),
        (["a.png", "--point", "1,1", "-o", "."], "would be written over a.png"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(loading, "load", lambda name, **options: pytest.fail("loaded"))
    err = _ends(capsys, 2, *arguments, "--model", "m")
    assert message in err
    assert err.count("\n") == 1
    assert not Path("out").exists()


def test_what_needs_pillow_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "PIL" else real(name))
    err = _ends(capsys, 2, "a.png", "--model", "m", "--point", "1,1", "-o", "out")
    assert "a.png needs Pillow to be read: pip install 'samblocks[images]'" in err
    _ends(capsys, 0, "b.npy", "--model", "m", "--point", "1,1", "-o", "out")


def test_what_is_done_is_kept_when_it_is_interrupted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from samblocks.predict.image import ImagePredictor

    calls = []
    set_image = ImagePredictor.set_image

    def interrupted(self: ImagePredictor, image: Any) -> None:
        calls.append(image)
        if len(calls) == 2:
            raise KeyboardInterrupt
        set_image(self, image)

    monkeypatch.setattr(ImagePredictor, "set_image", interrupted)
    err = _ends(capsys, 130, "a.png", "b.npy", "--model", "m", "--point", "1,1", "-o", "out")
    assert "1 of 2 pictures are done and kept" in err
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.json", "a.mask-001.png", "a.png"]
