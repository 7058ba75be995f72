"""The documentation: what it shows works, what it names exists, and nothing public is left out."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

import samblocks
from samblocks.layouts import cousins

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def commands() -> list[tuple[str, str]]:
    """Every line of a shell block, with its page."""
    lines = []
    for page in [ROOT / "README.md", *PAGES]:
        for block in blocks(page, "sh"):
            joined = block.replace("\\\n", " ")
            lines += [(page.name, line.partition(" #")[0].strip()) for line in joined.splitlines()]
    return [(page, line) for page, line in lines if line]


def test_the_guide_to_weights_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guide = DOCS / "guides" / "weights.md"
    names: dict[str, object] = {}
    for block in blocks(guide, "python"):
        exec(block, names)
    (shell,) = (block for block in blocks(guide, "sh") if "convert" in block)
    from samblocks.cli import main

    for line in shell.splitlines():
        assert main(shlex.split(line)[1:]) == 0
    assert samblocks.load("half.safetensors", dtype="file").pixel_mean is not None


@pytest.mark.parametrize("page", ["guides/ci.md", "your-own-code.md"])
def test_a_golden_is_recorded_and_judged(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.syspath_prepend(pytester.path)
    block = "import torch\nclass Block(torch.nn.Linear):\n    def __init__(self, d):\n        super().__init__(d, d)\n"
    for name in ("mine", "theirs"):
        (pytester.path / f"{name}.py").write_text(block)
    (test,) = blocks(DOCS / page, "python")
    (pytester.path / "test_block.py").write_text(test)
    for options in (["--parity-record"], []):
        pytester.runpytest_inprocess("-q", "-p", "samblocks.pytest_plugin", *options).assert_outcomes(
            passed=1
        )


def test_the_workflow_gives_the_action_what_it_takes() -> None:
    yaml = pytest.importorskip("yaml")
    (text,) = blocks(DOCS / "guides" / "ci.md", "yaml")
    steps = yaml.safe_load(text)["jobs"]["parity"]["steps"]
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    (step,) = (step for step in steps if step.get("uses", "").startswith("./"))
    assert step["with"].keys() <= inputs.keys()
    table = re.findall(r"^\| `(\w+)` \|", (DOCS / "guides" / "ci.md").read_text(), re.MULTILINE)
    assert sorted(table) == sorted(inputs)


def test_every_command_is_understood() -> None:
    from parity import commands as harness
    from samblocks.cli import commands as own

    programs = {"samblocks": own, "parity": harness}
    seen = 0
    for page, line in commands():
        words = shlex.split(line.replace("[", "").replace("]", ""))
        if words[:2] == ["python", "-m"]:
            words = words[2:]
        if words[0] == "python" and words[1].startswith("examples/"):
            assert (ROOT / words[1]).is_file(), (page, line)
        elif words[0] == "make":
            makefile = (ROOT / "Makefile").read_text()
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), (page, line)
        elif words[0] in programs:
            name = words[1].replace("-", "_")
            module = importlib.import_module(f"{programs[words[0]].__name__}.{name}")
            parser = argparse.ArgumentParser(exit_on_error=False)
            module.add(parser)
            parser.parse_args(words[2:])
        else:
            assert words[0] in ("pip", "pytest", "python", "git", "cd"), (page, line)
            continue
        seen += 1
    assert seen > 12


@pytest.mark.parametrize(
    "name", ["samblocks", "samblocks.predict", "samblocks.blocks", "samblocks.models", "parity"]
)
def test_the_reference_leaves_nothing_public_out(name: str) -> None:
    page = (DOCS / "reference" / f"{name.rpartition('.')[2]}.md").read_text()
    assert [
        public for public in importlib.import_module(name).__all__ if not re.search(rf"\b{public}\b", page)
    ] == []


def test_the_tables_say_what_the_code_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    page = importlib.import_module("tables").page()
    assert (DOCS / "tables.md").read_text(encoding="utf-8").rstrip() == page.rstrip(), (
        "python docs/tables.py > docs/tables.md"
    )
    for variant in samblocks.VARIANTS:
        assert f"| `{variant}` | yes |" in page
    assert "| EdgeTAM | names like `spatial_perceiver.…` | refused, by name |" in page
    for _, pattern in cousins._OWN:
        shown = importlib.import_module("tables").example(pattern)
        assert f"`{shown}`" in page
        assert re.fullmatch(pattern, shown.replace("…", "x")), shown
    rows = [line for line in page.splitlines() if line.startswith("| `mobile_sam`")]
    assert rows == ["| `mobile_sam` | yes | yes |  |  |  |"]


def test_the_numbers_of_crossings_are_those_of_the_code() -> None:
    from parity.commands.layouts import QUICK
    from parity.layouts.crossings import crossings
    from samblocks.layouts import LAYOUTS, classes_of, variants_of

    rows = samblocks.VARIANTS.values()
    made = 2 * sum(len(classes_of(name, row)) for name in LAYOUTS for row in rows if row in variants_of(name))
    live = 2 * sum(len(crossings(variant)) for variant in QUICK)
    for page in (ROOT / "README.md", DOCS / "layouts.md"):
        said = [int(number) for number in re.findall(r"(\d+) crossings", page.read_text(encoding="utf-8"))]
        assert said == [made, live], page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text):
        assert not link.startswith("docs/"), "links on a page start at the page"
        assert page.parent.joinpath(link).exists(), link


def test_the_navigation_names_pages_that_are_there() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2]
    named = re.findall(r"[\w/.-]+\.md", navigation)
    assert len(named) > 20
    assert [name for name in named if not (DOCS / name).exists()] == []


def test_the_readme_is_one_screen_and_its_snippet_is_the_guides() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, _, rest = readme.partition("<!-- bench: begin -->")
    assert len((before + rest.partition("<!-- bench: end -->")[2]).splitlines()) <= 80
    (snippet,) = blocks(ROOT / "README.md", "python")
    guide = "".join(blocks(DOCS / "predictors.md", "python"))
    for line in snippet.removeprefix("import samblocks\n").splitlines():
        assert line.partition("  #")[0].removeprefix("predictor = samblocks.").strip() in guide
