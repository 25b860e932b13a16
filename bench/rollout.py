"""Roll-outs of three pods in a real Kubernetes behind haproxy, and what is lost.

As a program:  python bench/rollout.py --requests 100000 --rate 700 --form srvinit --json FILE

The same gunicorn (gthread, two workers of four threads), by srvinit's chart, or in the Deployment
that people write, under tini; as it is, and with the `preStop: sleep` that the careful add. One
roll-out after the other, as long as requests last; haproxy hears of each pod up to 5 s late, and
sends nothing twice. Debian's packages make the image; $KUBE_TOOL brings the cluster.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import programs

for place in ("tests/container", "tests/cluster", "tests"):
    sys.path.insert(0, str(programs.ROOT / place))

import frozen  # noqa: E402  that of tests/container
from haproxy import LATEST_S, Haproxy  # noqa: E402
from kube import Kube, Release  # noqa: E402
from load import Load  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = "bench/gunicorn:1"
PACKAGES = "gunicorn,python3-minimal,tini"
DELAY_S = 8  # LATEST_S, and what the watch and the endpoints controller take
GRACE_S = 30
FORMS = ("srvinit", "tini", "tini-prestop")
APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"ok\\n"]
"""
GUNICORN = ["gunicorn", "--threads=4", "--worker-tmp-dir=/dev/shm", "--chdir=/srv", "app:app"]
CHART: dict[str, Any] = {
    "image": {"repository": "bench/gunicorn", "tag": "1"},
    "command": GUNICORN,
    "replicas": 3,
    "settings": {
        "worker": {"count": 2, "timeout": "20s"},
        "shutdown": {"delay": f"{DELAY_S}s"},
    },
    "terminationGracePeriodSeconds": GRACE_S,
    "probes": {"startup": {"periodSeconds": 1}, "readiness": {"periodSeconds": 1}},
}


def make_image(kube: Kube) -> None:
    """Make the image of Debian, gunicorn, tini and srvinit, unless the node has it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as made:
        root = Path(made, "root")
        if "sha256" not in kube.run("docker", "image", "inspect", "bench/debian:1", fails=True):
            options = ["--variant=minbase", f"--include={PACKAGES}"]
            command = ["debootstrap", *options, "bookworm", str(root)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            Path(made, "Dockerfile").write_text("FROM scratch\nCOPY root /\n")
            kube.load("bench/debian:1", Path(made))
            shutil.rmtree(root)
        root.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", frozen.bundle(), root / "srvinit"], check=True)
        (root / "app.py").write_text(APP)
        lines = ["FROM bench/debian:1", "COPY root/srvinit /opt/srvinit", "COPY root/app.py /srv/"]
        Path(made, "Dockerfile").write_text("\n".join([*lines, "USER 65532:65532\n"]))
        kube.load(IMAGE, Path(made))


def plain(name: str, version: int, *, pre_stop: bool) -> dict[str, Any]:
    """Return the Deployment and the Service of gunicorn under tini, as people write them."""
    labels = {"app": name}
    probe = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}
    container: dict[str, Any] = {
        "name": "web",
        "image": IMAGE,
        "command": ["tini", "--", *GUNICORN, "--workers=2", "--bind=0.0.0.0:8080"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": probe | {"timeoutSeconds": 2, "failureThreshold": 2},
    }
    if pre_stop:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(DELAY_S)]}}}
    pod = {"terminationGracePeriodSeconds": GRACE_S, "containers": [container]}
    template = {"metadata": {"labels": labels, "annotations": {"version": str(version)}}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template | {"spec": pod},
        },
    }
    port = {"name": "http", "port": 80, "targetPort": "http"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [port]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}


@contextmanager
def deployed(kube: Kube, form: str) -> Iterator[Callable[[int], None]]:
    """Have a form for the time of a `with`; what it gives rolls out a version, and waits."""
    name = f"bench-{form}"
    if form == "srvinit":
        with Release(kube, name, CHART) as release:

            def upgrade(version: int) -> None:
                release.apply(CHART | {"podAnnotations": {"version": str(version)}})
                release.roll_out()

            yield upgrade
        return

    def apply(version: int) -> None:
        things = plain(name, version, pre_stop=form == "tini-prestop")
        kube.kubectl("apply", "-f", "-", stdin=json.dumps(things))
        kube.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s")

    try:
        yield apply
    finally:
        kube.kubectl("delete", "deployment,service", name, "--wait=false")
        kube.kubectl("delete", "pods", "-l", f"app={name}", "--force", "--grace-period=0")


def measure(kube: Kube, form: str, options: argparse.Namespace) -> dict[str, Any]:
    """Roll out again and again while the requests last; return what became of them."""
    with deployed(kube, form) as roll_out:
        roll_out(1)
        with (
            Haproxy(kube, f"bench-{form}", options.seed) as proxy,
            Load(proxy.port, new=128, kept=128, rate=options.rate, timeout=5) as load,
        ):
            load.wait_requests(int(options.rate))
            version, ended, began_at = 1, 0, time.monotonic()
            while ended < options.requests:
                version += 1
                roll_out(version)
                # until haproxy has heard of the last change, and who served before is gone
                load.wait_requests(int(options.rate * (LATEST_S + 1)))
                ended = load.figures()["requests"]
            seconds = time.monotonic() - began_at
            figures = load.stop()
    beside = {"roll_outs": version - 1, "seconds": round(seconds)}
    return summary(figures) | beside | {"proxy_late_s": round(proxy.latest_s, 2)}


def summary(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what of the figures is told: a 5xx is an answer of the proxy, and a loss."""
    kinds = Counter[str]()
    for client in ("new", "kept"):
        lost = {"refused", "reset", "no_answer", "cut", "timeout", "status_5xx", "status_other"}
        kinds.update({how: figures[client].get(how, 0) for how in lost})
    told = {how: number for how, number in sorted(kinds.items()) if number}
    return {
        "requests": figures["requests"],
        "lost": sum(told.values()),
        "by_kind": told,
        "first": figures["losses"][:5],
        "per_second": figures["per_second"],
    }


