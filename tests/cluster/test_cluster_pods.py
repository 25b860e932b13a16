"""Pods of the chart in a real Kubernetes: rolled out, scaled, drained, killed, restarted."""

from __future__ import annotations

import json
import socket
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import proc
from balancer import Balancer
from load import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube import Kube, Log, Release

    Install = Callable[..., Release]
    Follow = Callable[[str], Log]

DEAF = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
#: For workers that serve nobody.
ALONE = {"worker": {"require": "online", "count": 1}}


def at(event: dict[str, Any]) -> float:
    """Return when an event was, in unix seconds."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def delete(kube: Kube, pod: str) -> float:
    """Ask for a pod's end; return when."""
    asked_at = time.time()
    kube.kubectl("delete", "pod", pod, "--wait=false")
    return asked_at


def evict(kube: Kube, pod: str) -> str:
    """Ask for a pod's eviction, as `kubectl drain` does; return kubectl's exit status and words."""
    order = {"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/default/pods/{pod}/eviction"
    return kube.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(order), fails=True)


def request(pod: dict[str, Any], path: str) -> socket.socket:
    """Send a request to a pod, and do not wait for its answer."""
    connection = socket.create_connection((pod["status"]["podIP"], 8080), timeout=30)
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n".encode())
    return connection


# --- pods that come and go ---------------------------------------------------------------------


def assert_nothing_is_lost(kube: Kube, web: Release, change: Callable[[], None]) -> None:
    """Change something under load; its clients come by a balancer that hears of it 2 s late."""
    with Balancer(kube, web.name, delay=2.0) as balancer:
        with Load(balancer.port, new=8, kept=0, rate=200) as load:
            load.wait_requests(200)
            change()
            load.wait_requests(200)
            figures = load.stop()
        assert figures["new"]["lost"] == 0, json.dumps(figures, indent=1)
        assert balancer.stop() == 0
    assert figures["new"]["ok"] == figures["requests"]


def test_a_roll_out_under_load_loses_nothing(kube: Kube, release: Install) -> None:
    web = release("roll", {"replicas": 3, "settings": {"shutdown": {"delay": "4s"}}})
    web.roll_out()
    before = {pod["metadata"]["name"] for pod in web.pods()}
    assert len(before) == 3

    def roll_out() -> None:
        web.apply({**web.values, "podAnnotations": {"version": "2"}})
        web.roll_out()
        proc.wait_until(
            lambda: before.isdisjoint(pod["metadata"]["name"] for pod in web.pods()),
            90,
            "the old pods to be gone",
        )

    assert_nothing_is_lost(kube, web, roll_out)


def test_scaling_in_and_out_under_load_loses_nothing(kube: Kube, release: Install) -> None:
    web = release("scale", {"replicas": 3, "settings": {"shutdown": {"delay": "4s"}}})
    web.roll_out()

    def scale_to(count: int) -> None:
        kube.kubectl("scale", "deployment/scale", f"--replicas={count}")
        web.roll_out()
        proc.wait_until(lambda: len(web.pods()) == count, 90, f"{count} pods")

    def scale() -> None:
        scale_to(1)
        scale_to(3)

    assert_nothing_is_lost(kube, web, scale)


def test_evictions_under_load_go_one_at_a_time_and_lose_nothing(
    kube: Kube, release: Install
) -> None:
    """The PodDisruptionBudget: who drains a node has to wait for the first pod's replacement."""
    web = release("evict", {"replicas": 2, "settings": {"shutdown": {"delay": "4s"}}})
    web.roll_out()
    first, second = (pod["metadata"]["name"] for pod in web.pods())

    def wait_allowed() -> None:
        def allowed() -> bool:
            status = kube.get("poddisruptionbudget", "evict").get("status", {})
            return bool(status.get("disruptionsAllowed") == 1)

        proc.wait_until(allowed, 60, "the budget to allow an eviction")

    def drain() -> None:
        wait_allowed()
        assert evict(kube, first).startswith("0\n")
        assert "violate the pod's disruption budget" in evict(kube, second)
        wait_allowed()
        assert evict(kube, second).startswith("0\n")
        proc.wait_until(
            lambda: {first, second}.isdisjoint(pod["metadata"]["name"] for pod in web.pods()),
            90,
            "the evicted pods to be gone",
        )

    assert_nothing_is_lost(kube, web, drain)


