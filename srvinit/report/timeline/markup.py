"""Make elements of SVG and HTML: the only place where text becomes markup.

Each text that comes from a log goes through `escape`. What it returns is text in any place of XML
and HTML, in an attribute too; it holds no character that XML forbids, that a terminal obeys or that
turns the direction of the text around it.
"""

from __future__ import annotations

import re

_TO_ESCAPE = re.compile(
    "[&<>\"'`\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;", "`": "&#96;"}
LONGEST_TEXT = 1000  # in characters: a sentence, not a traceback


def escape(text: object) -> str:
    """Return `text` as it may stand anywhere. Line ends are kept; U+FFFD is for what may not be."""
    shown = str(text)
    if len(shown) > LONGEST_TEXT:
        shown = shown[:LONGEST_TEXT] + "…"
    return _TO_ESCAPE.sub(_escaped, shown)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return _NAMED.get(char) or ("\n" if char == "\n" else " " if char == "\t" else "\ufffd")


def number(value: float) -> str:
    """Write a coordinate: hundredths of a pixel are more than anyone sees."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def element(name: str, *inside: str, **attributes: object) -> str:
    """Make an element around markup. `class_` is class, `data_pid` data-pid; None is left out."""
    written = [
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    head = f"<{name}{''.join(written)}"
    return f"{head}>{''.join(inside)}</{name}>" if inside else f"{head}/>"


def _attribute(value: object) -> str:
    return number(value) if isinstance(value, float) else escape(value)


def text(x: float, y: float, said: object, class_: str, anchor: str | None = None) -> str:
    """Make a line of text in a picture."""
    return element("text", escape(said), x=x, y=y, class_=class_, text_anchor=anchor)


def rect(  # noqa: PLR0913, PLR0917  a rectangle has as many
    x: float, y: float, width: float, height: float, class_: str, radius: float | None = None
) -> str:
    """Make a rectangle."""
    return element("rect", x=x, y=y, width=width, height=height, rx=radius, class_=class_)


def hoverable(said: str, *inside: str, **attributes: object) -> str:
    """Make a group that says something where it is pointed at, and that the keyboard reaches."""
    title = element("title", escape(said))
    return element("g", title, *inside, **attributes, tabindex=0, role="img")
