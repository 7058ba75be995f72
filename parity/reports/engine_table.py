"""The table of `parity engines` as a page."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:90rem}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:right}"
    "td:first-child,th:first-child,td:nth-child(2){text-align:left}.WITHIN{color:#176117}.DIVERGED{color:#a01616}"
)
_HEADS = (
    "model", "engine", "picture, s", "click, s", "eager's time by its", "memory, MB", "set-up, s", "R",
    "pixels flipped", "beyond rounding", "scores change", "mean IoU", "verdict",
)  # fmt: skip


def page(document: Mapping[str, Any]) -> str:
    """The page; it needs nothing from elsewhere."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Engines beside eager</title>'
    yield f"<style>{_STYLE}</style></head><body><h1>Engines beside eager</h1>"
    facts = ", ".join(f"{name} {value}" for name, value in document["environment"].items())
    yield f"<p>{escape(facts)}; {len(document['pictures'])} picture(s).</p>"
    yield "<p>R is the error against float64 over that of eager float32. In float32 an R of at most 2 holds where no "
    yield "pixel flips beyond rounding; in lower precisions a mean IoU of 0.95 with float32.</p>"
    yield f"<table><tr>{''.join(f'<th>{escape(head)}</th>' for head in _HEADS)}</tr>"
    for row in document["rows"]:
        yield _row(row)
    yield "</table></body></html>"


def _row(row: Mapping[str, Any]) -> str:
    start = [row["model"], row["engine"]]
    if row["missing"]:
        names = "".join(f"<td>{escape(name)}</td>" for name in start)
        return f"<tr>{names}<td colspan=11>{escape(row['missing'])}</td></tr>"
    cells = [
        f"{row['encode']:.2f}",
        f"{row['decode']:.3f}",
        f"{row['speed']:.2f}",
        f"{row['memory'] / 1e6:.0f}",
    ]
    found, word = row["figures"], ""
    if found is not None:
        score = "-" if found["score"] is None else f"{found['score']:.1e}"
        cells += [f"{row['setup']:.0f}", f"{found['ratio']:.3g}", f"{found['flipped']} of {found['pixels']}"]
        cells += [str(found["beyond"]), score, f"{found['iou']:.4f}"]
        word = found["verdict"]
    cells += [""] * (len(_HEADS) - 3 - len(cells))
    body = "".join(f"<td>{escape(cell)}</td>" for cell in (*start, *cells))
    return f'<tr>{body}<td class="{word}">{word}</td></tr>'
