"""Bars for people who would rather look than read: one SVG file, no script, no outside resource.

Invariants: every text from outside is escaped; values are shares, 0 to 1, and written out beside their bars.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

COLOURS: Final = ("#1b6ca8", "#c0563b", "#8a8f98", "#5b8c3e", "#7a5195", "#b8860b")
_LABEL: Final = 190
_BAR: Final = 420
_HEIGHT: Final = 13
_GAP: Final = 12


def bars(title: str, series: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    """An SVG of grouped horizontal bars: for each row one bar a series, at most six series."""
    group = len(series) * _HEIGHT + _GAP
    height = 70 + len(rows) * group + 10
    width = _LABEL + _BAR + 70
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
    ]
    for at, name in enumerate(series):
        x = 10 + at * (width - 20) // len(series)
        parts.append(f'<rect x="{x}" y="36" width="11" height="11" fill="{COLOURS[at]}"/>')
        parts.append(f'<text x="{x + 16}" y="46">{escape(name)}</text>')
    for row, (label, values) in enumerate(rows.items()):
        top = 64 + row * group
        middle = top + len(series) * _HEIGHT / 2 + 4
        parts.append(f'<text x="{_LABEL - 8}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>')
        for at, value in enumerate(values):
            y = top + at * _HEIGHT
            parts.append(
                f'<rect x="{_LABEL}" y="{y}" width="{value * _BAR:.1f}" height="{_HEIGHT - 2}" '
                f'fill="{COLOURS[at]}"/>'
                f'<text x="{_LABEL + value * _BAR + 5:.1f}" y="{y + 10}" font-size="10">{value:.3f}</text>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"
