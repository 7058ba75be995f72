"""What the documentation tells others to do works as it stands there."""

import re
from pathlib import Path

import pytest

from parity import package
from parity.__main__ import main

DOCS = Path(__file__).parents[2] / "docs"
TEXT = {page.stem: page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}
BLOCK = "import torch\n\n\nclass Block(torch.nn.Linear):\n    def __init__(self, d):\n        super().__init__(d, d)\n"


def section(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT[page], re.DOTALL)
    assert found is not None
    return found[1]


def test_the_example_records_and_passes(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(pytester.path)
    (pytester.path / "mine.py").write_text(BLOCK)
    (pytester.path / "theirs.py").write_text(BLOCK)
    (pytester.path / "test_block.py").write_text(section("your-own-code", "python"))
    for options in (["--parity-record"], []):
        done = pytester.runpytest_inprocess("-q", "-p", "samblocks.pytest_plugin", *options)
        done.assert_outcomes(passed=1)
    (pytester.path / "mine.py").write_text(
        BLOCK + "    def forward(self, x):\n        return super().forward(x) + 1e-5\n"
    )
    done = pytester.runpytest_inprocess("-q", "-p", "samblocks.pytest_plugin")
    done.assert_outcomes(failed=1)


def test_options_that_are_named_exist() -> None:
    offered = (package.ROOT / "samblocks" / "pytest_plugin.py").read_text()
    named = set(re.findall(r"--parity-\w+", "".join(TEXT.values())))
    assert len(named) >= 4
    assert all(f'"{option}"' in offered for option in named)


def test_the_options_of_parity_run_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    named = re.search(
        r"`python -m parity run` takes (.*?),\s+and",
        TEXT["your-own-code"].replace(" and `--sarif`", ", `--sarif`"),
        re.DOTALL,
    )
    assert named is not None
    options = re.findall(r"`(--\w+)`", named[1])
    assert len(options) >= 4
    assert all(option in out for option in options)


def test_the_lines_for_a_mask_give_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from parity.execution.fill import fill_
    from samblocks.blocks import TwoWayTransformer
    from samblocks.models import ImageEncoderViT, MaskDecoder, PromptEncoder, SAMModel
    from samblocks.predict import loading
    from samblocks.predict.pictures import as_rgb

    parts = ImageEncoderViT(64, embed_dim=32, depth=1, num_heads=2, out_chans=16)
    prompts = PromptEncoder(16, (4, 4), (64, 64), 16, embed_corner_labels=False)
    model = SAMModel(parts, prompts, MaskDecoder(16, TwoWayTransformer(1, 16, num_heads=2, mlp_dim=32)))
    fill_(model)
    shown = np.tile(np.arange(600, dtype=np.uint16)[:, None, None] % 256, (1, 800, 3)).astype(np.uint8)
    monkeypatch.setattr(loading, "load", lambda name, **options: model.eval())
    monkeypatch.setattr("samblocks.predict.encoded.as_rgb", lambda image, **options: as_rgb(shown, **options))
    names: dict[str, object] = {}
    exec(section("predictors", "python"), names)
    found = names["found"]
    assert len(found) == 3  # type: ignore[arg-type]
    assert found.numpy().shape == (3, 600, 800)  # type: ignore[attr-defined]


def test_the_commands_for_a_mask_are_understood(tmp_path: Path) -> None:
    import argparse
    import shlex

    from samblocks.cli.commands import segment

    commands = [line for line in section("predictors", "sh").splitlines() if line]
    assert len(commands) == 2
    for command in commands:
        parser = argparse.ArgumentParser()
        segment.add(parser)
        asked = parser.parse_args(shlex.split(command)[2:])
        assert asked.images
        assert asked.everything or asked.point
