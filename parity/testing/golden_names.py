"""Which file a golden lies in, and which test it belongs to."""

import ast
import re
from pathlib import Path

from parity.run.goldens import GoldenError
from parity.testing.golden_file import read


def file_of(folder: Path, name: str, parameters: str) -> Path:
    """The file of a golden: a name for each set of a test's parameters.

    Args:
        folder: where goldens lie.
        name: what the test calls it.
        parameters: the id of the test's parameters, "8-relu"; empty where it has none.
    """
    plain = folder / f"{name}.safetensors"
    words = re.split(r"[-_.\[\]/]", name)
    if not parameters or _within(_safe(parameters), words):
        return plain
    named = folder / f"{name}[{_safe(parameters)}].safetensors"
    return plain if not named.exists() and _has_no_owner(plain) else named


def refuse_another_tests(file: Path, test: str, root: Path) -> None:
    """Raise GoldenError where a golden that is to be recorded belongs to another test, which is still there.

    Args:
        file: where it would be written.
        test: the test that records it.
        root: the folder that tests' names are given from.
    """
    if not file.exists():
        return
    try:
        owner = str(read(file).note.get("test", ""))
    except GoldenError:  # damaged: it is recorded anew
        return
    if owner and owner != test and _is_there(owner, root):
        raise GoldenError(
            f"golden {file.stem!r} is already recorded by another test: {owner} and {test} would overwrite each "
            "other's; give each a name of its own"
        )


def _has_no_owner(file: Path) -> bool:
    """Whether a golden is there that was recorded before goldens named their test."""
    try:
        return "test" not in read(file).note
    except GoldenError:
        return False


def _is_there(test: str, root: Path) -> bool:
    """Whether a test's function is still in its file."""
    path, _, rest = test.partition("::")
    function = rest.split("::")[-1].partition("[")[0]
    try:
        tree = ast.parse((root / path).read_text(encoding="utf-8"))
    except (OSError, SyntaxError):
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in ast.walk(tree))


def _within(part: str, words: list[str]) -> bool:
    """Whether a name holds the parameters already, as words of their own."""
    wanted = re.split(r"[-_.\[\]/]", part)
    return any(words[start : start + len(wanted)] == wanted for start in range(len(words)))


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+=,-]+", "_", text)
