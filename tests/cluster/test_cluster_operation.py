"""A release in a real Kubernetes in daily life: probed, asked, changed, tried by `helm test`."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import proc
from balancer import Balancer
from load import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube import Kube, Log, Release

    Install = Callable[..., Release]
    Follow = Callable[[str], Log]

CTL = "/opt/srvinit/srvinitctl"


def status_of(pod: dict[str, Any], path: str, port: int = 9090) -> int:
    """Return the status of an answer; 0 where there is none."""
    connection = http.client.HTTPConnection(pod["status"]["podIP"], port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def addresses(kube: Kube, service: str) -> list[str]:
    """Return the addresses of a Service that count as ready."""
    subsets = kube.get("endpoints", service).get("subsets") or []
    return [one["ip"] for subset in subsets for one in subset.get("addresses") or []]


def test_c38_a_pod_that_drains_is_unready_at_once_and_serves_on(
    kube: Kube, release: Install, follow: Follow
) -> None:
    web = release("drain", {"settings": {"shutdown": {"delay": "5s"}}})
    pod = web.pod()
    log = follow(pod["metadata"]["name"])
    assert [status_of(pod, path) for path in ("/readyz", "/livez")] == [200, 200]
    assert addresses(kube, "drain") == [pod["status"]["podIP"]]

    web.exec(log.pod, "sh", "-c", "kill -TERM 1")
    proc.wait_until(lambda: status_of(pod, "/readyz") == 503, 2, "readiness to turn")
    turned_at = time.monotonic()
    while time.monotonic() < turned_at + 3:
        seen = [status_of(pod, "/readyz"), status_of(pod, "/livez"), status_of(pod, "/", 8080)]
        assert seen == [503, 200, 200]
    assert pod["status"]["podIP"] not in addresses(kube, "drain")
    assert log.wait_event("srvinit.exiting")["status"] == 0


def test_a_pod_without_a_ready_worker_gets_no_requests(kube: Kube, release: Install) -> None:
    """Its workers are slow to start: the startup probe waits, and the pod is in no endpoints."""
    slow = ["sh", "-c", "sleep 6; exec /srv/server"]
    web = release("slow-start", {"command": slow})
    proc.wait_until(
        lambda: any(
            status_of(pod, "/livez") == 200 for pod in web.pods() if pod["status"].get("podIP")
        ),
        30,
        "srvinit to live",
    )

    [pod] = web.pods()
    assert status_of(pod, "/readyz") == 503
    assert addresses(kube, "slow-start") == []
    web.pod()
    assert status_of(pod, "/readyz") == 200
    proc.wait_until(lambda: addresses(kube, "slow-start"), 30, "the pod in the endpoints")


def test_srvinitctl_through_kubectl_exec(release: Install) -> None:
    web = release("ctl")
    pod = web.pod()["metadata"]["name"]

    assert json.loads(web.exec(pod, CTL, "status", "--json"))["serving"] == 2
    web.exec(pod, CTL, "ready")
    web.exec(pod, CTL, "live")
    web.exec(pod, CTL, "recycle", "--wait")
    after = json.loads(web.exec(pod, CTL, "status", "--json"))
    assert [one["generation"] for one in after["workers"]] == [2, 2]
    web.exec(pod, CTL, "scale", "3")
    proc.wait_until(
        lambda: json.loads(web.exec(pod, CTL, "status", "--json"))["serving"] == 3,
        20,
        "a third worker",
    )


def test_a_changed_config_map_recycles_the_workers_of_the_same_pod(
    kube: Kube, release: Install, follow: Follow
) -> None:
    web = release("config")
    pod = web.pod()["metadata"]["name"]
    log = follow(pod)
    log.wait_event("srvinit.ready")

    with Balancer(kube, "config") as balancer:
        with Load(balancer.port, new=4, kept=0, rate=100) as load:
            load.wait_requests(50)
            web.apply(
                {**web.values, "settings": {**web.values["settings"], "worker": {"count": 3}}}
            )
            log.wait_event("recycle.finished", within=150)
            load.wait_requests(50)
            figures = load.stop()
        assert figures["new"]["lost"] == 0, json.dumps(figures, indent=1)
        assert balancer.stop() == 0

    log.wait_event("count.changed", before=2, after=3)
    assert [one["metadata"]["name"] for one in web.pods()] == [pod]


def test_helm_test_serves_recycles_and_drains(kube: Kube, release: Install, tester: str) -> None:
    """The Service's own address is served by a stand-in: the cluster has no kube-proxy."""
    values = {"settings": {"shutdown": {"delay": "3s"}}, "tests": {"image": tester}}
    web = release("tried", values)
    web.pod()
    address = kube.get("service", "tried")["spec"]["clusterIP"]
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        with Balancer(kube, "tried", address=f"{address}:80"):
            said = web.helm("test", "tried", "--timeout", "120s", fails=True)
    finally:
        subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True)

    assert said.startswith("0\n"), said
    assert said.count("Succeeded") == 3


def test_an_image_without_srvinit_gets_it_from_srvinits_own(
    release: Install, plain_images: tuple[str, str]
) -> None:
    program, srvinit = plain_images
    name, _, tag = program.partition(":")
    values = {
        "image": {"repository": name, "tag": tag},
        "inject": {"enabled": True, "image": srvinit},
    }
    web = release("injected", values)
    pod = web.pod()

    assert status_of(pod, "/", 8080) == 200
    web.exec(pod["metadata"]["name"], CTL, "ready")
