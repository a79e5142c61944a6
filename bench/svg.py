"""Small line charts as SVG, readable on light and dark ground: a few kilobytes each, no program needed to make them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 210, 40, 48
COLOURS = ("#7f7f7f", "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#8c564b")


@dataclass(frozen=True, slots=True)
class Line:
    """One named line; x values rise."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Where values lie between the ends, and what is written at ticks."""

    label: str
    ticks: Sequence[float]
    place: Callable[[float], float]
    """A value's place: 0 at the first tick, 1 at the last."""
    text: Callable[[float], str] = lambda value: f"{value:g}"


def log_axis(label: str, values: Sequence[float]) -> Axis:
    """Powers of ten (and their halves where there is room) around the values, which are above 0."""
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    high = max(high, low + 1)
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [step * 10.0**power for power in range(low, high) for step in steps] + [10.0**high]
    span = high - low
    return Axis(label=label, ticks=ticks, place=lambda value: (math.log10(value) - low) / span, text=short)


def linear_axis(label: str, values: Sequence[float]) -> Axis:
    """From 0 to a round number above the values."""
    top = max(values) or 1.0
    step = 10.0 ** math.floor(math.log10(top))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if top / (step * part) <= 6)
    end = math.ceil(top / step - 1e-9) * step
    count = round(end / step)
    return Axis(label=label, ticks=[step * n for n in range(count + 1)], place=lambda value: value / end, text=short)


def tail_axis(label: str, most: float = 99.99) -> Axis:
    """Percentiles, each nine as wide as the one before it."""
    ticks = [share for share in (0, 50, 90, 99, 99.9, 99.99, 99.999) if share <= most]
    span = math.log10(100 / (100 - ticks[-1]))
    return Axis(label=label, ticks=ticks, place=lambda share: math.log10(100 / (100 - share)) / span)


def short(value: float) -> str:
    """1500 as 1.5k."""
    for size, mark in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{mark}"
    return f"{value:g}"


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """The picture."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(value: float, axis: Axis, begin: float, length: float) -> float:
        return round(begin + length * axis.place(value), 1)

    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12" fill="#555">',
        "<style>@media(prefers-color-scheme:dark){svg{fill:#bbb}}</style>",
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="600">{escape(title)}</text>',
        '<g stroke="#999" stroke-opacity=".35">',
    ]
    for tick in x.ticks:
        place = at(tick, x, LEFT, wide)
        parts.append(f'<path d="M{place} {TOP}V{TOP + high}"/>')
    for tick in y.ticks:
        place = at(tick, y, TOP + high, -high)
        parts.append(f'<path d="M{LEFT} {place}H{LEFT + wide}"/>')
    parts.append("</g>")
    parts += [_text(at(tick, x, LEFT, wide), TOP + high + 16, "middle", x.text(tick)) for tick in x.ticks]
    parts += [_text(LEFT - 6, at(tick, y, TOP + high, -high) + 4, "end", y.text(tick)) for tick in y.ticks]
    parts.append(f'<text x="{LEFT + wide / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x.label)}</text>')
    parts.append(
        f'<text x="14" y="{TOP + high / 2}" text-anchor="middle" transform="rotate(-90 14 {TOP + high / 2})">'
        f"{escape(y.label)}</text>"
    )
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [(at(a, x, LEFT, wide), at(b, y, TOP + high, -high)) for a, b in line.points]
        path = "L".join(f"{a} {b}" for a, b in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{a}" cy="{b}" r="2.5" fill="{colour}"/>' for a, b in places]
        row = TOP + 12 + 18 * number
        parts.append(f'<path d="M{LEFT + wide + 12} {row - 4}h16" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + wide + 34}" y="{row}">{escape(line.name)}</text>')
    return "".join([*parts, "</svg>\n"])


def _text(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
