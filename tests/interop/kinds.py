"""The servers of docs/recipes.md, as tests/interop runs them."""

from __future__ import annotations

import pytest
from kind import ACCEPT_RACE, IDLE_RACE, Kind, go, package, python, says

WSGI = (("app.py", "wsgi.py"),)
ASGI = (("app.py", "asgi.py"),)
RACK = (("config.ru", "config.ru"), ("unicorn.rb", "unicorn.rb"))
IN_PRODUCTION = (("RACK_ENV", "production"),)

SHARED = (
    Kind("gunicorn", package("gunicorn"), WSGI),
    Kind("gunicorn", package("gunicorn"), WSGI, pid1=True),
    # its kept connections are closed between two requests, and only once it has looked
    Kind("gunicorn gthread", package("gunicorn"), WSGI, lost_kept=1),
    Kind(
        "uvicorn",
        package("uvicorn"),
        ASGI,
        environ=(("UVICORN_LOG_LEVEL", "warning"),),
        statuses=frozenset({-15}),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind("hypercorn", package("hypercorn"), ASGI, lost_new=ACCEPT_RACE, lost_kept=IDLE_RACE),
    Kind(
        "aiohttp",
        package("aiohttp"),
        (("app.py", "aiohttp_server.py"),),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "tornado",
        package("tornado"),
        (("app.py", "tornado_server.py"),),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "waitress",
        package("waitress"),
        (("app.py", "waitress_server.py"), ("wsgi.py", "wsgi.py")),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
    ),
    Kind("srvinit.srv", python, (("app.py", "callable_worker.py"),)),
    Kind("node http", says("node", "--version"), (("server.js", "server.js"),)),
    Kind(
        "puma",
        says("puma", "--version"),
        RACK,
        environ=IN_PRODUCTION,
        # 5.6 serves a kept connection on while its client is quick, now and then for over 15 s,
        # and now and then closes one that another thread reads from: a 500
        options=("--recycle-timeout=6s",),
        statuses=frozenset({-15, -9}),
        lost_new=ACCEPT_RACE,
        lost_kept=IDLE_RACE,
        errors=1,
        killed=1,
    ),
    Kind("unicorn", says("unicorn", "--version"), RACK, environ=IN_PRODUCTION),
    Kind("Go net/http", says("go", "version"), build=go, sources=("main.go",), lost_kept=IDLE_RACE),
    Kind(
        "nginx",
        says("nginx", "-v"),
        (("nginx.conf", "nginx.conf"),),
        more=("-p", "FOLDER", "-c", "nginx.conf"),
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "any program",
        python,
        (("server", "accept_loop.py"),),
        statuses=frozenset({-15}),
        lost_new=ACCEPT_RACE,
        lost_kept=ACCEPT_RACE,  # every kept client's connection is a new one, too
        closes_each=True,
    ),
)

# What steering buys: the same servers once more, each worker with a socket of its own.
STEERED_TOO = (
    "uvicorn",
    "hypercorn",
    "aiohttp",
    "tornado",
    "waitress",
    "node http",
    "any program",
)
STEERED = tuple(kind.steered() for kind in SHARED if kind.recipe in STEERED_TOO)
KINDS = SHARED + STEERED
PARAMETERS = tuple(
    pytest.param(kind, id=kind.test_id, marks=() if kind.ci else pytest.mark.beyond_ci)
    for kind in KINDS
)
