"""The servers of docs/recipes.md, as tests/interop runs them."""

from __future__ import annotations

import pytest
from ingredients import (
    NODE_MODULES,
    PHP_FPM,
    go,
    jar,
    java,
    node_module,
    package,
    php_fpm,
    python,
    says,
)
from kind import ACCEPT_RACE, IDLE_RACE, Kind

WSGI = (("app.py", "wsgi.py"),)
ASGI = (("app.py", "asgi.py"),)
RACK = (("config.ru", "config.ru"), ("unicorn.rb", "unicorn.rb"))
IN_PRODUCTION = (("RACK_ENV", "production"),)
FROM_NPM = (("NODE_PATH", str(NODE_MODULES)),)
HERE = (("PYTHONPATH", "."),)
NODE = says("node", "--version")
BOTH = {"lost_new": ACCEPT_RACE, "lost_kept": IDLE_RACE}
# With SO_REUSEPORT sockets of their own the kernel resets what waits in one that is closed
OWN_PORT = {"lost_new": 8, "lost_kept": IDLE_RACE}

PYTHON = (
    Kind("gunicorn", package("gunicorn"), WSGI),
    Kind("gunicorn", package("gunicorn"), WSGI, pid1=True),
    # its kept connections are closed between two requests, and only once it has looked
    Kind("gunicorn gthread", package("gunicorn"), WSGI, lost_kept=1),
    Kind("gunicorn gevent", package("gunicorn", "gevent"), WSGI, lost_kept=IDLE_RACE),
    Kind("gunicorn asgi", package("gunicorn"), ASGI, **BOTH),
    Kind("gunicorn with uvicorn workers", package("gunicorn", "uvicorn-worker"), ASGI, **BOTH),
    Kind(
        "uvicorn",
        package("uvicorn"),
        ASGI,
        environ=(("UVICORN_LOG_LEVEL", "warning"),),
        statuses=frozenset({-15}),
        **BOTH,
    ),
    Kind("hypercorn", package("hypercorn"), ASGI, **BOTH),
    Kind("daphne", package("daphne"), ASGI, ci=False, **BOTH),
    Kind("granian", package("granian"), ASGI, ci=False, **OWN_PORT),
    Kind("aiohttp", package("aiohttp"), (("app.py", "aiohttp_server.py"),), **BOTH),
    Kind("tornado", package("tornado"), (("app.py", "tornado_server.py"),), **BOTH),
    Kind("gevent pywsgi", package("gevent"), (("server.py", "gevent_server.py"), *WSGI), **BOTH),
    Kind(
        "waitress",
        package("waitress"),
        (("app.py", "waitress_server.py"), ("wsgi.py", "wsgi.py")),
        **BOTH,
    ),
    # a busy kept client is served on, and keeps the worker to the deadline
    Kind(
        "twistd web",
        package("twisted"),
        WSGI,
        environ=HERE,
        options=("--recycle-timeout=6s",),
        statuses=frozenset({-15, -9}),
        killed=1,
        ci=False,
        **BOTH,
    ),
    Kind("uWSGI", package("pyuwsgi"), WSGI, closes_each=True),
    Kind("http.server", python, (("app.py", "http_server.py"),), closes_each=True),
    Kind("srvinit.srv", python, (("app.py", "callable_worker.py"),)),
)
OTHERS = (
    Kind("node http", NODE, (("server.js", "server.js"),)),
    Kind(
        "node http, closed plainly",
        NODE,
        (("server.js", "plain.js"),),
        options=("--recycle-timeout=6s",),
        statuses=frozenset({0, -9}),
        lost_kept=IDLE_RACE,
        killed=1,
    ),
    Kind(
        "node http, no handler",
        NODE,
        (("server.js", "bare.js"),),
        statuses=frozenset({-15}),
        **BOTH,
    ),
    Kind(
        "express",
        node_module("express"),
        (("server.js", "express.js"),),
        environ=FROM_NPM,
        ci=False,
    ),
    Kind(
        "fastify",
        node_module("fastify"),
        (("server.js", "fastify.js"),),
        environ=FROM_NPM,
        ci=False,
    ),
    Kind(
        "puma",
        says("puma", "--version"),
        RACK,
        environ=IN_PRODUCTION,
        # 5.6 serves a kept connection on while its client is quick, now and then for over 15 s,
        # and now and then closes one that another thread reads from: a 500
        options=("--recycle-timeout=6s",),
        statuses=frozenset({-15, -9}),
        errors=1,
        killed=1,
        **BOTH,
    ),
    Kind(
        "puma cluster",
        says("puma", "--version"),
        RACK,
        environ=IN_PRODUCTION,
        options=("--recycle-timeout=6s",),
        statuses=frozenset({-15, -9}),
        errors=1,
        killed=1,
        **BOTH,
    ),
    Kind("unicorn", says("unicorn", "--version"), RACK, environ=IN_PRODUCTION),
    Kind("Go net/http", says("go", "version"), build=go, sources=("main.go",), lost_kept=IDLE_RACE),
    Kind(
        "Jetty",
        jar("jetty9-server"),
        build=java(
            "Jetty.java",
            "jetty9-server",
            "jetty9-http",
            "jetty9-io",
            "jetty9-util",
            "servlet-api",
        ),
        sources=("Jetty.java",),
        statuses=frozenset({143}),
        ci=False,
        **BOTH,
    ),
    Kind(
        "Tomcat",
        jar("tomcat10-embed-core"),
        build=java("Tomcat.java", "tomcat10-embed-core", "tomcat10-annotations-api"),
        sources=("Tomcat.java",),
        statuses=frozenset({143}),
        ci=False,
        **BOTH,
    ),
    Kind(
        "Starlet",
        says("perl", "-MStarlet", "-e", "print $Starlet::VERSION"),
        (("app.psgi", "app.psgi"),),
        closes_each=True,
    ),
    Kind(
        "php-fpm",
        says(PHP_FPM, "--version"),
        (("php-fpm.conf", "php-fpm.conf"), ("index.php", "index.php")),
        build=php_fpm,
        front="front.conf",
        more=("-R",),  # the tests are root
        ci=False,
    ),
    Kind(
        "nginx",
        says("nginx", "-v"),
        (("nginx.conf", "nginx.conf"),),
        more=("-p", "FOLDER", "-c", "nginx.conf"),
        lost_kept=IDLE_RACE,
    ),
    Kind("haproxy", says("haproxy", "-v"), (("haproxy.cfg", "haproxy.cfg"),), lost_kept=IDLE_RACE),
    Kind(
        "lighttpd",
        says("lighttpd", "-v"),
        (("lighttpd.conf", "lighttpd.conf"),),
        tells_pid=False,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "h2o",
        says("h2o", "--version"),
        (("h2o.conf", "h2o.conf"),),
        tells_pid=False,
        ci=False,
        lost_kept=IDLE_RACE,
    ),
    Kind(
        "caddy",
        says("caddy", "version"),
        (("Caddyfile", "Caddyfile"),),
        environ=(("XDG_CONFIG_HOME", "."), ("XDG_DATA_HOME", ".")),
        ci=False,
        **OWN_PORT,
    ),
    Kind(
        "Apache httpd",
        says("apache2", "-v"),
        (("httpd.conf", "httpd.conf"),),
        tells_pid=False,
        ci=False,
        **OWN_PORT,
    ),
    Kind(
        "busybox httpd",
        says("busybox"),
        (("index.html", "index.html"),),
        statuses=frozenset({-15}),
        lost_new=50,
        lost_kept=50,
        tells_pid=False,
        gap=True,
        ci=False,
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
SHARED = PYTHON + OTHERS

# What steering buys: the same servers once more, each worker with a queue of its own.
STEERED_TOO = (
    "uvicorn",
    "hypercorn",
    "aiohttp",
    "tornado",
    "waitress",
    "node http",
    "any program",
)
STEERED_BEYOND_CI = (
    "gunicorn with uvicorn workers",
    "daphne",
    "gevent pywsgi",
    "twistd web",
    "node http, no handler",
    "Jetty",
    "Tomcat",
)
STEERED = tuple(
    kind.steered(ci=kind.recipe in STEERED_TOO)
    for kind in SHARED
    if kind.recipe in STEERED_TOO + STEERED_BEYOND_CI
)
KINDS = SHARED + STEERED
PARAMETERS = tuple(
    pytest.param(kind, id=kind.test_id, marks=() if kind.ci else pytest.mark.beyond_ci)
    for kind in KINDS
)
