"""What the manifests say, field by field: the promises of the chart."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import chart
import pytest
import yaml

from srvinit.settings.sources import Sources

RESTRICTED_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected"}
RESTRICTED_VOLUMES |= {"persistentVolumeClaim", "secret"}


def file_of(rendered: chart.Rendered) -> dict[str, Any]:
    return tomllib.loads(rendered["ConfigMap", "web"]["data"]["srvinit.toml"])


# --- the budget ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "budget"),
    [
        ({}, "30s"),
        ({"terminationGracePeriodSeconds": 300}, "300s"),
        ({"lifecycle": {"preStop": {"exec": {"command": ["x"]}}}, "preStopSeconds": 7}, "23s"),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}, "26s"),
        ({"sidecarSeconds": 5}, "25s"),
    ],
)
def test_srvinit_is_told_what_of_the_grace_period_is_its_own(values: Any, budget: str) -> None:
    rendered = chart.render(values)
    pod = rendered["Deployment", "web"]["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] == values.get("terminationGracePeriodSeconds", 30)
    told = chart.environment(chart.workers(rendered))
    assert told["SRVINIT_SHUTDOWN_GRACE_PERIOD"] == budget
    assert "preStop" not in chart.workers(rendered).get("lifecycle", {}) or "lifecycle" in values


def test_c39_a_wedged_pod_does_not_wait_its_whole_grace() -> None:
    rendered = chart.render({}, "--set", "terminationGracePeriodSeconds=300")

    assert chart.workers(rendered)["livenessProbe"]["terminationGracePeriodSeconds"] <= 30


def test_the_liveness_probes_own_grace_is_never_more_than_the_pods() -> None:
    rendered = chart.render(
        {"terminationGracePeriodSeconds": 8, "settings": {"shutdown": {"delay": 2}}}
    )

    assert chart.workers(rendered)["livenessProbe"]["terminationGracePeriodSeconds"] == 8


def test_no_field_is_there_before_its_version() -> None:
    rendered = chart.render(
        {
            "autoscaling": {
                "enabled": True,
                "targetCPUUtilizationPercentage": 0,
                "targetMemoryUtilizationPercentage": 0,
                "metrics": [{"type": "External"}],
            }
        },
        kube="1.20.0",
    )

    assert "terminationGracePeriodSeconds" not in chart.workers(rendered)["livenessProbe"]
    assert rendered["HorizontalPodAutoscaler", "web"]["apiVersion"] == "autoscaling/v2beta2"
    assert rendered["PodDisruptionBudget", "web"]["apiVersion"] == "policy/v1beta1"


def test_the_startup_probe_leaves_time_for_a_second_attempt() -> None:
    values = {"settings": {"worker": {"timeout": "90s"}, "restart": {"delay": "1500ms"}}}
    probe = chart.workers(chart.render(values))["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] >= 90 + 1.5 + 90


# --- the file ------------------------------------------------------------------------------------


def test_the_file_holds_what_was_set_and_what_follows() -> None:
    settings = {
        "worker": {"count": 3, "env": {"QUOTED": 'a "b"\\\n<&>', "K.EY": "ü"}},
        "signal": {"QUIT": "shutdown"},
        "bind": {"mode": "steered", "backlog": 1000000},
        "recycle": {"watch": ["/run/tls"], "settle": 0.5},
        "restart": {"limit": 0},
    }
    ports = [
        {"name": "http", "port": 8080},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "own", "port": 7000, "bind": False},
    ]

    assert file_of(chart.render({"settings": settings, "ports": ports})) == {
        "http": ":9090",
        "worker": {"require": "listen", "timeout": "30s", **settings["worker"]},
        "signal": {"QUIT": "shutdown"},
        "bind": {"mode": "steered", "backlog": 1000000, "address": ["http=:8080", "dns=udp::53"]},
        "recycle": {"settle": 0.5, "watch": ["/etc/srvinit", "/run/tls"]},
        "restart": {"limit": 0},
        "shutdown": {"delay": "5s"},
    }


def test_srvinit_itself_takes_the_file(tmp_path: Any) -> None:
    values = {
        "settings": {"worker": {"count": "auto+1", "env": {"A": "1"}, "max_age": "1h"}},
    }
    rendered = chart.render(values)
    path = tmp_path / "srvinit.toml"
    path.write_text(rendered["ConfigMap", "web"]["data"]["srvinit.toml"])
    environ = chart.environment(chart.workers(rendered)) | {"SRVINIT_CONFIG": str(path)}

    options = Sources(["--", "true"], environ).load()

    assert str(options.worker_count) == "auto+1"
    assert [bind.port for bind in options.bind] == [8080]
    assert options.recycle_watch == ("/etc/srvinit",)
    assert options.http is not None
    assert options.shutdown_timeout == 30 - 5 - 1


def test_the_file_is_mounted_as_a_folder_so_that_it_is_updated() -> None:
    for _, pod in chart.pods(chart.render({})):
        for container in pod["containers"]:
            for mount in container.get("volumeMounts", []):
                assert "subPath" not in mount


def test_what_no_recycle_can_change_changes_the_pod() -> None:
    def annotations(**settings: Any) -> Any:
        values = {"settings": settings, "config": {"watch": watch}}
        template = chart.render(values)["Deployment", "web"]["spec"]["template"]
        return template["metadata"]["annotations"]

    watch = True
    assert annotations() == annotations(recycle={"timeout": "5s"})
    assert annotations() != annotations(bind={"mode": "steered"})
    watch = False
    assert annotations() != annotations(recycle={"timeout": "5s"})


# --- the pod -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "injected"])
def test_c36_every_pod_is_restricted_out_of_the_box(name: str) -> None:
    rendered = chart.render({"inject": {"enabled": name == "injected"}})

    names = {name for name, _ in chart.pods(rendered)}
    assert names == {"web", "web-test-serve", "web-test-recycle", "web-test-drain"}
    for _, pod in chart.pods(rendered):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert isinstance(security["runAsUser"], int)
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for volume in pod.get("volumes", []):
            assert volume.keys() - {"name"} <= RESTRICTED_VOLUMES
        for container in [*pod["containers"], *pod.get("initContainers", [])]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert own["readOnlyRootFilesystem"] is True
            assert not any("hostPort" in port for port in container.get("ports", []))


def test_the_pod_runs_the_command_behind_srvinit() -> None:
    container = chart.workers(chart.render({"command": ["run", "--n", 4, 1000000]}))

    assert container["command"] == ["/opt/srvinit/srvinit"]
    assert container["args"] == ["--", "run", "--n", "4", "1000000"]


def test_no_service_gives_the_pod_variables() -> None:
    pods = dict(chart.pods(chart.render({})))

    assert pods["web"]["enableServiceLinks"] is False
    assert pods["web"]["automountServiceAccountToken"] is False


def test_probes_ask_srvinitctl_where_there_is_no_http() -> None:
    container = chart.workers(chart.render({"http": {"enabled": False}}))

    assert container["readinessProbe"]["exec"]["command"] == ["/opt/srvinit/srvinitctl", "ready"]
    assert container["livenessProbe"]["exec"]["command"] == ["/opt/srvinit/srvinitctl", "live"]
    assert [port["name"] for port in container["ports"]] == ["http"]


def test_an_image_without_srvinit_gets_it_from_srvinits_own() -> None:
    rendered = chart.render({"inject": {"enabled": True}})
    pod = rendered["Deployment", "web"]["spec"]["template"]["spec"]
    version = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"]

    [first] = pod["initContainers"]
    assert first["image"] == f"srvinit:{version}"
    [brought] = first["volumeMounts"]
    assert {"name": brought["name"], "mountPath": "/opt/srvinit", "readOnly": True} in pod[
        "containers"
    ][0]["volumeMounts"]


def test_the_reason_of_an_end_reaches_describe() -> None:
    container = chart.workers(chart.render({}))

    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"


# --- around it -----------------------------------------------------------------------------------


def test_the_autoscaler_has_the_replicas_to_itself() -> None:
    rendered = chart.render(
        {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": 1}}}
    )

    assert "replicas" not in rendered["Deployment", "web"]["spec"]
    assert chart.render({})["Deployment", "web"]["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"podDisruptionBudget": {"maxUnavailable": "25%"}}, {"maxUnavailable": "25%"}),
        ({"podDisruptionBudget": {"maxUnavailable": "", "minAvailable": 1}}, {"minAvailable": 1}),
        ({"replicas": 1}, None),
        ({"replicas": 0}, None),
    ],
)
def test_a_disruption_budget_only_where_there_is_more_than_one_pod(
    values: Any, expected: Any
) -> None:
    found = chart.render(values).get(("PodDisruptionBudget", "web"))

    said = found and {key: at for key, at in found["spec"].items() if key != "selector"}
    assert said == expected


def test_a_roll_out_starts_a_pod_before_it_ends_one() -> None:
    strategy = chart.render({})["Deployment", "web"]["spec"]["strategy"]

    assert strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_services_select_the_pods_that_serve_and_no_test_pod() -> None:
    rendered = chart.render({"kind": "StatefulSet", "serviceMonitor": {"enabled": True}})
    template = rendered["StatefulSet", "web"]["spec"]["template"]["metadata"]["labels"]
    services = [one["spec"] for (kind, _), one in rendered.items() if kind == "Service"]

    assert len(services) == 3
    for service in services:
        assert service["selector"].items() <= template.items()
        for (kind, _), manifest in rendered.items():
            if kind == "Pod":
                assert not service["selector"].items() <= manifest["metadata"]["labels"].items()


def test_the_figures_are_on_no_load_balancer() -> None:
    rendered = chart.render(
        {"service": {"type": "LoadBalancer"}, "serviceMonitor": {"enabled": True}}
    )

    assert [port["name"] for port in rendered["Service", "web"]["spec"]["ports"]] == ["http"]
    assert rendered["Service", "web-metrics"]["spec"]["clusterIP"] == "None"
    monitor = rendered["ServiceMonitor", "web"]["spec"]
    labels = rendered["Service", "web-metrics"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()


def test_selectors_do_not_change_with_the_charts_version() -> None:
    workload = chart.render({})["Deployment", "web"]["spec"]

    assert "helm.sh/chart" not in workload["selector"]["matchLabels"]
    assert "helm.sh/chart" not in workload["template"]["metadata"]["labels"]


def test_a_network_policy_lets_the_test_pods_in() -> None:
    values = {"networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"a": "b"}}]}}
    rendered = chart.render(values)
    selectors = [
        source["podSelector"]["matchLabels"].items()
        for rule in rendered["NetworkPolicy", "web"]["spec"]["ingress"]
        for source in rule["from"]
        if source.get("podSelector", {}).get("matchLabels")
    ]
    test = rendered["Pod", "web-test-serve"]["metadata"]["labels"].items()

    assert any(selector <= test for selector in selectors)


def test_test_pods_run_the_same_container_as_the_release() -> None:
    rendered = chart.render({"kind": "StatefulSet"})

    for name in ("web-test-recycle", "web-test-drain"):
        assert rendered["Pod", name]["spec"]["containers"][0] == chart.workers(rendered)
        assert rendered["Pod", name]["spec"]["shareProcessNamespace"] is True


# --- numbers -------------------------------------------------------------------------------------

MILLION = 1_000_000
#: What a million is too much for by itself, or which another value bounds.
BOUNDED = {
    "http.port",
    "preStopSeconds",
    "probes.liveness.terminationGracePeriodSeconds",
    "terminationGracePeriodSeconds",
}


def numbers(values: dict[str, Any], above: str = "") -> list[str]:
    """Return the names of all values that are numbers."""
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += numbers(value, f"{above}{key}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(f"{above}{key}")
    return found


def nested(name: str, value: Any) -> dict[str, Any]:
    """Return the values that `--set name=value` gives."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("given_by", ["--set", "file"])
