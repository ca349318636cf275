"""One match drawn for people: who reported what, hop by hop, as a page of HTML with an SVG in it.

Invariants: the page holds tokens shortened to eight hexadecimal digits, never an identifier; every text is
escaped; it needs no script and nothing from outside.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 860
_RADIUS: Final = 26
_COLOURS: Final = ("#1b6ca8", "#c0563b", "#5b8c3e", "#7a5195", "#b8860b", "#8a8f98")
_STYLE: Final = (
    "body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;width:100%}th,td{border-bottom:1px solid #ddd;padding:.3rem .5rem;"
    "text-align:left;font-variant-numeric:tabular-nums}code{font-size:.95em}"
    ".chip{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}"
)


@dataclass(frozen=True, slots=True)
class Hop:
    """One signal of the match, as its issuer opened it to the auditor. `source` and `target` are tokens
    (`target` empty where it names nobody else), `kind` the types' names, `time` Unix seconds."""

    reporter: str
    code: str
    source: bytes
    source_kind: str
    target: bytes
    target_kind: str
    time: int
    amount: str
    entry: int
    position: int


def short(token: bytes) -> str:
    """A token's first eight hexadecimal digits."""
    return token.hex()[:8]


def page(title: str, facts: Sequence[tuple[str, str]], hops: Sequence[Hop]) -> str:
    """The whole page: `facts` are pairs of name and value shown above the picture."""
    ordered = sorted(hops, key=lambda hop: (hop.time, hop.entry, hop.position))
    colours = _by_reporter(ordered)
    rows = "".join(
        f"<tr><td>{at}</td><td>{_when(hop.time)}</td>"
        f'<td><span class="chip" style="background:{colours[hop.reporter]}"></span>'
        f"{escape(hop.reporter)}</td>"
        f"<td>{escape(hop.code)}</td><td><code>{short(hop.source)}</code> {escape(hop.source_kind)}</td>"
        f"<td>{f'<code>{short(hop.target)}</code> {escape(hop.target_kind)}' if hop.target else ''}</td>"
        f"<td>{escape(hop.amount)}</td><td>{hop.entry}.{hop.position}</td></tr>"
        for at, hop in enumerate(ordered, start=1)
    )
    listed = "".join(f"<dt><b>{escape(name)}</b></dt><dd>{escape(value)}</dd>" for name, value in facts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        "<p>Seen from the auditor's side, with every signal opened by its issuer and checked against the "
        "log. No member sees this page: each knows its own rows alone.</p>"
        f"<dl>{listed}</dl>{_picture(ordered, colours)}"
        "<table><thead><tr><th></th><th>from (UTC)</th><th>reported by</th><th>code</th><th>who</th>"
        "<th>to whom</th><th>amount, CNY</th><th>log</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></body></html>\n"
    )


def _by_reporter(hops: Sequence[Hop]) -> dict[str, str]:
    names = sorted({hop.reporter for hop in hops})
    return {name: _COLOURS[at % len(_COLOURS)] for at, name in enumerate(names)}


def _when(time: int) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _picture(hops: Sequence[Hop], colours: dict[str, str]) -> str:
    """Tokens on a circle in the order in which money reaches them; arrows numbered as in the table."""
    nodes: dict[bytes, str] = {}
    for hop in hops:
        nodes.setdefault(hop.source, hop.source_kind)
        if hop.target:
            nodes.setdefault(hop.target, hop.target_kind)
    reach = 60 + 22 * len(nodes) if len(nodes) < 14 else 340
    height = 2 * reach + 2 * _RADIUS + 60
    places = {
        token: (
            _WIDTH / 2 + 1.15 * reach * math.sin(2 * math.pi * at / len(nodes)),
            height / 2 - reach * math.cos(2 * math.pi * at / len(nodes)),
        )
        for at, token in enumerate(nodes)
    }
    heads = "".join(
        f'<marker id="h{at}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
        for at, colour in enumerate(colours.values())
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>who reported what</title><defs>{heads}</defs>'
    ]
    drawn: dict[tuple[bytes, bytes], int] = {}
    for number, hop in enumerate(hops, start=1):
        if hop.target:
            pair = (hop.source, hop.target)
            bend = drawn[pair] = drawn.get(pair, 0) + 1
            at = list(colours).index(hop.reporter)
            parts.append(
                _arrow(places[hop.source], places[hop.target], bend, number, colours[hop.reporter], at)
            )
    for token, (x, y) in places.items():
        own = [number for number, hop in enumerate(hops, start=1) if hop.source == token and not hop.target]
        note = f" ({', '.join(map(str, own))})" if own else ""
        parts.append(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{_RADIUS}" fill="#fff" stroke="#444"/>'
            f'<text x="{x:.0f}" y="{y + 4:.0f}" text-anchor="middle" font-size="10">{short(token)}</text>'
            f'<text x="{x:.0f}" y="{y + _RADIUS + 14:.0f}" text-anchor="middle">'
            f"{escape(nodes[token])}{note}</text>"
        )
    legend = "".join(
        f'<rect x="10" y="{12 + 18 * at}" width="11" height="11" fill="{colour}"/>'
        f'<text x="27" y="{22 + 18 * at}">{escape(name)}</text>'
        for at, (name, colour) in enumerate(colours.items())
    )
    return "".join([*parts, legend, "</svg>"])


def _arrow(
    source: tuple[float, float], target: tuple[float, float], bend: int, number: int, colour: str, head: int
) -> str:
    """A bowed arrow from rim to rim; `bend` sets several between the same two apart."""
    (x1, y1), (x2, y2) = source, target
    length = math.hypot(x2 - x1, y2 - y1)
    ux, uy = (x2 - x1) / length, (y2 - y1) / length
    bow = 18.0 * bend
    cx, cy = (x1 + x2) / 2 - uy * bow, (y1 + y2) / 2 + ux * bow
    x1, y1, x2, y2 = x1 + ux * _RADIUS, y1 + uy * _RADIUS, x2 - ux * _RADIUS, y2 - uy * _RADIUS
    lx, ly = (x1 + 2 * cx + x2) / 4, (y1 + 2 * cy + y2) / 4
    return (
        f'<path d="M{x1:.0f},{y1:.0f} Q{cx:.0f},{cy:.0f} {x2:.0f},{y2:.0f}" fill="none" stroke="{colour}" '
        f'stroke-width="1.6" marker-end="url(#h{head})"/>'
        f'<circle cx="{lx:.0f}" cy="{ly:.0f}" r="8" fill="{colour}"/>'
        f'<text x="{lx:.0f}" y="{ly + 4:.0f}" text-anchor="middle" font-size="10" fill="#fff">{number}</text>'
    )
