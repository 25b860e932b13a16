"""Renders the chart as users do, by helm, and hands out what came of it."""

from __future__ import annotations

import functools
import json
import subprocess
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import tools
import yaml
from harness import IN_CI
from layers import merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

CHART = tools.ROOT / "helm" / "srvinit"
EXAMPLES = CHART / "examples"
OLDEST, NEWEST = "1.20.0", "1.37.0"
VERSIONS = sorted((one for some in tools.SCHEMAS.values() for one in some), key=len)
HELMS = ("helm3", "helm4")

Manifest = dict[str, Any]
Rendered = dict[tuple[str, str], Manifest]

#: The least that a release needs.
LEAST = {"image": {"repository": "web", "tag": "1"}, "command": ["gunicorn", "app:app"]}


def tool(name: str) -> Path:
    """Return a program or schema that `make chart-tools` fetches."""
    path = tools.TOOLS / name
    if not path.exists():
        words = f"MISSING: .tools/{name} (make chart-tools)"
        pytest.fail(words) if IN_CI else pytest.skip(words)
    return path


def template(
    values: Mapping[str, Any] | Path,
    *flags: str,
    kube: str = NEWEST,
    helm: str = "helm4",
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with values, or with a file of them."""
    is_file = hasattr(values, "open")
    return _run(
        str(values) if is_file else "-", "" if is_file else json.dumps(values), kube, helm, flags
    )


@functools.cache
def _run(
    file: str, text: str, kube: str, helm: str, flags: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    # JSON is YAML in which every string is quoted
    command = [tool(helm), "template", "web", CHART, "--kube-version", kube, "-f", file, *flags]
    return subprocess.run(command, check=False, capture_output=True, text=True, input=text)


def parsed(text: str) -> Rendered:
    """Return the manifests of a text, by kind and name."""
    found: Rendered = {}
    for manifest in yaml.safe_load_all(text):
        if manifest is not None:
            key = (manifest["kind"], manifest["metadata"]["name"])
            assert key not in found, f"{key} is there twice"
            found[key] = manifest
    return found


def render(values: Mapping[str, Any] | Path, *flags: str, **options: str) -> Rendered:
    """Render the chart with LEAST and these values, or a file of values alone."""
    whole = values if hasattr(values, "open") else merged(LEAST, values)
    done = template(whole, *flags, **options)
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout)


def faults(values: Mapping[str, Any], *flags: str, **options: str) -> list[str]:
    """Return the lines that refuse LEAST with these values, without what helm says around them."""
    done = template(merged(LEAST, values), *flags, **options)
    assert done.returncode != 0, "nothing was refused"
    return [line.strip().removeprefix("- ") for line in done.stderr.splitlines() if "- " in line]


def pods(rendered: Rendered) -> Iterable[tuple[str, Manifest]]:
    """Return the name and the spec of every pod there would be."""
    for (kind, name), manifest in rendered.items():
        if kind in {"Deployment", "StatefulSet"}:
            yield name, manifest["spec"]["template"]["spec"]
        elif kind == "Pod":
            yield name, manifest["spec"]


def workers(rendered: Rendered) -> Manifest:
    """Return the container of the workload that runs srvinit."""
    [workload] = [
        one for (kind, _), one in rendered.items() if kind in {"Deployment", "StatefulSet"}
    ]
    return workload["spec"]["template"]["spec"]["containers"][0]


def environment(container: Manifest) -> dict[str, str]:
    """Return the plain variables of a container."""
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


@functools.cache
def validators(version: str) -> dict[tuple[str, str], Any]:
    """Return what judges each kind of object of one version of Kubernetes, strictly."""
    document = json.loads(tool(tools.schema_file(version).name).read_text())
    place = "definitions" if "definitions" in document else "$defs"  # older and newer packages
    judge = (
        jsonschema.Draft4Validator if place == "definitions" else jsonschema.Draft202012Validator
    )
    definitions = document[place]
    judges = {}
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            group = f"{kind['group']}/" if kind["group"] else ""
            schema = {"$ref": f"#/{place}/{name}", place: definitions}
            judges[group + kind["version"], kind["kind"]] = judge(schema)
    return judges


def refused(rendered: Rendered, version: str) -> list[str]:
    """Return what the API of that version would not take; custom kinds are not judged."""
    found = []
    for (kind, name), manifest in rendered.items():
        if manifest["apiVersion"].endswith(".coreos.com/v1"):
            continue
        judge = validators(version).get((manifest["apiVersion"], kind))
        if judge is None:
            found.append(f"{kind} {name}: {version} knows no {manifest['apiVersion']}")
            continue
        found += [
            f"{kind} {name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
            for error in judge.iter_errors(manifest)
        ]
    return found
