"""Every snippet and command of README and pages runs as it stands; a name of a model may mean a small one."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import samblocks
from parity.execution import fill
from samblocks import checkpoints
from samblocks.cli import main
from samblocks.predict import loading

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docs/**/*.md")))]

ELSEWHERE = {
    "docs/guides/ci.md": "tests/docs/test_docs.py",
    "docs/guides/swap.md": "tests/swap/live/pages.py",
    "docs/guides/weights.md": "tests/docs/test_docs.py",
    "docs/lines.md": "tests/predict/test_lines.py",
    "docs/runtimes.md": "tests/engines/test_runtimes.py",
    "docs/swapping.md": "tests/swap/live/pages.py",
    "docs/your-own-code.md": "tests/docs/test_docs.py",
}
"""Pages whose code is run by other tests, some in environments of their own."""

NEEDS = {"parquet": "pyarrow", "--everything -o masks": "pyarrow", "track": "av"}
"""By words of a command, what has to be installed for it."""

NOT_HERE = {"fetch": "tests/checkpoints/test_fetch_hub.py", "--ray": "tests/predict/test_dataset.py"}
"""By a word, commands that other tests run: they need a server, or a cluster."""

STANDS_FOR = {
    "IN": "sam2.1_hiera_tiny.pt",
    "FILE": "sam2.1_hiera_tiny.pt",
    "OUT": "out.safetensors",
    "*.jpg": "small.jpg",
    "cuda": "cpu",
}
"""What a command is given in place of a word that the reader, or a shell, replaces."""


def code(page: str, language: str = "python") -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The arguments of each command of a page that is ours."""
    joined = "".join(code(page, "sh")).replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [arguments for program, *arguments in filter(None, words) if program == "samblocks"]


def test_every_page_with_code_is_run() -> None:
    here = Path(__file__).read_text(encoding="utf-8").partition("def test_every_page")[2]
    for page in PAGES:
        if page in ELSEWHERE:
            assert Path(page).name in (ROOT / ELSEWHERE[page]).read_text(encoding="utf-8"), page
        elif code(page) or commands(page):
            assert f'"{page}"' in here, page


def run(block: str) -> dict[str, Any]:
    """The names that a snippet leaves; it is given none, as in a file of its own."""
    names: dict[str, Any] = {}
    exec(block, names)
    return names


def succeed(lines: Iterable[list[str]]) -> None:
    for arguments in lines:
        words = [STANDS_FOR.get(word, word) for word in arguments]
        line = " ".join(words)
        if any(word in words for word in NOT_HERE):
            continue
        for part, module in NEEDS.items():
            if part in line:
                pytest.importorskip(module)
        assert main(words) == 0, line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder, with the pictures, clips and archives that the pages name."""
    monkeypatch.chdir(tmp_path)
    picture = fill.integers("photo", (400, 560, 3), 0, 256).astype(np.uint8)
    Path("photos").mkdir()
    for name in ("photo.jpg", "photos/truck.jpg"):
        Image.fromarray(picture).save(name)
    Image.fromarray(picture[::10, ::10]).save("small.jpg")
    for number in range(128):
        with tarfile.open(f"train-{number:03}.tar", "w") as shard:
            if number % 100 == 0:
                shard.add("photo.jpg", f"{number}.jpg")
    Path("clip.mp4").mkdir()  # a folder of pictures is as good as a file, and needs no PyAV
    for number in range(42):
        Image.fromarray(np.roll(picture, number, axis=1)).save(f"clip.mp4/{number}.jpg")
    if find_spec("pyarrow") is not None:
        from pyarrow import parquet, table

        parquet.write_table(table({"id": ["a"], "image": [Path("photo.jpg").read_bytes()]}), "photos.parquet")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every released model is a small SAM 2."""

    def load(name: str, *, dtype: Any = None, **_: Any) -> nn.Module:
        assert name.removesuffix(".pt") in samblocks.VARIANTS
        return small_models.tracker(present=8.0).to(dtype=dtype)

    for module in (loading, checkpoints, samblocks):
        monkeypatch.setattr(module, "load", load)


@pytest.mark.usefixtures("folder", "small")
@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/predictors.md"])
def test_a_mask(page: str) -> None:
    assert run(code(page)[0])["masks"].shape == (3, 400, 560)
    succeed(commands(page))


@pytest.mark.usefixtures("folder", "small")
def test_a_data_set() -> None:
    first, *rest = commands("docs/data-sets.md")
    succeed([first])
    assert run(code("docs/data-sets.md")[0])["masks"].shape == (3, 400, 560)
    shutil.copy("small.jpg", "photos/truck.jpg")  # of which everything is found sooner
    for line in rest:
        shutil.rmtree("embeddings", ignore_errors=True)  # each command stands for itself
        succeed([line])


@pytest.mark.usefixtures("folder", "small")
def test_a_clip() -> None:
    page = "docs/video.md"
    assert run(code(page)[0])["state"].stale_frames() == [41]
    succeed(commands(page))


def test_single_blocks() -> None:
    (block,) = code("docs/blocks.md")
    call, _, shape = block.splitlines()[-1].partition("  # ")
    assert list(eval(call, run(block))) == json.loads(shape)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole `sam2.1_hiera_tiny`."""
    folder = tmp_path_factory.mktemp("released")
    samblocks.save(fill.fill_(samblocks.build("sam2.1_hiera_tiny")), folder / "sam2.1_hiera_tiny.pt")
    return folder


def test_files(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(released)
    os.link("sam2.1_hiera_tiny.pt", "finetune.pt")
    model = samblocks.load("finetune.pt")
    state = model.state_dict()
    torch.save({"net": {"step": torch.ones(1)}, "net_ema": state}, "run.pt")
    save_file(state | {"language.weight": torch.ones(2)}, "a_larger_model.safetensors")
    Path("folder_of_transformers").mkdir()
    Path("folder_of_transformers/config.json").write_text('{"model_type": "sam2_video"}')
    samblocks.save(model, "folder_of_transformers/model.safetensors", layout="transformers")
    (block,) = code("docs/loading.md")
    names = run(block)
    assert names["wide"].sam_prompt_encoder.input_image_size == (512, 1024)
    assert torch.equal(names["ema"].maskmem_tpos_enc, state["maskmem_tpos_enc"])


def test_commands_on_files(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(released)
    succeed(commands("docs/command-line.md"))
    assert checkpoints.inspect("out.safetensors").layout == "transformers"


def test_a_model_on_several_devices(released: Path) -> None:
    """On one processor, by one process, where the page has eight."""
    block = code("docs/data-sets.md")[1].replace('"cuda", (8,)', '"cpu", (1,)').replace("large", "tiny")
    meet = f"dist.init_process_group('gloo', init_method='file://{released}/meeting', rank=0, world_size=1)"
    script = f"import torch.distributed as dist\n{meet}\n{block}\ndist.destroy_process_group()"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], cwd=released, env=environment, check=True)
    assert checkpoints.inspect(released / "model.safetensors").layout == "transformers"
