"""`docs/lines.md`: the table is what its snippets are, ours run, and others' import what there is."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models

from samblocks.predict import loading

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("samblocks", "sam2", "transformers", "Ultralytics")


def _page() -> tuple[list[list[str]], dict[tuple[str, str], str]]:
    """The table's rows, and the snippets by section and library."""
    text = (ROOT / "docs" / "lines.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    snippets = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        for library, code in re.findall(r"^(\S+)\n\n```python\n(.*?)```", section, re.MULTILINE | re.DOTALL):
            snippets[section.splitlines()[0].lower(), library] = code
    return rows, snippets


def test_the_table_counts_the_lines() -> None:
    (_, *libraries), _, *rows = _page()[0]
    snippets = _page()[1]
    assert tuple(libraries) == LIBRARIES
    assert [row[0] for row in rows] == ["one mask", "a tracked clip"]
    assert len(snippets) == 8
    for what, *counts in rows:
        for library, count in zip(libraries, counts, strict=True):
            lines = [line for line in snippets[what, library].splitlines() if line.strip()]
            assert len(lines) == int(count), (what, library)


def test_ours_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pillow = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    picture = np.random.RandomState(0).randint(0, 256, (400, 560, 3)).astype(np.uint8)
    pillow.fromarray(picture).save("photo.jpg")
    Path("clip.mp4").mkdir()  # a folder of pictures is as good as a file, and needs no PyAV
    for number in range(3):
        pillow.fromarray(np.roll(picture, number, axis=1)).save(f"clip.mp4/{number}.png")
    monkeypatch.setattr(loading, "load", lambda name, **options: small_models.tracker(present=8.0))
    found: dict[str, Any] = {}
    exec(_page()[1]["one mask", "samblocks"], found)
    assert found["masks"].shape == (3, 400, 560)
    exec(_page()[1]["a tracked clip", "samblocks"], found)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["0", "1", "2"]


@pytest.mark.live
def test_others_import_what_there_is() -> None:
    declare = (
        "from parity.references.common import torchvision_operators; torchvision_operators.declare_missing()"
    )
    python = ROOT / ".references" / "bin" / "python"
    for library in LIBRARIES[1:]:
        trees = [ast.parse(code) for (_, whose), code in _page()[1].items() if whose == library]
        imports = [
            ast.unparse(one)
            for tree in trees
            for one in tree.body
            if isinstance(one, ast.Import | ast.ImportFrom)
        ]
        script = "\n".join([declare, *imports])
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, (library, done.stderr)
