"""A Kubernetes for tests, asked through kubectl and helm.

The environment variable KUBE_TOOL names a program that brings it: `up` starts a cluster of one node
and returns when that is ready, `env` prints shell exports for kubectl and docker, `load TAG FOLDER`
makes an image of a folder's Dockerfile known to the node, `down` ends it. Pods are reached by their
addresses. A cluster that is up already is used, and left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import proc

if TYPE_CHECKING:
    from typing import Self

ROOT = Path(__file__).resolve().parent.parent.parent
CHART = ROOT / "helm" / "srvinit"
HELM = ROOT / ".tools" / "helm4"

Thing = dict[str, Any]


class Kube:
    """The cluster, for the time of a `with`."""

    def __init__(self) -> None:
        self._tool = os.environ.get("KUBE_TOOL") or harness.missing("KUBE_TOOL")
        if not HELM.exists():
            harness.missing(".tools/helm4 (make chart-tools)")
        exports = f'eval "$({self._tool} env)"; env -0'
        said = subprocess.run(["bash", "-c", exports], check=True, capture_output=True, text=True)
        pairs = (line.partition("=") for line in said.stdout.split("\0") if line)
        self.environ = {name: value for name, _, value in pairs}
        self._was_up = self._answers()
        self._began_at = time.time()

    def __enter__(self) -> Self:
        if not self._was_up:
            subprocess.run([self._tool, "up"], check=True, timeout=900, env=self.environ)
        return self

    def __exit__(self, *_exception: object) -> None:
        if not self._was_up:
            subprocess.run([self._tool, "down"], check=True, timeout=120, env=self.environ)

    def _answers(self) -> bool:
        command = ["kubectl", "--request-timeout=2s", "get", "nodes"]
        return (
            subprocess.run(command, check=False, capture_output=True, env=self.environ).returncode
            == 0
        )

    def run(self, *command: str, fails: bool = False, stdin: str = "") -> str:
        """Run kubectl, helm or docker to its end; return what it said: all of it if it may fail."""
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            input=stdin,
            env=self.environ,
            timeout=600,
        )
        if fails:
            return f"{done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def load(self, tag: str, folder: Path) -> None:
        """Build the image of a folder's Dockerfile on the node."""
        self.run(self._tool, "load", tag, str(folder))

    def kubectl(self, *arguments: str, **options: Any) -> str:
        """Run kubectl."""
        return self.run("kubectl", *arguments, **options)

    def find(self, kind: str, selector: str) -> list[Thing]:
        """Return the objects of a kind that a selector finds."""
        found: list[Thing] = json.loads(self.kubectl("get", kind, "-l", selector, "-o", "json"))[
            "items"
        ]
        return found

    def get(self, kind: str, name: str) -> Thing:
        """Return one object; an empty one where there is none."""
        said = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(said) if said else {}

    def exit_status(self, pod: str, within: float = 40.0) -> int:
        """Return the exit status of a pod's container, as the container engine saw it.

        The API does not have it: the kubelet of 1.20 shows the container of a pod that is being
        deleted as "waiting" once it has ended.
        """
        labels = {"io.kubernetes.pod.name": pod, "io.kubernetes.container.name": "srvinit"}
        filters = [f"--filter=label={label}={value}" for label, value in labels.items()]
        shape = '--format={{index .Actor.Attributes "exitCode"}}'
        began = f"{int(self._began_at)}"

        def died() -> list[str]:
            window = [f"--since={began}", f"--until={time.time():.3f}"]
            return self.run(
                "docker", "events", *window, "--filter=event=die", *filters, shape
            ).split()

        return int(proc.wait_until(died, within, f"the end of {pod}")[-1])


class Release:
    """One release of the chart; uninstalled at the end of a `with`."""

    def __init__(self, kube: Kube, name: str, values: Thing) -> None:
        self.kube, self.name = kube, name
        self.selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/component=workers"
        self.values = values

    def __enter__(self) -> Self:
        self.apply(self.values)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.helm("uninstall", self.name, fails=True)
        gone = ["delete", "pods", "-l", f"app.kubernetes.io/instance={self.name}"]
        self.kube.kubectl(*gone, "--force", "--grace-period=0", "--wait=false", fails=True)

    def helm(self, *arguments: str, **options: Any) -> str:
        """Run helm."""
        return self.kube.run(str(HELM), *arguments, **options)

    def apply(self, values: Thing) -> None:
        """Install or upgrade it to these values."""
        self.values = values
        command = ["upgrade", "--install", self.name, str(CHART), "-f", "-"]
        self.helm(*command, stdin=json.dumps(values))

    def roll_out(self, within: float = 120) -> None:
        """Wait until Kubernetes holds the roll-out for done."""
        self.kube.kubectl(
            "rollout", "status", f"deployment/{self.name}", f"--timeout={within:.0f}s"
        )

    def pods(self) -> list[Thing]:
        """Return its pods that serve, those that are being deleted last."""
        found = self.kube.find("pods", self.selector)
        return sorted(found, key=lambda pod: "deletionTimestamp" in pod["metadata"])

    def pod(self) -> Thing:
        """Return its only pod, once it is ready."""

        def ready() -> list[Thing]:
            return [pod for pod in self.pods() if is_ready(pod)]

        [pod] = proc.wait_until(ready, 60, f"a ready pod of {self.name}")
        return pod

    def exec(self, pod: str, *command: str, **options: Any) -> str:
        """Run a command in a pod's container."""
        return self.kube.kubectl("exec", pod, "-c", "srvinit", "--", *command, **options)


def is_ready(pod: Thing) -> bool:
    """Hold if a pod counts as ready and is not being deleted."""
    conditions = pod["status"].get("conditions", [])
    is_so = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return is_so and "deletionTimestamp" not in pod["metadata"]


class Log:
    """The log of one pod, followed from its beginning beyond its end."""

    def __init__(self, kube: Kube, pod: str) -> None:
        self.pod = pod
        self.lines: list[str] = []
        command = ["kubectl", "logs", "-f", pod, "-c", "srvinit"]
        self._process = subprocess.Popen(
            command, env=kube.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def events(self) -> list[Thing]:
        """The lines of srvinit."""
        found = []
        for line in list(self.lines):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def wait_event(self, name: str, within: float = 60.0, **fields: Any) -> Thing:
        """Return the first event of that name with those fields."""
        wanted = {"event": name, **fields}

        def hits() -> list[Thing]:
            return [one for one in self.events if wanted.items() <= one.items()]

        try:
            return proc.wait_until(hits, within, f"event {wanted} of {self.pod}")[0]
        except AssertionError as late:
            late.add_note("".join(self.lines))
            raise


def image(kube: Kube, tag: str, lay_out: Any = None, bundle: Path | None = None) -> None:
    """Make an image of what `lay_out` puts into a folder, and of srvinit."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "root").mkdir(mode=0o755)
        if lay_out:
            lay_out(folder / "root")
        if bundle:
            (folder / "root" / "opt").mkdir()
            subprocess.run(["cp", "-a", bundle, folder / "root" / "opt" / "srvinit"], check=True)
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY root /\nUSER 65532:65532\n")
        kube.load(tag, folder)
