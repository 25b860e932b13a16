"""The look of the picture, and the little script of the page.

Colours differ in lightness too and states have patterns of their own, so that the picture can be
read by who does not see colours, and in black on paper. Print is always light.

A page has a Content-Security-Policy that allows this style and this script by their hashes and
nothing else: whatever a log might have smuggled past `markup` would not run, and loads nothing.
"""

from __future__ import annotations

# In base64, of STYLE and SCRIPT; a test says what they must be. Not computed: hashlib is not in the
# frozen program.
STYLE_SHA256 = "hv1nXoZgmUXiN3PhlopnIpntWMGjjU1n7mchKGJME30="
SCRIPT_SHA256 = "wvZTnNw9dhWAeCSsJqngbMxTCQr8mJMmPW8oXl8zmPw="

STYLE = """
:root,svg{color-scheme:light dark;--paper:#fff;--ink:#1c2128;--soft:#59636e;--grid:#e4e8ec;
--row:#f6f8fa;--odd:#1d5694;--even:#178f7b;--start:#f0b429;--startline:#9a6700;--quiesce:#c9b3ec;
--stop:#b497e6;--kill:#c8102e;--in:#fff;--instop:#1c2128;--band:#d5e6f7;--bandline:#2f7fc4;--bad:#fbdada;
--badline:#c8102e;--drain:#d7efe9;--margin:#f6d5b8;--break:#eceff2}
@media screen and (prefers-color-scheme:dark){:root,svg{--paper:#0d1117;--ink:#e6edf3;
--soft:#9aa5b1;--grid:#252c35;--row:#141a21;--odd:#3f8fd6;--even:#2aa893;--start:#d9a21b;
--startline:#f5d98b;--quiesce:#5a4789;--stop:#8a66c9;--kill:#ff5c66;--in:#fff;--instop:#fff;--band:#173350;
--bandline:#5ba7ec;--bad:#4a1a20;--badline:#ff7b80;--drain:#14403a;--margin:#553718;
--break:#1c232c}}
svg{font:11.5px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif;fill:var(--ink);
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.paper{fill:var(--paper)}.name{font-weight:600;font-size:14px}.said,.slot,.tick,.key{fill:var(--soft)}
.slot,.tick{font-variant-numeric:tabular-nums}.row{fill:var(--row)}.day{font-size:10px}
.grid,.axis{stroke:var(--grid);fill:none}.axis{stroke:var(--soft)}
.gap{fill:var(--break)}.zigzag{fill:none;stroke:var(--soft)}.gaptext{fill:var(--soft);font-size:10px}
.g1 .ready{fill:var(--odd)}.g0 .ready{fill:var(--even)}
.starting{fill:url(#starting)}.quiescing{fill:url(#quiescing)}.stopping{fill:var(--stop)}
.killing,.kill{fill:var(--kill)}.kill{stroke:var(--paper);stroke-width:1}
.coming{fill:url(#starting)}.crashing{fill:url(#crashing)}
.h1{stroke:var(--startline)}.h2{stroke:var(--soft)}.h3{stroke:var(--kill)}
.b1{fill:var(--start)}.b2{fill:var(--quiesce)}.b3{fill:var(--bad)}
.h1,.h2,.h3{stroke-width:1.4}
.in{fill:var(--in);font-size:10.5px;pointer-events:none}.in.late{fill:var(--instop)}
.settled{fill:var(--in);opacity:.8}
.crash,.halo{fill:none;stroke:var(--kill);stroke-width:2.4}.halo{stroke:var(--paper);stroke-width:5}
.torn{fill:none;stroke:var(--paper);stroke-width:2.5}
.waiting{fill:none;stroke:var(--soft);stroke-dasharray:1.5 3}
.line{fill:none;stroke:var(--soft);stroke-dasharray:3 3;opacity:.75}
.line.trouble{stroke:var(--badline)}.line.note{display:none}
.flag{fill:var(--ink)}.flag.begin,.flag.end{fill:var(--soft)}.flag.trouble{fill:var(--badline)}
.flag.note{fill:var(--grid)}path.flag.note{fill:var(--soft)}.label{font-size:10.5px;font-weight:600;fill:var(--paper);
pointer-events:none}.label.note{fill:var(--ink);font-weight:400}
.band{fill:var(--band);stroke:var(--bandline);stroke-width:.8}
.band.failed{fill:var(--bad);stroke:var(--badline)}
.band.abandoned,.band.running{fill:var(--break);stroke:var(--soft)}
.band.drain{fill:var(--drain);stroke:var(--even)}.band.stop{fill:var(--quiesce);stroke:var(--stop)}
.band.margin{fill:var(--margin);stroke:var(--startline)}.deadline{fill:var(--kill)}
.beside{fill:var(--badline);font-size:10.5px}
.ruler{fill:none;stroke:var(--soft)}
.span .label{fill:var(--ink);font-weight:400}
[tabindex]{outline:none}[tabindex]:focus-visible>:not(text){stroke:var(--ink);stroke-width:2}
[tabindex]:hover{opacity:.85}
body{margin:0;padding:20px;background:var(--paper);color:var(--ink);
font:14px system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
body svg{display:block;width:100%;max-width:1700px;height:auto}
#tip{position:fixed;max-width:46em;padding:6px 10px;background:var(--ink);color:var(--paper);
border-radius:4px;white-space:pre-wrap;font-size:12px;pointer-events:none;z-index:1}
table{border-collapse:collapse;margin-top:10px;font-size:12.5px}
td{padding:2px 14px 2px 0;vertical-align:top}td:first-child{white-space:nowrap;color:var(--soft);
font-variant-numeric:tabular-nums}.warning td:last-child,.error td:last-child{color:var(--badline)}
summary{margin-top:18px;cursor:pointer;font-weight:600}
@page{size:landscape;margin:10mm}@media print{body{padding:0}#tip{display:none}
tr,.pod{break-inside:avoid}}
"""

