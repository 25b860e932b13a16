"""The programs that reload, each as its own documentation says, and srvinit with the same servers.

{port} is a free one, {bin} and {npm} where `make peers` has put programs, {folder} a copy of
sites/. Two workers each. `srvinit-...` has the same server as the rivals of its family.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import dataclass

import programs

PEERS = programs.ROOT / "build" / "peers"  # never the project's own .venv
BIN = PEERS / "servers" / "bin"
NPM = PEERS / "node" / "node_modules" / ".bin"
WORKERS = 2
ALL_BAD = ("exits", "hangs", "dies")


@dataclass(frozen=True)
class Rival:
    """One program. `reload` is a signal's name, or a command; `stop` its graceful signal."""

    key: str
    family: str  # the server, and its row's neighbours
    command: tuple[str, ...]
    reload: tuple[str, ...]
    version: tuple[str, ...]
    stop: str = "TERM"
    bad: tuple[str, ...] = ALL_BAD
    has_slow: bool = True  # whether /slow and /deaf mean something to it

    @property
    def is_ours(self) -> bool:
        """Whether it is srvinit with that family's server."""
        return self.key.startswith("srvinit")

    @property
    def shown(self) -> str:
        """Say how it is started, as one would type it: without where things are."""
        words = [word.replace("{bin}/", "").replace("{npm}/", "") for word in self.command]
        if self.is_ours:
            words[: len(programs.SRVINIT)] = ["srvinit"]
        return shlex.join(words).replace("{port}", "PORT").replace("{folder}", "FOLDER")

    @property
    def how(self) -> str:
        """Say how it is reloaded."""
        words = [word.rpartition("/")[2] for word in self.reload if not word.startswith("--")]
        return " ".join(words)

    def is_installed(self) -> bool:
        """Tell whether its program is there."""
        return programs.installed(_filled(self.version[0]))

    def version_number(self) -> str:
        """Return what the program says is its version."""
        command = [_filled(word) for word in self.version]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
        return found[0] if found else "?"


def filled(words: tuple[str, ...], port: int, folder: str) -> list[str]:
    """Return a command with this port and folder."""
    return [_filled(word, port, folder) for word in words]


def _filled(word: str, port: int = 0, folder: str = "") -> str:
    for name, value in {"port": port, "folder": folder, "bin": BIN, "npm": NPM}.items():
        word = word.replace(f"{{{name}}}", str(value))
    return word


HUP = ("HUP",)
GUNICORN = ("{bin}/gunicorn", "--log-level=warning")
UVICORN = ("{bin}/uvicorn", "--log-level=warning", "--no-access-log")
HYPERCORN = ("{bin}/hypercorn", "--log-level=warning")
STARTER_FD = "${SERVER_STARTER_PORT##*=}"


