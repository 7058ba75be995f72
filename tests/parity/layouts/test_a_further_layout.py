"""What CONTRIBUTING asks of a new layout is enough: it is registered, converts both ways, and its files are known."""

import sys
from collections.abc import Callable

import pytest

from parity.layouts import routes
from parity.verdict.compare import Verdict
from samblocks.layouts import detect, expected, key_prefix, meta_tensors, tables
from samblocks.layouts.rules import Table, only_meta, same
from samblocks.variants import LAYOUTS, VARIANTS

NAME, TINY = "trial", "sam2.1_hiera_tiny"
ENCODER = "image_encoder."

NAMES: dict[str, Callable[[str], str | None]] = {
    "one part renamed": lambda key: key.replace(ENCODER, "backbone.", 1),
    "a word in front": lambda key: f"sam.{key}",
    "other words inside": lambda key: key.replace(".norm1.", ".norm_before."),
    "one part alone": lambda key: key.removeprefix(ENCODER) if key.startswith(ENCODER) else None,
}
"""Meta's name to the new layout's; None for what it does not hold."""


@pytest.fixture
def added(monkeypatch):
    """Follow the walk with the names of a layout: its name, its table, its line in `_table`, a sample a family."""
    others = tables._table

    def add(kind: str) -> None:
        def table(layout, row, model_class, grid):
            if layout != NAME:
                return others(layout, row, model_class, grid)
            names = {key: NAMES[kind](key) for key in meta_tensors(row)}
            rules = [
                only_meta(key, "not held") if name is None else same(key, name) for key, name in names.items()
            ]
            return Table(NAME, rules)

        for module in [entry for name, entry in sys.modules.items() if name.startswith("samblocks")]:
            if hasattr(module, "LAYOUTS"):
                monkeypatch.setattr(module, "LAYOUTS", (*LAYOUTS, NAME))
        monkeypatch.setattr(tables, "_table", table)
        samples = ((NAME, "sam_vit_b"), (NAME, TINY))
        monkeypatch.setattr(key_prefix, "_SAMPLES", (*key_prefix._SAMPLES, *samples))
        _forget()

    yield add
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    key_prefix._known_names.cache_clear()
    key_prefix._patterns.cache_clear()
    tables.expected.cache_clear()


@pytest.mark.parametrize("kind", NAMES)
def test_its_files_are_its_own(added, kind):
    added(kind)
    tensors = expected(NAME, VARIANTS[TINY])
    for wrapped in ("", "run.net."):
        found = detect({wrapped + key: info for key, info in tensors.items()})
        assert (found.layout, found.prefix) == (NAME, wrapped)
        assert TINY in found.candidates
        assert found.component == ("image_encoder" if kind == "one part alone" else None)


@pytest.mark.parametrize("layout", ["meta", "transformers"])
def test_files_of_others_stay_theirs(added, layout):
    added("one part renamed")
    assert detect(expected(layout, VARIANTS[TINY])).layout == layout


def test_it_converts_both_ways(added, monkeypatch, tmp_path):
    added("one part renamed")
    monkeypatch.setattr(routes, "LAYOUTS", (NAME,))
    rows = list(routes.prove(TINY, tmp_path))
    assert [row.verdict for row in rows] == [Verdict.EXACT] * 2, [row.seen for row in rows]
    assert rows[1].seen == "471 of 471 tensors, bit for bit"
