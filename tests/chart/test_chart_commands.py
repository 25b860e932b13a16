"""The commands that the docs have for helm render the chart."""

from __future__ import annotations

import shlex
import subprocess

import chart
import pytest
import readme


@pytest.mark.parametrize("page", ["README.md", "helm/srvinit/README.md"])
@pytest.mark.parametrize("helm", chart.HELMS)
def test_the_commands_of_the_docs_render(page: str, helm: str) -> None:
    """`helm install`, word for word but that it is `helm template`: there is no cluster here."""
    text = (readme.ROOT / page).read_text()
    language = "bash" if page == "README.md" else "sh"
    block = readme.block(language, "helm install", text).replace("\\\n", " ")
    words = shlex.split(next(line for line in block.splitlines() if "helm install" in line))
    assert words[:2] == ["helm", "install"]
    command = [chart.tool(helm), "template", *words[2:], "--kube-version", chart.NEWEST]
    done = subprocess.run(command, cwd=readme.ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    image = dict(word.split("=", 1) for word in words if word.startswith("image."))
    pod = chart.parsed(done.stdout)["Deployment", "web"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"{image['image.repository']}:{image['image.tag']}"