def test_c37_a_million_is_seven_digits(given_by: str) -> None:
    """Every number there is, at once: Kubernetes would refuse 1e+06."""
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    names = sorted(set(numbers(values)) - BOUNDED)
    assert len(names) > 15
    given = {
        "settings": {"worker": {"count": 10_000}, "bind": {"backlog": MILLION}},
        "resources": {"requests": {"cpu": MILLION, "memory": MILLION}},
        "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": MILLION}],
        "autoscaling": {"enabled": True},
        "terminationGracePeriodSeconds": 2 * MILLION,
    }
    flags = [f"--set={name}={MILLION}" for name in names]
    if given_by == "file":
        given, flags = chart.merged(given, *(nested(name, MILLION) for name in names)), []

    done = chart.template(chart.merged(chart.LEAST, given), *flags)

    assert done.returncode == 0, done.stderr
    assert not re.search(r"[0-9]e\+", done.stdout)
    rendered = chart.parsed(done.stdout)
    assert rendered["HorizontalPodAutoscaler", "web"]["spec"]["maxReplicas"] == MILLION
    told = chart.environment(chart.workers(rendered))["SRVINIT_SHUTDOWN_GRACE_PERIOD"]
    assert told == "1000000s"
    assert file_of(rendered)["bind"]["backlog"] == MILLION


@pytest.mark.parametrize("helm", chart.HELMS)
@pytest.mark.parametrize("tag", ["1234567", "12e5", "1.10", "007"])
def test_c37_a_tag_stays_what_it_is(tag: str, helm: str) -> None:
    by_flag = chart.render({}, "--set", f"image.tag={tag}", helm=helm)
    by_string = chart.render({"image": {"tag": tag}}, helm=helm)

    expected = f"web:{tag}"
    assert chart.workers(by_string)["image"] == expected
    assert chart.workers(by_flag)["image"] == expected


def test_every_value_of_the_environment_is_a_string() -> None:
    for _, pod in chart.pods(chart.render({})):
        for container in pod["containers"]:
            assert all(isinstance(one["value"], str) for one in container.get("env", []))
