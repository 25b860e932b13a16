"""Put pods on one paper with one axis of time: an SVG picture, or a page of HTML around it."""

from __future__ import annotations

from srvinit import words
from srvinit.report.timeline import panel, style
from srvinit.report.timeline.markup import element, escape, hoverable, number, rect, text
from srvinit.report.timeline.scale import BREAK_EDGE, BREAK_WIDTH, Scale, clock, quiet_stretches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from srvinit.report.timeline.story import Pod

BETWEEN_PODS = 22.0
FOOT = 62.0  # the axis and the key below it
DAY_S = 86400
MOST_SAID = 300  # lines below the picture: the log itself has them all
KEY = (
    ("s starting", "starting"),
    ("s ready", "ready (a colour for every other generation)"),
    ("s quiescing", "quiescing"),
    ("s stopping", "stopping"),
)
NAMESPACE = "http://www.w3.org/2000/svg"


def svg(pods: list[Pod], *, is_alone: bool = True, width: float = panel.WIDTH) -> str:
    """Draw the pods, one below the other, `width` pixels wide.

    `is_alone`: as a file of its own, with its style.
    """
    scale = scale_of(pods, width)
    y = 4.0
    panels = []
    for pod in pods:
        drawn = panel.draw(pod, scale, y)
        panels.append(drawn)
        y = drawn.bottom + BETWEEN_PODS
    bottom = y - BETWEEN_PODS + 6
    height = bottom + FOOT
    return element(
        "svg",
        # Inside a page it would be what a pointer is told everywhere beside the bars.
        element("title", escape(title_of(pods))) if is_alone else "",
        element("style", style.STYLE) if is_alone else "",
        element("defs", style.PATTERNS),
        rect(0, 0, width, height, "paper"),
        *_grid(scale, bottom),
        *(one.drawn for one in panels),
        *_breaks(scale, panels, bottom),
        *_key(bottom + 48),
        xmlns=NAMESPACE,
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width if is_alone else None,
        height=height if is_alone else None,
        role="group",
        aria_label=title_of(pods),
        data_since=clock(scale.since, 0.001),
    )


def html(pods: list[Pod]) -> str:
    """Make a page of the picture, and of what there is to say in words."""
    policy = (
        f"default-src 'none'; style-src 'sha256-{style.STYLE_SHA256}';"
        f" script-src 'sha256-{style.SCRIPT_SHA256}'"
    )
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title_of(pods))}</title><style>{style.STYLE}</style>"
    )
    body = (
        f'{svg(pods, is_alone=False)}<div id="tip" role="status" hidden></div>{_said(pods)}'
        f"<script>{style.SCRIPT}</script>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


def title_of(pods: list[Pod]) -> str:
    """Say whose time line it is, and when."""
    since = min(pod.begins_at for pod in pods)
    names = ", ".join(pod.name for pod in pods[:3] if pod.name)
    more = f" and {len(pods) - 3} more" if len(pods) > 3 else ""  # noqa: PLR2004  as above
    of = f" of {names}{more}" if names else ""
    return f"srvinit{of} from {clock(since, DAY_S)} {clock(since)} UTC"


def scale_of(pods: list[Pod], width: float = panel.WIDTH) -> Scale:
    """Make the axis on which all pods have room, with a shutdown's budget as far as it goes."""
    since = min(min([pod.begins_at, *(life.began_at for life in pod.lives)]) for pod in pods)
    until = max(pod.budget_ends_at for pod in pods)
    busy = [stretch for pod in pods for stretch in pod.busy]
    quiet = quiet_stretches(busy, since, until)
    return Scale(since, until, quiet, panel.LEFT, width - panel.LEFT - panel.RIGHT)


def _grid(scale: Scale, bottom: float) -> list[str]:
    lines, labels = [], []
    for x, said in scale.ticks():
        lines.append(f"M{number(x)} 40V{number(bottom)}")
        labels.append(text(x, bottom + 14, said, "tick", "middle"))
    day = clock(scale.since, DAY_S)
    axis = f"M{number(scale.left)} {number(bottom)}H{number(scale.right)}"
    return [
        element("path", d="".join(lines), class_="grid"),
        element("path", d=axis, class_="axis"),
        *labels,
        text(panel.LEFT - 8, bottom + 27, day, "tick day", "end"),
        text(panel.LEFT - 8, bottom + 39, "UTC", "tick day", "end"),
    ]


def _breaks(scale: Scale, panels: list[panel.Panel], bottom: float) -> list[str]:
    drawn = []
    for one in scale.breaks:
        left, right = one.x + BREAK_EDGE, one.x + BREAK_WIDTH - BREAK_EDGE
        lasted = words.duration(one.until - one.since)
        said = f"{lasted} in which nothing happened, {clock(one.since)} to {clock(one.until)}"
        parts = [text((left + right) / 2, bottom + 26, lasted, "gaptext", "middle")]
        for pod in panels:
            parts.append(rect(left, pod.top, right - left, pod.bottom - pod.top, "gap"))
            parts.append(_zigzag(left, right, pod.top, pod.bottom))
        drawn.append(hoverable(said, *parts, class_="break"))
    return drawn


def _zigzag(left: float, right: float, top: float, bottom: float) -> str:
    teeth = max(1, round((bottom - top) / 24))
    half = (bottom - top) / teeth / 4
    tooth = f"l4 {number(half)}l-8 {number(2 * half)}l4 {number(half)}"
    path = "".join(f"M{number(x)} {number(top)}{tooth * teeth}" for x in (left, right))
    return element("path", d=path, class_="zigzag")


def _key(y: float) -> list[str]:
    drawn = []
    x = panel.LEFT
    for classes, said in KEY:
        swatch = rect(x, y - 9, 22, 11, classes)
        if "ready" in classes:
            swatch = element("g", rect(x, y - 9, 11, 11, classes), class_="g1")
            swatch += element("g", rect(x + 11, y - 9, 11, 11, classes), class_="g0")
        drawn += [swatch, text(x + 27, y, said, "key")]
        x += 27 + len(said) * 6.1 + 16
    for path, classes, said in (
        (f"M{number(x + 5)} {number(y - 11)}l5 7l-5 7l-5 -7z", "kill", "SIGKILL"),
        (f"M{number(x + 80)} {number(y - 9)}l10 10m0 -10l-10 10", "crash", "crashed"),
    ):
        drawn.append(element("path", d=path, class_=classes))
        drawn.append(text(x + (16 if classes == "kill" else 96), y, said, "key"))
    return drawn


def _said(pods: list[Pod]) -> str:
    """List what there is to look at, pod by pod, for who reads better than looks, and for paper."""
    said = sorted(
        ((at, pod.name, level, sentence) for pod in pods for at, level, sentence in pod.said),
        key=lambda line: line[0],
    )
    day = said[-1][0] - said[0][0] > DAY_S if said else False
    rows = []
    for at, name, level, sentence in said[:MOST_SAID]:
        where = element("td", escape(name)) if len(pods) > 1 else ""
        when = element("td", day * f"{clock(at, DAY_S)} " + clock(at, 0.001))
        rows.append(element("tr", when, where, element("td", escape(sentence)), class_=level))
    left = len(said) - MOST_SAID
    more = element("p", f"and {left} more lines, in the log") if left > 0 else ""
    heading = element("summary", "What happened (UTC)")
    return element("details", heading, element("table", *rows, ""), more, open="")
