"""What is refused before anything is installed, in the words that users see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import chart
import pytest
import tools
import yaml

HERE = Path(__file__).parent
REFUSED: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "refused.yaml").read_text())


@pytest.mark.parametrize("helm", chart.HELMS)
@pytest.mark.parametrize("name", REFUSED)
def test_contradictions_are_refused_in_words(name: str, helm: str) -> None:
    assert chart.faults(REFUSED[name]["values"], helm=helm) == REFUSED[name]["refused"]


def test_everything_that_is_required_is_asked_for_at_once() -> None:
    done = chart.template({})

    assert "3 faults in these values" in done.stderr
    for word in ("image.repository is empty", "image.tag is empty", "command is empty"):
        assert word in done.stderr


def test_all_faults_come_at_once_with_the_sum() -> None:
    """The example of the chart's README."""
    values = {
        "settings": {"shutdown": {"timeout": "40s"}},
        "autoscaling": {"enabled": True},
    }
    said = chart.faults(values)

    assert len(said) == 2
    readme = (chart.CHART / "README.md").read_text()
    for line in said:
        assert f"- {line}\n" in readme


TOO_OLD = {
    "lifecycle.preStop.sleep needs Kubernetes 1.30": {
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}
    },
    "initContainers has the sidecar proxy, which needs Kubernetes 1.29": {
        "initContainers": [{"name": "proxy", "restartPolicy": "Always"}]
    },
}


@pytest.mark.parametrize("words", TOO_OLD)
def test_what_a_cluster_is_too_old_for_is_refused(words: str) -> None:
    [line] = chart.faults(TOO_OLD[words], kube="1.20.0")

    assert line.startswith(f"{words}, this is v1.20.0: ")


def test_a_cluster_that_is_too_old_for_the_chart_is_refused() -> None:
    done = chart.template(chart.LEAST, kube="1.19.16")

    assert done.returncode != 0
    assert "1.20" in done.stderr


# --- the schema ----------------------------------------------------------------------------------


@pytest.mark.parametrize("helm", chart.HELMS)
@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"replcas": 3}, "replcas"),
        ({"settings": {"worker": {"conut": 3}}}, "conut"),
        ({"settings": {"shutdwon": {}}}, "shutdwon"),
        ({"settings": {"log": {"level": "loud"}}}, "log/level"),
        ({"settings": {"shutdown": {"delay": "5 s"}}}, "shutdown/delay"),
        ({"settings": {"worker": {"signal_group": "yes"}}}, "signal_group"),
        ({"probes": {"liveness": {"terminationGracePeriodSeconds": 31}}}, "30"),
        ({"podSecurityContext": {"runAsUser": "web"}}, "runAsUser"),
        ({"ports": [{"name": "http", "port": 80800}]}, "ports/0/port"),
        ({"ports": [{"name": "http", "port": 8080, "nodeport": 1}]}, "nodeport"),
        ({"env": [{"name": "A", "value": 1}]}, "env"),
        ({"kind": "DaemonSet"}, "kind"),
        ({"image": {"digest": "abc"}}, "digest"),
        ({"terminationGracePeriodSeconds": 0}, "terminationGracePeriodSeconds"),
        ({"terminationGracePeriodSeconds": "30"}, "terminationGracePeriodSeconds"),
    ],
)
def test_a_typing_error_is_named(values: Any, word: str, helm: str) -> None:
    done = chart.template(chart.merged(chart.LEAST, values), helm=helm)

    assert done.returncode != 0
    assert "schema" in done.stderr
    assert word.replace("/", ".") in done.stderr.replace("/", ".")  # helm 3 parts by dots


def test_the_schema_has_every_value_and_no_other() -> None:
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    schema = json.loads((chart.CHART / "values.schema.json").read_text())

    def compare(value: Any, judged: Any, where: str) -> None:
        if isinstance(value, dict) and judged.get("additionalProperties") is False:
            missing = value.keys() - judged["properties"].keys()
            assert not missing, f"{where}: {missing} not in the schema"
            for key, inner in value.items():
                compare(inner, judged["properties"][key], f"{where}.{key}")

    compare(values, schema, "values")
    assert schema["properties"].keys() - {"global"} == values.keys()


def test_what_is_generated_is_up_to_date() -> None:
    command = [sys.executable, str(tools.ROOT / "docs" / "generate_chart.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
