"""Bars as SVG, legible on light and on dark pages: each row a label, its parts side by side."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, LABELS, ROW, TOP = 860, 230, 22, 64
ROOM = 150  # right of the longest bar, for what is written there
STYLE = """\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.quiet { fill: #59636e }
.ours { font-weight: 600 }
.line { stroke: #d1d9e0 }
.c0 { fill: #0969da } .c1 { fill: #bc4c00 } .c2 { fill: #8250df } .c3 { fill: #1a7f37 }
.c4 { fill: #bf3989 } .c5 { fill: #6e7781 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .quiet { fill: #9198a1 } .line { stroke: #3d444d }
  .c0 { fill: #4493f8 } .c1 { fill: #f0883e } .c2 { fill: #ab7df8 } .c3 { fill: #3fb950 }
  .c4 { fill: #db61a2 } .c5 { fill: #9198a1 }
}
"""
COLOURS = 6


def bars(
    title: str,
    parts: Sequence[str],
    rows: Sequence[tuple[str, Sequence[float], str]],
    least: float = 0.0,
) -> str:
    """Return an SVG image: `rows` have a label, a value for each of `parts`, and words for the end.

    A row whose label begins with "srvinit" stands out. Values are at least 0; the scale is linear,
    and each row says its figures in words. It goes up to `least` at least, so
    that one lost request does not look like many.
    """
    most = max(least, *(sum(values) for _, values, _ in rows), 0.0) or 1.0
    scale = (WIDTH - LABELS - ROOM) / most
    height = TOP + ROW * len(rows) + 12
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<text class="title" x="8" y="22">{escape(title)}</text>',
    ]
    x = 8.0
    for number, part in enumerate(parts):
        out.append(
            f'<rect class="c{number % COLOURS}" x="{x:g}" y="36" width="11" height="11" rx="2"/>'
        )
        out.append(f'<text class="quiet" x="{x + 16:g}" y="46">{escape(part)}</text>')
        x += 34 + 7.2 * len(part)
    bottom = height - 8
    out.append(f'<line class="line" x1="{LABELS}" y1="{TOP - 8}" x2="{LABELS}" y2="{bottom}"/>')
    for number, (label, values, words) in enumerate(rows):
        y = TOP + ROW * number
        kind = "ours" if label.startswith("srvinit") else "quiet"
        out.append(
            f'<text class="{kind}" x="{LABELS - 8}" y="{y + 11}" text-anchor="end">'
            f"{escape(label)}</text>"
        )
        x = float(LABELS)
        for part_number, value in enumerate(values):
            width = value * scale
            if width:
                out.append(
                    f'<rect class="c{part_number % COLOURS}" x="{x:.1f}" y="{y}" '
                    f'width="{width:.1f}" height="14"/>'
                )
            x += width
        out.append(f'<text x="{x + 6:.1f}" y="{y + 11}">{escape(words)}</text>')
    return "\n".join([*out, "</svg>", ""])
