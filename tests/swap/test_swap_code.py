"""A class of another library is known by what its code does, not by its name or its spelling."""

import functools
import importlib
import itertools
import json
import shutil
import subprocess
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hosts import picture, pipeline

import samblocks
from samblocks import swap_blocks
from samblocks.cli import main
from samblocks.swap import known_code
from samblocks.swap.catalog import CATALOG, qualified
from samblocks.swap.code_digest import class_digest
from samblocks.swap.code_form import SourceMissing

SOURCE = '''
import math
from functools import partial, wraps
from . import helpers
from .helpers import half
EPS = 1e-6
SIZES = [n * 2 for n in (1, 2)]


def scaled(values, by=2.0):
    """Multiply."""
    total = [value * by for value in values]
    return total


def ordered(function):
    @wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Base:
    limit = 3

    def finish(self, x):
        return x + EPS


class Layer(Base):
    """What it is."""

    name_of_it = "layer"

    def __init__(self, width: int = 4) -> None:
        """Make it."""
        self.width: int = width
        self.act = partial(math.pow, 2)

    @ordered
    def forward(self, x, *rest, flag=False, **more):
        """Run it."""
        if not x:
            raise ValueError(f"x must not be empty, got {x!r}")
        assert len(x) < 100, "too many"
        y = scaled(x)
        for index, value in enumerate(y):
            y[index] = self._step(value) if flag else helpers.whole(value)
        largest = lambda pair: pair[1] * half(SIZES[0])
        with open(__file__) as handle:
            first = handle.readline()
        return [self.finish(one) for one in y], max(enumerate(y), key=largest), f"{self.width:>{2}}" "!", first

    def _step(self, value):
        again = (lambda n: n if n < 1 else self._step(n - 1))
        return again(value)

    @property
    def size(self):
        return self.width

    @staticmethod
    def depth(of):
        return 1 if of is None else 1 + Layer.depth(of)
'''

HELPERS = """
def half(x):
    return x / 2


def whole(x):
    return half(x) * 2
"""

SIZE = """    @property
    def size(self):
        return self.width

"""
SAME = {
    "docstrings": [('"""Run it."""', '"""Something else."""'), ('"""Multiply."""\n', '"""Other."""\n')],
    "annotations": [
        ("x, *rest", "x: list, *rest"), ("width: int = 4) -> None", "width=4)"), ("self.width: int", "self.width"),
    ],
    "locals": [
        ("y = scaled(x)", "zz = scaled(x)"), ("enumerate(y)", "enumerate(zz)"), ("y[index]", "zz[place]"),
        ("for index,", "for place,"), ("one in y", "each in zz"), ("self.finish(one)", "self.finish(each)"),
        ("again", "once_more"), ("total", "found"), ("pair", "two"), ("as handle", "as file"), ("handle.", "file."),
        ("lambda n: n if n < 1 else self._step(n - 1)", "lambda m: m if m < 1 else self._step(m - 1)"),
    ],
    "formatting": [("helpers.whole(value)", "(helpers\n            .whole(value))"), ("value * by", "value*by")],
    "messages": [("must not be empty, got", "is empty:"), ('"too many"', '"more than that"')],
    "comments": [("return total", "return total  # as it is")],
    "order": [(SIZE, ""), ("    def _step", f"{SIZE}    def _step")],
    "what a function is called": [("scaled(", "times(")],
    "a helper that nobody calls": [("class Base", "def unused():\n    return 1\n\n\nclass Base")],
}  # fmt: skip
OTHER = {
    "a number": [("index, value in enumerate(y)", "index, value in enumerate(y, 1)")],
    "an operator": [("x + EPS", "x - EPS")],
    "a default": [("flag=False", "flag=True")],
    "an argument's name": [("flag", "flagged")],
    "a function that is called": [("value * by", "value + by")],
    "one that this one calls": [("x / 2", "x / 3")],
    "a number elsewhere": [("1e-6", "1e-5")],
    "a table elsewhere": [("n * 2", "n * 3")],
    "a base": [("limit = 3", "limit = 4")],
    "a decorator": [("    @ordered\n", "")],
    "what is returned": [("return again(value)", "return again(value), 0")],
    "a method more": [("    def _step", "    def more(self):\n        return 0\n\n    def _step")],
    "a method less": [(SIZE, "")],
    "a constructor": [("self.width: int = width", "self.width: int = 2 * width")],
    "which error": [("raise ValueError", "raise TypeError")],
    "what is imported": [("from .helpers import half", "from math import sqrt as half")],
    "a condition": [("len(x) < 100", "len(x) < 99")],
}  # fmt: skip


_numbers = itertools.count()