def versions(kube: Kube) -> list[str]:
    """Say what was measured, on what."""
    server = json.loads(kube.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    proxy = kube.run("haproxy", "-v").split()[2].partition("-")[0]
    asked = ["--entrypoint=dpkg-query", IMAGE, "-W", "-f", "${Package} ${Version}\n"]
    said = kube.run("docker", "run", "--rm", *asked, "gunicorn", "tini")
    packages = [line.partition("-")[0] for line in said.splitlines()]
    return [f"Kubernetes {server.partition('-')[0]}", f"haproxy {proxy}", *packages]


def keep(file: Path, form: str, row: dict[str, Any]) -> None:
    """Put a form's figures into the file, and leave those of the others."""
    before = json.loads(file.read_text())["forms"] if file.exists() else {}
    rows = before | {form: row}
    text = json.dumps({"forms": {form: rows[form] for form in FORMS if form in rows}}, indent=1)
    file.write_text(f"{text}\n")


def main() -> None:
    """Read the command line, measure, and print a line of JSON for each form."""
    parser = argparse.ArgumentParser(description="Requests lost by roll-outs of three pods")
    parser.add_argument("--requests", type=int, default=100_000, help="at least, for each form")
    parser.add_argument("--rate", type=float, default=700.0, help="requests a second")
    parser.add_argument("--seed", type=int, default=6, help="of the proxy's delays")
    parser.add_argument("--form", action="append", choices=FORMS, help="default: all of them")
    parser.add_argument("--json", type=Path, help="where the figures go: docs/rollout.json")
    options = parser.parse_args()
    with Kube() as kube:
        make_image(kube)
        for form in options.form or FORMS:
            where = programs.machine() | {"versions": versions(kube)}
            row = measure(kube, form, options) | where
            print(json.dumps({"form": form} | row), flush=True)
            if options.json:
                keep(options.json, form, row)


if __name__ == "__main__":
    main()
