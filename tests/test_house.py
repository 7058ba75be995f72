"""What linters do not know: how long files may be, what may be imported, what must not be said."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("samblocks/**/*.py"), *ROOT.glob("parity/**/*.py")])
TESTS = sorted(ROOT.glob("tests/**/*.py"))
UPSTREAM = {
    "ultralytics",
    "sam2",
    "segment_anything",
    "transformers",
    "timm",
    "torchvision",
    "hydra",
    "mobile_sam",
}
LONGEST = 400


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module or ""


def test_there_are_sources() -> None:
    assert len(SOURCES) > 40


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_file_holds_one_idea(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{_name(path)} has {lines} lines; the limit is {LONGEST}: split it by idea"


def test_upstream_is_imported_by_the_reference_workers_alone() -> None:
    guilty = [
        f"{_name(path)} imports {module}"
        for path in SOURCES
        if not _name(path).startswith("parity/references/")
        for module in _imports(path)
        if module.split(".")[0] in UPSTREAM
    ]
    assert not guilty


def test_cases_import_neither_side() -> None:
    guilty = [
        f"{_name(path)} imports {module}"
        for path in sorted((ROOT / "parity" / "cases").glob("*.py"))
        for module in _imports(path)
        if module.split(".")[0] in UPSTREAM | {"samblocks"}
    ]
    assert not guilty


def test_huggingface_hub_is_imported_only_where_something_is_downloaded() -> None:
    top_level = [
        _name(path)
        for path in SOURCES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "huggingface_hub" in ast.unparse(node)
    ]
    assert not top_level


def test_import_samblocks_imports_nothing_beyond_its_dependencies() -> None:
    code = (
        "import sys, torch, numpy, safetensors.torch\n"
        "before = {name.split('.')[0] for name in sys.modules}\n"
        "import samblocks, samblocks.blocks, samblocks.models\n"
        "import samblocks.layouts, samblocks.checkpoints, samblocks.predict, samblocks.cli\n"
        "after = {name.split('.')[0] for name in sys.modules}\n"
        "print(*sorted(after - before - set(sys.stdlib_module_names)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["samblocks"]


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=_name)
def test_no_unfinished_work_is_called_done(path: Path) -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    with path.open("rb") as file:
        comments = [
            token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT
        ]
    assert not [comment for comment in comments if marks.search(comment)]


def test_public_blocks_and_models_say_where_they_come_from() -> None:
    from samblocks import blocks, models

    silent = []
    for package in (blocks, models):
        for name in package.__all__:
            member = getattr(package, name)
            if isinstance(member, type) and member.__module__.startswith("samblocks"):
                doc = member.__doc__ or ""
                if (
                    "Upstream:" not in doc
                    and "Paper:" not in doc
                    and not hasattr(member, "__dataclass_fields__")
                ):
                    silent.append(name)
    assert not silent


PUBLIC_MODULES = (
    "samblocks",
    "samblocks.blocks",
    "samblocks.models",
    "samblocks.models.variants",
    "parity",
    "parity.fill",
    "parity.checking",
)


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_what_is_public_can_be_imported(module: str) -> None:
    package = importlib.import_module(module)
    assert package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


def test_parts_are_attributes_of_what_they_are_in() -> None:
    code = "import samblocks as s; s.models.SAM2Model; s.blocks.MLP; s.predict.SamPredictor; s.swap"
    subprocess.run([sys.executable, "-c", code], check=True)


def _targets() -> list[str]:
    return re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_command_of_the_makefile_is_phony() -> None:
    # A file of a target's name would otherwise make the target do nothing, without a word.
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = _targets()
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert len(targets) > 10
    assert sorted(" ".join(phony).split()) == sorted(targets)


GUIDES = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md"),
    *sorted(_name(path) for path in ROOT.glob("docs/decisions/*.md")),
)


@pytest.mark.parametrize("guide", GUIDES)
def test_guides_name_what_exists(guide: str) -> None:
    text = (ROOT / guide).read_text(encoding="utf-8")
    named = re.findall(r"`((?:samblocks|parity|tests|docs)/[\w./-]*\w)`", text)
    assert [path for path in named if not (ROOT / path).exists()] == []
    links = [link for link in re.findall(r"\]\(([\w./-]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if not (ROOT / guide).parent.joinpath(link).exists()] == []
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= set(_targets())


def test_what_runs_the_checks_knows_only_the_makefile() -> None:
    files = [ROOT / ".pre-commit-config.yaml", *sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    commands = [
        command
        for file in files
        for command in re.findall(r"(?<!_)(?:run|entry): (.+)", file.read_text(encoding="utf-8"))
    ]
    assert commands
    assert set(commands) <= {".ci/run", *(f"make {target}" for target in _targets())}


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in SOURCES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    imports = {name: set(_imported_modules(path, modules)) - {name} for name, path in modules.items()}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names them


def _imported_modules(path: Path, modules: dict[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & modules.keys() or {node.module or ""} & modules.keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & modules.keys()