@pytest.fixture
def layer(tmp_path, monkeypatch):
    """The class `Layer` of a package of its own, with text replaced in both files."""
    monkeypatch.syspath_prepend(tmp_path)

    def read(changes=()):
        name = f"library{next(_numbers)}"
        texts = {"helpers": HELPERS, "layers": SOURCE}
        for old, new in changes:
            assert any(old in text for text in texts.values()), old
            texts = {file: text.replace(old, new) for file, text in texts.items()}
        (tmp_path / name).mkdir()
        for file, text in {**texts, "__init__": ""}.items():
            (tmp_path / name / f"{file}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(f"{name}.layers").Layer

    return read


@pytest.mark.parametrize("change", SAME)
def test_spelling_does_not_count(layer, change):
    assert class_digest(layer(SAME[change])) == class_digest(layer())


@pytest.mark.parametrize("change", OTHER)
def test_what_it_does_counts(layer, change):
    assert class_digest(layer(OTHER[change])) != class_digest(layer())


def test_local_names_are_told_apart(layer):
    changes = [("one) for one in y]", "one) for one in x]")]
    assert class_digest(layer(changes)) != class_digest(layer())


def test_what_is_wrapped_around_a_method_later_counts(layer, monkeypatch):
    kind = layer()
    plain = class_digest(kind)

    @functools.wraps(kind._step)
    def patched(self, value):
        return 2 * kind._step.__wrapped__(self, value)

    monkeypatch.setattr(kind, "_step", patched)
    assert class_digest(kind) != plain


def test_a_module_that_takes_the_place_of_another_counts(layer, monkeypatch):
    kind = layer()
    digest = class_digest(kind)
    other = types.ModuleType("another")
    other.pow = lambda x, y: 0.0  # type: ignore[attr-defined]
    monkeypatch.setitem(kind.__init__.__globals__, "math", other)
    assert class_digest(kind) != digest
    monkeypatch.undo()
    assert class_digest(kind) == digest


def test_a_class_without_source():
    made: dict[str, Any] = {}
    exec("class Made:\n    def forward(self, x):\n        return x\n", {"__name__": "made"}, made)
    with pytest.raises(SourceMissing, match=r"source of Made\.forward cannot be read"):
        class_digest(made["Made"])


ELSEWHERE = """
import sys, types
for name in ("samblocks", "samblocks.swap"):
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
sys.path.insert(0, sys.argv[2])
from samblocks.swap.code_digest import class_digest
from importlib import import_module
print(class_digest(import_module(sys.argv[3]).Layer))
"""


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_version_of_python_gives_the_same_digest(layer, tmp_path, version):
    found = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    works = [
        one for one in found if one and not subprocess.run([one, "--version"], capture_output=True).returncode
    ]
    if not works:
        pytest.skip(f"there is no Python {version} here")
    kind = layer()
    root = str(Path(samblocks.__file__).parents[1])
    given = [works[0], "-c", ELSEWHERE, root, str(tmp_path), kind.__module__]
    done = subprocess.run(given, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == class_digest(kind)


@pytest.fixture
def unproven(monkeypatch):
    """Only what the file says is known: no stand-in is."""
    monkeypatch.setattr(known_code, "known", lambda: json.loads(known_code.PATH.read_text())["classes"])


@pytest.mark.usefixtures("unproven")
def test_unknown_code_is_kept_unless_names_are_trusted():
    model = pipeline()
    with torch.no_grad():
        before = model(picture())
    report = swap_blocks(model)
    assert not report.swapped
    reasons = {row.path: row.reason for row in report.kept}
    assert reasons["fuser"].startswith(
        "its code is not that of ultralytics.models.sam.modules.blocks.Fuser in ultralytics "
    )
    assert 'trust="names"' in reasons["fuser"]
    report = swap_blocks(model, trust="names")
    assert [row.path for row in report.swapped] == ["fuser", "norm", "decoder", "memory"]
    with torch.no_grad():
        assert torch.equal(model(picture()), before)
    assert report.verify(picture())
    with pytest.raises(ValueError, match="trust must be one of code, names, got 'me'"):
        swap_blocks(model, trust="me")  # type: ignore[arg-type]


def test_what_is_not_changed_in_a_fork_is_swapped(monkeypatch):
    model = pipeline()
    proven = known_code.known()
    changed = qualified(type(model.decoder.layers[0]))
    monkeypatch.setattr(
        known_code, "known", lambda: {name: {} if name == changed else proven[name] for name in proven}
    )
    report = swap_blocks(model)
    paths = {row.path for row in report.swapped}
    assert {"fuser", "decoder.layers.0.self_attn", "decoder.final_attn_token_to_image"} <= paths
    reasons = {row.path: row.reason for row in report.kept}
    assert reasons["decoder"] == "it holds layers.0 and 1 more, which must stay"
    assert reasons["decoder.layers.1"].startswith(f"its code is not that of {changed} in any version")


@pytest.mark.usefixtures("unproven")
def test_swap_plan_trusts_names_when_it_is_told_to(capsys):
    assert main(["swap-plan", "fake_hosts:pipeline"]) == 1
    assert main(["swap-plan", "fake_hosts:pipeline", "--trust", "names"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 would be swapped, 0 kept"


def test_the_file_knows_every_class_of_the_catalogue():
    classes = json.loads(known_code.PATH.read_text())["classes"]
    assert set(CATALOG) <= set(classes)
    assert all(digests and all(digests.values()) for digests in classes.values())


def test_versions_are_added():
    first = known_code.recorded({}, {"b.B": "2", "a.A": "1"}, "a 1.0")
    assert first == {"schema": 1, "classes": {"a.A": {"1": ["a 1.0"]}, "b.B": {"2": ["a 1.0"]}}}
    assert list(first["classes"]) == ["a.A", "b.B"]
    second = known_code.recorded(first, {"a.A": "1", "b.B": "3"}, "a 1.1")
    assert second["classes"] == {"a.A": {"1": ["a 1.0", "a 1.1"]}, "b.B": {"2": ["a 1.0"], "3": ["a 1.1"]}}
    assert first["classes"]["b.B"] == {"2": ["a 1.0"]}
    assert known_code.recorded(second, {"a.A": "1"}, "a 1.1") == second
