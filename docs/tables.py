"""Write `tables.md`: released models, layouts and cousins, from the code. `python docs/tables.py` prints it."""

import re

from samblocks.layouts import cousins
from samblocks.layouts.tables import classes_of, variants_of
from samblocks.variants import LAYOUTS, VARIANTS


def _held(layout: str, variant: str) -> str:
    """How a layout holds a variant: by which of its library's classes, if it has several."""
    row = VARIANTS[variant]
    if row not in variants_of(layout):
        return ""
    return ", ".join(name or "yes" for name in classes_of(layout, row))


def example(pattern: str) -> str:
    """A name that a pattern matches: of alternatives the first, of what may be anything three dots."""
    chosen = re.sub(r"\(\?:([^|)]*)[^)]*\)", r"\1", pattern.removeprefix(r"(?:.*\.)?"))
    return re.sub(
        r"\\(.)|\.[*+]", lambda found: {"d": "0", "b": ".", None: "…"}.get(found[1], found[1]), chosen
    )


def page() -> str:
    """The page, in Markdown."""
    lines = [
        "# Layouts, variants and cousins",
        "",
        "Made from the code by `docs/tables.py`; `make docs` writes it.",
        "",
        "## Which layout holds which released model",
        "",
        f"| variant | {' | '.join(LAYOUTS)} |",
        "|---|" + "---|" * len(LAYOUTS),
    ]
    for variant in VARIANTS:
        lines.append(f"| `{variant}` | {' | '.join(_held(layout, variant) for layout in LAYOUTS)} |")
    lines += [
        "",
        "timm holds the image encoder's part of SAM, transformers' `Sam2Model` the image half of SAM 2:",
        "`samblocks convert` asks for `--drop` there and lists what goes.",
        "",
        "## Models that come from SAM and SAM 2",
        "",
        "| model | told by | what becomes of it |",
        "|---|---|---|",
    ]
    for model, pattern in cousins._OWN:
        lines.append(f"| {model} | names like `{example(pattern)}` | refused, by name |")
    lines.append("| EfficientTAM | a SAM 2 whose trunk is a plain ViT | refused, by name |")
    for variant, text in cousins._SAME.items():
        lines.append(f"| {text.split(' has ')[0]} | the tensors of `{variant}` | loads; {text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
