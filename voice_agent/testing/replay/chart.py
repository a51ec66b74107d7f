"""A small line chart as SVG, readable on light and dark pages. No library: two axes, lines, points, a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 56
COLOURS = ("#d1495b", "#2e86ab", "#8a8d91", "#5b9a57")
STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.grid { stroke: #8884; stroke-width: 1 }
.axis { stroke: #888; stroke-width: 1 }
.small { font-size: 11px }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>"""


@dataclass(frozen=True, slots=True)
class Series:
    """A line of points (x, y, label)."""

    name: str
    points: tuple[tuple[float, float, str], ...]


def svg(title: str, x_name: str, y_name: str, series: Sequence[Series]) -> str:
    """The chart; both axes begin at 0."""
    xs = [x for s in series for x, _, _ in s.points] or [1.0]
    ys = [y for s in series for _, y, _ in s.points] or [1.0]
    x_step, y_step = _step(max(xs)), _step(max(*ys, 1.0))
    x_top, y_top = _top(max(xs), x_step), _top(max(*ys, 1.0), y_step)

    def px(x: float) -> float:
        return LEFT + x / x_top * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - y / y_top * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    out += [f"<title>{escape(title)}</title>", STYLE, f'<text x="{LEFT}" y="22">{escape(title)}</text>']
    for i in range(round(x_top / x_step) + 1):
        x = i * x_step
        out.append(f'<line class="grid" x1="{px(x):.1f}" y1="{TOP}" x2="{px(x):.1f}" y2="{HEIGHT - BOTTOM}"/>')
        out.append(f'<text class="small" x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{x:g}</text>')
    for i in range(round(y_top / y_step) + 1):
        y = i * y_step
        out.append(f'<line class="grid" x1="{LEFT}" y1="{py(y):.1f}" x2="{WIDTH - RIGHT}" y2="{py(y):.1f}"/>')
        out.append(f'<text class="small" x="{LEFT - 8}" y="{py(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle:.0f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x_name)}</text>')
    out.append(f'<text transform="translate(18 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">')
    out.append(f"{escape(y_name)}</text>")
    for i, line in enumerate(series):
        colour = COLOURS[i % len(COLOURS)]
        places = " ".join(f"{px(x):.1f},{py(y):.1f}" for x, y, _ in line.points)
        out.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, label in line.points:
            out.append(f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="4" fill="{colour}"/>')
            out.append(f'<text class="small" x="{px(x) + 6:.1f}" y="{py(y) - 6:.1f}">{escape(label)}</text>')
        at = TOP + 8 + 20 * i
        out.append(f'<circle cx="{WIDTH - 210}" cy="{at}" r="5" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - 198}" y="{at + 4}">{escape(line.name)}</text>')
    return "\n".join([*out, "</svg>", ""])


def _step(largest: float) -> float:
    """1, 2 or 5 times a power of ten, for five to ten grid lines."""
    base = 10.0 ** len(str(int(largest))) / 10
    return next((base * f for f in (0.1, 0.2, 0.5, 1.0, 2.0) if largest / (base * f) <= 8), base * 2)


def _top(largest: float, step: float) -> float:
    return step * (int(largest / step - 1e-9) + 1)