# What is hovered the browser tells by <title>; what the keyboard reaches it does not.
SCRIPT = """
"use strict";
const tip = document.getElementById("tip");
const hide = () => { tip.hidden = true; };
document.addEventListener("focusin", (event) => {
  const title = event.target.matches("svg [tabindex]") && event.target.querySelector("title");
  if (!title || !event.target.matches(":focus-visible")) { hide(); return; }
  tip.textContent = title.textContent;
  tip.hidden = false;
  const place = event.target.getBoundingClientRect();
  const left = Math.max(8, Math.min(place.left, innerWidth - tip.offsetWidth - 8));
  const below = place.bottom + 8 + tip.offsetHeight < innerHeight;
  const top = below ? place.bottom + 8 : Math.max(8, place.top - tip.offsetHeight - 8);
  tip.style.left = left + "px";
  tip.style.top = top + "px";
});
document.addEventListener("focusout", hide);
document.addEventListener("scroll", hide, { passive: true });
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const from = document.activeElement;
  if (!step || !from || !from.matches("svg [tabindex]")) return;
  const all = [...document.querySelectorAll("svg [tabindex]")];
  const to = all[all.indexOf(from) + step];
  if (to) { to.focus(); event.preventDefault(); }
});
"""


def _pattern(name: str, number: int) -> str:
    return (
        f'<pattern id="{name}" width="5" height="5" patternUnits="userSpaceOnUse"'
        f' patternTransform="rotate({45 if number != 2 else -45})">'  # noqa: PLR2004
        f'<rect width="5" height="5" class="b{number}"/>'
        f'<path d="M1 0V5" class="h{number}"/></pattern>'
    )


PATTERNS = "".join(
    _pattern(name, number) for number, name in enumerate(("starting", "quiescing", "crashing"), 1)
)