def srvinit(*server: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the command of srvinit with a server, as README.md's recipes have it."""
    gate = ("--worker-require=listen", "--worker-timeout=30s")
    return (
        *programs.SRVINIT,
        f"-w{WORKERS}",
        "-b127.0.0.1:{port}",
        *gate,
        *options,
        "--",
        *server,
    )


STEERED = ("--bind-mode=steered",)
VERSIONS = {
    "gunicorn": ("{bin}/gunicorn", "--version"),
    "uvicorn": ("{bin}/uvicorn", "--version"),
    "hypercorn": ("{bin}/python", "-m", "pip", "show", "hypercorn"),
    "granian": ("{bin}/granian", "--version"),
    "circus": ("{bin}/circusd", "--version"),
    "puma": ("puma", "--version"),
    "unicorn": ("unicorn", "--version"),
    "node": ("node", "--version"),
    "pm2": ("{npm}/pm2", "--no-daemon", "--version"),
    "nginx": ("nginx", "-v"),
    "start_server": ("start_server", "--version"),
}  # fmt: skip

RIVALS = (
    Rival(
        "srvinit-gunicorn", "gunicorn sync", srvinit(*GUNICORN, "app:wsgi"), HUP,
        VERSIONS["gunicorn"],
    ),
    Rival(
        "gunicorn", "gunicorn sync",
        (*GUNICORN, f"--workers={WORKERS}", "--bind=127.0.0.1:{port}", "app:wsgi"), HUP,
        VERSIONS["gunicorn"],
    ),
    Rival(
        "server-starter", "gunicorn sync",
        ("start_server", "--port=127.0.0.1:{port}", "--", "sh", "-c",
         f"exec {' '.join(GUNICORN)} --workers={WORKERS} --bind=fd://{STARTER_FD} app:wsgi"),
        HUP, VERSIONS["start_server"],
    ),
    Rival(
        "srvinit-uvicorn", "uvicorn", srvinit(*UVICORN, "--fd=3", "app:asgi", options=STEERED),
        HUP, VERSIONS["uvicorn"],
    ),
    Rival(
        "srvinit-uvicorn-shared", "uvicorn", srvinit(*UVICORN, "--fd=3", "app:asgi"), HUP,
        VERSIONS["uvicorn"],
    ),
    Rival(
        "uvicorn", "uvicorn",
        (*UVICORN, f"--workers={WORKERS}", "--port={port}", "app:asgi"), HUP, VERSIONS["uvicorn"],
    ),
    Rival(
        "circus", "uvicorn", ("{bin}/circusd", "circus.ini"),
        ("{bin}/circusctl", "--endpoint=ipc://{folder}/circus.sock", "reload", "web"),
        VERSIONS["circus"],
    ),
    Rival(
        "srvinit-hypercorn", "hypercorn",
        srvinit(*HYPERCORN, "--bind=fd://3", "app:asgi", options=STEERED), HUP,
        VERSIONS["hypercorn"],
    ),
    Rival(
        "hypercorn", "hypercorn",
        (*HYPERCORN, f"--workers={WORKERS}", "--bind=127.0.0.1:{port}", "app:asgi"), HUP,
        VERSIONS["hypercorn"],
    ),
    Rival(
        "granian", "granian",
        ("{bin}/granian", "--interface=asgi", f"--workers={WORKERS}", "--port={port}",
         "--log-level=warning", "app:asgi"),
        HUP, VERSIONS["granian"],
    ),
    Rival(
        "srvinit-puma", "puma", srvinit("puma", "-b", "tcp://127.0.0.1:{port}"), HUP,
        VERSIONS["puma"],
    ),
    Rival("puma", "puma", ("puma", "-C", "puma.rb"), ("USR1",), VERSIONS["puma"]),
    Rival(
        "srvinit-unicorn", "unicorn",
        srvinit("unicorn", "-c", "unicorn_worker.rb", options=("--worker-stop-signal=QUIT",)), HUP,
        VERSIONS["unicorn"],
    ),
    Rival("unicorn", "unicorn", ("unicorn", "-c", "unicorn.rb"), ("USR2",), VERSIONS["unicorn"],
          stop="QUIT"),
    Rival(
        "srvinit-node", "node", srvinit("node", "server.js", options=STEERED), HUP,
        VERSIONS["node"],
    ),
    Rival("pm2", "node", ("{npm}/pm2-runtime", "start", "pm2.json"),
          ("{npm}/pm2", "reload", "web"), VERSIONS["pm2"]),
    Rival(
        "srvinit-nginx", "nginx",
        srvinit(
            "nginx", "-p", "{folder}", "-c", "nginx.conf", "-g", "daemon off;",
            options=("--bind-nonblocking", "--worker-stop-signal=QUIT", "--worker-env=NGINX=3;"),
        ),
        HUP, VERSIONS["nginx"], bad=("exits",), has_slow=False,
    ),
    Rival(
        "nginx", "nginx", ("nginx", "-p", "{folder}", "-c", "nginx.conf", "-g", "daemon off;"),
        HUP, VERSIONS["nginx"], stop="QUIT", bad=("exits",), has_slow=False,
    ),
)  # fmt: skip


def chosen(keys: list[str]) -> list[Rival]:
    """Return the rivals of these keys, or all; those that are installed. Unknown: LookupError."""
    known = {rival.key: rival for rival in RIVALS}
    for key in keys:
        if key not in known:
            raise LookupError(f"no rival {key}: there are {', '.join(known)}")
    wanted = [known[key] for key in keys] or list(RIVALS)
    return [rival for rival in wanted if rival.is_installed()]
