"""Charts as SVG, in the text of a page or a file of their own: bars on a scale of factors, and lines on two of them."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = (
    "#0b6e4f",
    "#c1121f",
    "#3a6ea5",
    "#e09f3e",
    "#6d597a",
    "#7f8c2a",
    "#b56576",
    "#457b9d",
    "#8d6e63",
    "#555555",
)
_STYLE = "font-family:system-ui,sans-serif;font-size:12px"


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: what its tooltip says.
        value: where it ends.
        colour: index into `COLOURS`.
    """

    label: str
    value: float
    colour: int


@dataclass(frozen=True)
class Line:
    """One line through points."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int


def bars(
    title: str, groups: Sequence[tuple[str, Sequence[Bar]]], legend: Sequence[tuple[str, int]], unit: str
) -> str:
    """Groups of horizontal bars from 1 to their values, on a logarithmic scale: what is below 1 goes to the left."""
    left = 24 + 7 * max(len(name) for name, _ in groups)  # the width of a letter
    right, thick, gap = left + 450, 11, 9
    values = [bar.value for _, group in groups for bar in group if bar.value > 0]
    low, high = min([*values, 0.8]) / 1.1, max([*values, 1.25]) * 1.15

    def x(value: float) -> float:
        return left + (right - left) * math.log(value / low) / math.log(high / low)

    rows, top = len(legend), 44
    parts, y = [], top + 18 * (-(-rows // 3)) + 8
    start = y
    for name, group in groups:
        middle = y + len(group) * thick / 2 + 4
        parts.append(f'<text x="{left - 8}" y="{middle:.1f}" text-anchor="end">{html.escape(name)}</text>')
        for bar in group:
            ends = sorted((x(1.0), x(max(bar.value, low))))
            parts.append(
                f'<rect x="{ends[0]:.1f}" y="{y}" width="{max(ends[1] - ends[0], 0.5):.1f}" height="{thick - 2}" '
                f'fill="{COLOURS[bar.colour % len(COLOURS)]}"><title>{html.escape(bar.label)}</title></rect>'
                f'<text x="{ends[1] + 3:.1f}" y="{y + 8}" style="font-size:9px">{bar.value:.2f}</text>'
            )
            y += thick
        y += gap
    for tick in _ticks(low, high):
        place, wide = x(tick), 1.5 if tick == 1 else 0.4
        parts.insert(
            0,
            f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{start - 4}" y2="{y}" stroke="#888" stroke-width="{wide}"/>'
            f'<text x="{place:.1f}" y="{y + 14}" text-anchor="middle">{tick:g}{unit}</text>',
        )
    return _framed(title, [*_legend(legend, top), *parts], right + 60, y + 24)


def lines(title: str, across: str, along: str, drawn: Sequence[Line]) -> str:
    """Lines on two logarithmic scales."""
    left, right, top, bottom = 70, 520, 44 + 18 * (-(-len(drawn) // 3)) + 8, 0
    bottom = top + 240
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys) / 1.2, max(ys) * 1.2

    def place(x: float, y: float) -> tuple[float, float]:
        across_share = math.log(x / x_low) / max(math.log(x_high / x_low), 1e-9)
        return (
            left + (right - left) * across_share,
            bottom - (bottom - top) * math.log(y / y_low) / math.log(y_high / y_low),
        )

    parts = [
        f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="none" stroke="#888"/>'
    ]
    for value in sorted(set(xs)):
        parts.append(
            f'<text x="{place(value, y_low)[0]:.1f}" y="{bottom + 15}" text-anchor="middle">{value:g}</text>'
        )
    for tick in _ticks(y_low, y_high):
        y = place(x_low, tick)[1]
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
    for line in drawn:
        spots = [place(*point) for point in line.points]
        colour = COLOURS[line.colour % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">'
            f"<title>{html.escape(line.label)}: {value:.3g}</title></circle>"
            for (x, y), (_, value) in zip(spots, line.points, strict=True)
        ]
    parts.append(
        f'<text x="{(left + right) / 2}" y="{bottom + 32}" text-anchor="middle">{html.escape(across)}</text>'
    )
    parts.append(f'<text x="{left}" y="{top - 5}">{html.escape(along)}</text>')
    legend = [(line.label, line.colour) for line in drawn]
    return _framed(title, [*_legend(legend, 36), *parts], right + 30, bottom + 42)


def _legend(entries: Sequence[tuple[str, int]], top: int) -> list[str]:
    found = []
    for number, (name, colour) in enumerate(entries):
        x, y = 16 + 235 * (number % 3), top + 18 * (number // 3)
        found.append(
            f'<rect x="{x}" y="{y - 9}" width="10" height="10" fill="{COLOURS[colour % len(COLOURS)]}"/>'
            f'<text x="{x + 15}" y="{y}">{html.escape(name)}</text>'
        )
    return found


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high]


def _framed(title: str, parts: Sequence[str], width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" style="{_STYLE}"><title>{html.escape(title)}</title>'
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="16" y="20" style="font-weight:600;font-size:14px">{html.escape(title)}</text>{"".join(parts)}</svg>'
    )
