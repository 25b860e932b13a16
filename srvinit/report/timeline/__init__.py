"""`srvinitctl timeline`: a log of srvinit as a picture.

The log is untrusted: workers write into the same stream, and may write anything. So each room here
holds one promise:

- `lines`: find srvinit's events in any stream of lines, whatever stands before, between and after;
- `clock`: put their times into an order that can be true;
- `story`: tell what became of each worker;
- `scale`: bring instants onto the paper, quiet hours squeezed;
- `panel`, `bars`, `marks`: draw one pod; `page`: all of it, as SVG or HTML;
- `markup`: the only place where text becomes markup.

Never imported by srvinit itself, only by `srvinitctl timeline`.
"""
