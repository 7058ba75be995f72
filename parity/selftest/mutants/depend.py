"""Which blocks rest on a file: derived from the imports of samblocks."""

import ast
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from parity.package import ROOT


def dependents(module: str, blocks: Iterable[str]) -> list[str]:
    """Those of `blocks` whose code imports a module, directly or through others, the nearest first."""
    reached = {block: distance for block in blocks if (distance := _distances(block).get(module)) is not None}
    return sorted(reached, key=lambda block: (reached[block], block))


@cache
def _distances(block: str) -> dict[str, int]:
    """Modules that a block's code imports, with the number of steps."""
    home = _homes().get(block)
    found: dict[str, int] = {}
    border = [home] if home else []
    distance = 0
    while border:
        for name in border:
            found.setdefault(name, distance)
        border = [near for name in border for near in _imports(name) if near not in found]
        distance += 1
    return found


@cache
def _homes() -> dict[str, str]:
    """Where each public class and function of samblocks is defined."""
    homes: dict[str, str] = {}
    for floor in ("models", "blocks", "ops"):
        for file in sorted((ROOT / "samblocks" / floor).rglob("*.py")):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    # TinyViT's parts share names with blocks, which come later and win.
                    homes[node.name] = _module(file)
    return homes


@cache
def _imports(module: str) -> Sequence[str]:
    """Modules of samblocks that one imports by name."""
    file = ROOT / (module.replace(".", "/") + ".py")
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("samblocks."):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                home = _homes().get(alias.name, str(node.module))
                found.append(inner if (ROOT / (inner.replace(".", "/") + ".py")).exists() else home)
    return [name for name in found if (ROOT / (name.replace(".", "/") + ".py")).exists()]


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)
