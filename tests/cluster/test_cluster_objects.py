"""What else the chart makes, taken by a real API server: a StatefulSet, an HPA, a policy."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import proc

if TYPE_CHECKING:
    from collections.abc import Callable

    from kube import Kube, Release

    Install = Callable[..., Release]

CTL = "/opt/srvinit/srvinitctl"


def test_a_stateful_set_is_installed_and_recycled(kube: Kube, release: Install) -> None:
    web = release("state", {"kind": "StatefulSet"})
    pod = web.pod()["metadata"]
    assert pod["name"] == "state-0"
    assert pod["ownerReferences"][0]["kind"] == "StatefulSet"

    web.exec("state-0", CTL, "recycle", "--wait")

    after = json.loads(web.exec("state-0", CTL, "status", "--json"))
    assert [one["generation"] for one in after["workers"]] == [2, 2]
    assert kube.get("pod", "state-0")["metadata"]["uid"] == pod["uid"]


def test_an_autoscaler_leaves_the_count_to_others(kube: Kube, release: Install) -> None:
    """The cluster measures nothing, so it is scaled by hand; an upgrade must not set it back."""
    values = {
        "autoscaling": {"enabled": True, "minReplicas": 1, "maxReplicas": 3},
        "resources": {"requests": {"cpu": "10m"}},
    }
    web = release("auto", values)
    web.roll_out()
    spec = kube.get("horizontalpodautoscaler", "auto")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 3)
    assert spec["scaleTargetRef"]["name"] == "auto"

    kube.kubectl("scale", "deployment/auto", "--replicas=2")
    web.roll_out()
    web.apply({**web.values, "service": {"annotations": {"changed": "yes"}}})

    assert kube.get("deployment", "auto")["spec"]["replicas"] == 2
    proc.wait_until(lambda: len(web.pods()) == 2, 30, "two pods")


def test_a_network_policy_is_taken_by_the_api_server(kube: Kube, release: Install) -> None:
    """Taken, not enforced: no network plugin of the cluster does that."""
    web = release("fenced", {"networkPolicy": {"enabled": True}})
    pod = web.pod()

    [policy] = kube.find("networkpolicies", "app.kubernetes.io/instance=fenced")

    assert policy["spec"]["policyTypes"] == ["Ingress"]
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= pod["metadata"]["labels"].items()


def test_a_deleted_pod_leaves_its_reason(kube: Kube, release: Install) -> None:
    """Whoever watches the pod to its end reads why it was not status 0: the last words count."""
    deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
    alone = {"worker": {"require": "online", "count": 1}, "shutdown": {"delay": "0s"}}
    values = {"command": deaf, "settings": alone, "terminationGracePeriodSeconds": 5}
    pod = release("last-words", values).pod()["metadata"]["name"]

    options = ["-o", "json", "--watch", "--output-watch-events"]
    with subprocess.Popen(
        ["kubectl", "get", "pod", pod, *options],
        env=kube.environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        kube.kubectl("delete", "pod", pod, "--timeout=60s")
        proc.wait_until(lambda: not kube.get("pod", pod), 60, "the pod to be gone")
        watch.terminate()
        seen, _ = watch.communicate(timeout=10)

    ends = list(ended(seen))
    assert [end["exitCode"] for end in ends][-1:] == [124], seen[-3000:]
    assert "ignored SIGTERM" in ends[-1]["message"]


def ended(seen: str) -> list[dict[str, Any]]:
    """Return each state "terminated" of what a watch said, one JSON object after the other."""
    decoder, found, text = json.JSONDecoder(), [], seen.strip()
    while text:
        event, length = decoder.raw_decode(text)
        text = text[length:].lstrip()
        for status in event["object"]["status"].get("containerStatuses", []):
            found += [
                status[when]["terminated"]
                for when in ("state", "lastState")
                if status[when].get("terminated")
            ]
    return found
