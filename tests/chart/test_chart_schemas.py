"""Every rendering is one that the API of the oldest and of the newest Kubernetes takes."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import chart
import pytest

SIDECAR = {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"}
EVERYTHING: dict[str, Any] = {
    "fullnameOverride": "shop-web",
    "imagePullSecrets": [{"name": "pull"}],
    "env": [{"name": "A", "value": "1"}],
    "envFrom": [{"secretRef": {"name": "secrets"}}],
    "ports": [
        {"name": "http", "port": 8080, "servicePort": 80, "appProtocol": "http"},
        {"name": "dns", "port": 5353, "protocol": "UDP"},
        {"name": "own", "port": 7000, "bind": False},
    ],
    "settings": {
        "worker": {"count": "auto*2", "env": {"X": "a b", "Y.Z": "1"}, "max_age": "12h"},
        "signal": {"QUIT": "shutdown"},
        "bind": {"backlog": 1000000},
        "recycle": {"watch": ["/run/secrets/tls"]},
        "shutdown": {"delay": "2500ms", "timeout": "20s"},
    },
    "terminationGracePeriodSeconds": 60,
    "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
    "preStopSeconds": 3,
    "sidecarSeconds": 5,
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "serviceAccount": {"annotations": {"role": "r"}, "automount": True},
    "autoscaling": {
        "enabled": True,
        "targetMemoryUtilizationPercentage": 80,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "srvinit_accept_queue_length"},
                    "target": {"type": "AverageValue", "averageValue": "5"},
                },
            }
        ],
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
    },
    "podDisruptionBudget": {"maxUnavailable": "", "minAvailable": "50%"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
    "resources": {"requests": {"cpu": "1", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "tmp": {"medium": "Memory"},
    "inject": {"enabled": True},
    "minReadySeconds": 5,
    "podLabels": {"team": "web"},
    "podAnnotations": {"note": "1"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 1000000}],
    "affinity": {"podAntiAffinity": {}},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "shareProcessNamespace": True,
    "initContainers": [{"name": "first", "image": "init:1"}],
    "extraContainers": [{"name": "beside", "image": "beside:1"}],
    "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
    "volumeMounts": [{"name": "tls", "mountPath": "/run/secrets/tls"}],
}
CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
MATRIX: dict[str, dict[str, Any]] = {
    "least": {},
    "everything": EVERYTHING,
    "stateful": chart.merged(
        EVERYTHING,
        {"kind": "StatefulSet", "volumeClaimTemplates": [CLAIM]},
    ),
    "bare": {
        "ports": [],
        "service": {"enabled": False},
        "http": {"enabled": False},
        "settings": {"worker": {"require": "online"}},
        "config": {"watch": False},
        "probes": {kind: {"enabled": False} for kind in ("startup", "readiness", "liveness")},
        "serviceAccount": {"create": False},
        "tmp": {"enabled": False},
        "tests": {"enabled": False},
        "replicas": 1,
    },
    "exec probes": {"http": {"enabled": False}},
    "unbound": {
        "ports": [{"name": "tcp", "port": 7000, "bind": False}],
        "settings": {"worker": {"require": "online"}},
    },
    "image by digest": {"image": {"digest": "sha256:" + "0a" * 32}},
    "long liveness": {
        "terminationGracePeriodSeconds": 300,
        "probes": {"liveness": {"terminationGracePeriodSeconds": 30}},
    },
}
#: What only later versions of Kubernetes have.
LATER: dict[str, tuple[str, dict[str, Any]]] = {
    "sidecar": ("1.30.0", {"initContainers": [SIDECAR], "sidecarSeconds": 5}),
    "sleep hook": ("1.30.0", {"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}}),
}


@pytest.mark.parametrize("version", chart.VERSIONS)
@pytest.mark.parametrize("name", MATRIX)
def test_every_version_of_kubernetes_takes_what_is_rendered(name: str, version: str) -> None:
    assert chart.refused(chart.render(MATRIX[name], kube=version), version) == []


@pytest.mark.parametrize("name", LATER)
def test_later_versions_take_what_is_new_in_them(name: str) -> None:
    version, values = LATER[name]

    assert chart.refused(chart.render(values, kube=version), version) == []
    assert chart.refused(chart.render(values), chart.NEWEST) == []


@pytest.mark.parametrize("version", [chart.OLDEST, chart.NEWEST])
@pytest.mark.parametrize("path", sorted(chart.EXAMPLES.iterdir()), ids=lambda path: path.stem)
def test_the_examples_are_taken(path: Any, version: str) -> None:
    rendered = chart.render(path, kube=version)

    assert chart.refused(rendered, version) == []
    assert chart.workers(rendered)["args"][0] == "--"


def test_the_judge_finds_an_unknown_field() -> None:
    """What all the others here rest on."""
    rendered = chart.render({"serviceMonitor": {"enabled": True}})
    chart.workers(rendered)["livenessProbe"]["terminationGracePeriod"] = 5

    [fault] = chart.refused(rendered, chart.NEWEST)
    assert "terminationGracePeriod" in fault
    later = chart.render({})
    assert any("terminationGracePeriodSeconds" in one for one in chart.refused(later, chart.OLDEST))


@pytest.mark.parametrize("helm", chart.HELMS)
def test_helm_finds_nothing_to_say(helm: str, tmp_path: Any) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(chart.merged(chart.LEAST, EVERYTHING)))
    done = subprocess.run(
        [chart.tool(helm), "lint", "--strict", "--quiet", chart.CHART, "-f", values],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", MATRIX)
def test_both_helms_render_the_same(name: str) -> None:
    three, four = (chart.render(MATRIX[name], helm=helm) for helm in chart.HELMS)

    assert three == four