# --- one pod's death ---------------------------------------------------------------------------


def test_a_request_that_takes_most_of_the_budget_is_answered(
    kube: Kube, release: Install, follow: Follow
) -> None:
    pod = release("slow", {"settings": {"worker": {"count": 1}}}).pod()
    log = follow(pod["metadata"]["name"])
    with request(pod, "/sleep/13") as connection:
        delete(kube, pod["metadata"]["name"])
        answer = connection.recv(4096)
        ended = log.wait_event("srvinit.exiting")

    assert answer.startswith(b"HTTP/1.1 200 OK"), "".join(log.lines)
    assert ended["status"] == 0
    assert at(ended) - at(log.wait_event("shutdown.started")) > 7  # from when the kubelet saw it
    assert kube.exit_status(log.pod) == 0


def test_a_deaf_worker_is_ended_by_srvinit_and_not_by_the_kubelet(
    kube: Kube, release: Install, follow: Follow
) -> None:
    """The whole budget is used: 2 s of drain, 5 s for the worker, 1 s kept back."""
    values = {"command": DEAF, "settings": ALONE, "terminationGracePeriodSeconds": 8}
    pod = release("deaf", values).pod()["metadata"]["name"]
    log = follow(pod)
    log.wait_event("worker.ready")
    delete(kube, pod)

    assert kube.exit_status(pod) == 124  # 137 if the kubelet had been first
    killed = at(log.wait_event("worker.killed")) - at(log.wait_event("shutdown.started"))
    assert 6.9 < killed < 8
    assert at(log.wait_event("srvinit.exiting")) - at(log.wait_event("shutdown.started")) < 8


def test_a_pre_stop_hook_comes_off_the_budget(kube: Kube, release: Install, follow: Follow) -> None:
    values = {
        "command": DEAF,
        "settings": ALONE,
        "terminationGracePeriodSeconds": 12,
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "4"]}}},
        "preStopSeconds": 5,
    }
    pod = release("hook", values).pod()["metadata"]["name"]
    log = follow(pod)
    log.wait_event("worker.ready")
    asked_at = delete(kube, pod)

    assert kube.exit_status(pod) == 124
    started = log.wait_event("shutdown.started")
    assert at(started) - asked_at > 3.9  # the hook comes first
    assert started["deadline_s"] == 7
    assert at(log.wait_event("srvinit.exiting")) - at(started) < 7


# --- what went wrong, where people look --------------------------------------------------------


def test_a_crash_loop_shows_its_reason(kube: Kube, release: Install) -> None:
    settings = {**ALONE, "restart": {"limit": 2, "delay": "100ms"}}
    command = ["sh", "-c", "exit 3"]
    web = release("crash", {"command": command, "settings": settings})

    def looping() -> list[Any]:
        return [
            one
            for pod in web.pods()
            for one in pod["status"].get("containerStatuses", [])
            if one["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
        ]

    [status] = proc.wait_until(looping, 90, "CrashLoopBackOff")

    assert status["lastState"]["terminated"]["exitCode"] == 3
    described = kube.kubectl("describe", "pods", "-l", web.selector)
    assert "giving up after 2 failures in a row, the last: exit 3" in described


def test_refused_settings_show_in_describe(kube: Kube, release: Install) -> None:
    """What the schema cannot know: srvinit itself judges the value."""
    web = release("typo", {"settings": {"recycle": {"max_surge": "150%"}}})

    def told() -> bool:
        return "recycle.max_surge" in kube.kubectl("describe", "pods", "-l", web.selector)

    proc.wait_until(told, 60, "the fault in kubectl describe")
    [pod] = web.pods()
    [status] = pod["status"]["containerStatuses"]
    ended = status["state"].get("terminated") or status["lastState"]["terminated"]
    assert ended["exitCode"] == 2
