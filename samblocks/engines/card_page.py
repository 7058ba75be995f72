"""A card as a page for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ccc;padding:.25rem .75rem;"
    "text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}code{word-break:break-all}"
)


def page(card: Mapping[str, Any]) -> str:
    """The page; it needs nothing from elsewhere."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Mapping[str, Any]) -> Iterator[str]:
    title = f"Parity card: {card['kind']}, {card['precision']}"
    yield "<!doctype html>"
    yield f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
    yield f"<body><h1>{escape(title)}</h1>"
    yield "<p>R is the error of a graph over that of the original in float32, both against the original in float64: "
    yield "1 means as precise, 2 is the bound in float32. Where R was above it, the geometric mean over "
    yield "further draws of the inputs is judged.</p>"
    facts = {
        "model": card["model"],
        "weights": card["weights"],
        "made by": card["command"],
        "repeat": card["repeat"],
    }
    facts |= {f"{name}, version": number for name, number in card["versions"].items()}
    yield "<table>"
    for name, value in facts.items():
        yield f"<tr><th>{escape(name)}</th><td><code>{escape(str(value))}</code></td></tr>"
    yield "</table><table><tr><th>graph</th><th>output</th><th>sample</th><th>R</th><th>largest difference</th>"
    yield "<th>pixels flipped</th><th>beyond rounding</th></tr>"
    for row in card["rows"]:
        flipped, beyond = (
            (f"{row['flipped']} of {row['pixels']}", row["beyond"]) if "pixels" in row else ("", "")
        )
        over = f" over {row['draws']} draws ({row['first']:.3g} in the first)" if "first" in row else ""
        yield (
            f"<tr><td>{escape(row['graph'])}</td><td>{escape(row['output'])}</td><td class=n>{row['sample']}</td>"
            f"<td class=n>{row['ratio']:.3g}{over}</td><td class=n>{row['largest']:.1e}</td>"
            f"<td class=n>{flipped}</td><td class=n>{beyond}</td></tr>"
        )
    yield "</table>"
    video = card.get("video")
    if video:
        first = video["first_frame_that_differs"]
        yield f"<h2>Video</h2><p>{video['frames']} frames, {video['objects']} objects. First frame on which a pixel "
        yield f"differs: {'none' if first is None else first}.</p>{_curve(video['curve'])}"
        yield "<table><tr><th>frame</th><th>largest difference</th>"
        yield "<th>pixels flipped</th><th>mean IoU</th></tr>"
        for row in video["curve"]:
            yield (
                f"<tr><td class=n>{row['frame']}</td><td class=n>{row['largest']:.1e}</td>"
                f"<td class=n>{row['flipped']}</td><td class=n>{row['iou']:.4f}</td></tr>"
            )
        yield "</table>"
    yield "<table><tr><th>file</th><th>sha256</th></tr>"
    for name, digest in card["files"].items():
        yield f"<tr><td>{escape(name)}</td><td><code>{escape(digest)}</code></td></tr>"
    yield "</table></body></html>"


def _curve(rows: Sequence[Mapping[str, Any]]) -> str:
    """The largest difference of each frame as a line, from 1e-8 at the bottom to 100 at the top."""
    width, height, tens = 800, 200, 10
    found = [row["largest"] if math.isfinite(row["largest"]) else 10.0**tens for row in rows]
    places = [math.log10(max(largest, 1e-8)) + 8 for largest in found]
    step = width / max(len(rows) - 1, 1)
    line = " ".join(f"{step * n:.1f},{height * (1 - min(y, tens) / tens):.1f}" for n, y in enumerate(places))
    marks = "".join(
        f'<text x=2 y={height * (1 - n / tens):.0f}>1e{n - 8}</text><path stroke="#ddd" d="M0 '
        f'{height * (1 - n / tens):.0f}h{width}"/>'
        for n in range(2, tens, 2)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" font-size=10 role=img aria-label="largest difference by frame">{marks}'
        f'<polyline fill=none stroke="#05c" points="{line}"/></svg>'
    )
