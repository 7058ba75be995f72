"""Every example runs at a small size, and what it says comes true."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import samblocks
from parity import package
from parity.workers.client import interpreter

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = {"check_my_kernel", "finetune_decoder", "lora", "swap_in_ultralytics", "track_camera"}


RUN = "import runpy, sys; sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"


def example(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> ModuleType:
    """An example as a module, with the arguments that its `main` reads."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    return module


def in_references(program: str, *arguments: str) -> str:
    """What a program prints that runs in the references' environment."""
    python = interpreter()
    if python is None:
        pytest.skip("the references' environment is missing: make references")
    start = "from parity.references.common import torchvision_operators as t; t.declare_missing()\n"
    environment = {**os.environ, "PYTHONPATH": str(package.ROOT), "YOLO_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-W", "ignore", "-c", start + program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_example_is_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


def test_a_decoder_that_is_tuned_gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = example("finetune_decoder", monkeypatch, "--steps", "16", "--side", "64").main()
    assert before < 0.3
    assert after > before + 0.1


def test_a_kernel_is_judged_and_its_bug_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = example("check_my_kernel", monkeypatch).main()
    assert right
    assert not wrong
    assert "another function" in str(wrong)


def test_a_camera_is_followed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    areas = example("track_camera", monkeypatch, "--frames", "3").main()
    assert len(areas) == 3
    assert "frame 2" in capsys.readouterr().out


@pytest.mark.live
def test_a_swap_in_ultralytics_changes_no_mask() -> None:
    said = in_references(
        "import runpy, sys\n"
        "names = runpy.run_path(sys.argv.pop(1), run_name='example')\n"
        "theirs, ours, report = names['main']()\n"
        "print('SWAPPED', len(report.swapped), 'DIFFER', int((theirs != ours).sum()), 'OF', theirs.numel())",
        str(EXAMPLES / "swap_in_ultralytics.py"),
    )
    swapped, differ, pixels = (
        int(said.split(f"{word} ")[1].split()[0]) for word in ("SWAPPED", "DIFFER", "OF")
    )
    assert swapped >= 3
    assert pixels > 10_000
    assert differ <= pixels // 1000


LOADERS = """
import sys
import torch
from parity.references.layouts import meta_names
from parity.references.transformers import released

file, folder = sys.argv[1:]
request = {"variant": "sam2.1_hiera_tiny", "model_class": "Sam2VideoModel", "save": False}
pictures = torch.load(file + ".pictures")
meta, _, _ = meta_names.sam2({**request, "file": file})
transformers, _, _ = released.make({**request, "file": folder + "/model.safetensors"})
with torch.no_grad():
    found = meta.image_encoder(pictures)["vision_features"]
    maps = transformers.vision_encoder(pictures).fpn_hidden_states
torch.save([found, *(one for one in maps if one.shape == found.shape)], file + ".found")
"""


@pytest.mark.live
def test_lora_is_merged_and_goes_into_other_loaders(tmp_path: Path) -> None:
    said = in_references(RUN, str(EXAMPLES / "lora.py"), "-o", str(tmp_path / "merged"))
    first, last = (float(figure) for figure in re.findall(r"(\S+) at (?:first|last)", said))
    assert last < first
    assert "saved and loaded: True" in said
    file = tmp_path / "merged.pt"
    pictures = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.save(pictures, f"{file}.pictures")
    in_references(LOADERS, str(file), str(tmp_path / "merged"))
    ours = samblocks.load(file, image_size=128)
    with torch.no_grad():
        expected = ours.image_encoder(pictures)["vision_features"]
    loaded = torch.load(f"{file}.found")
    assert len(loaded) == 2
    assert all(torch.allclose(expected, found, atol=1e-4) for found in loaded)
