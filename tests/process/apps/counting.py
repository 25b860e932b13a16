"""A program that uses srvinit as a library: counts its imports, answers with who it is.

argv[1] says how srv() is called; PORT is the port; BEHAVE changes what the function does.
"""

import os
import signal
import socket
import sys
import time

import srvinit

print(f"imported by {os.getpid()}", flush=True)
PORT = os.environ.get("PORT", "0")
BEHAVE = os.environ.get("BEHAVE", "serve")


def serve(worker):
    """Answer one line a connection until asked to stop."""
    stopping = []

    def disconnect():
        print(f"disconnect {worker.slot}", flush=True)
        stopping.append(True)

    worker.on("disconnect", disconnect)
    if BEHAVE == "raise":
        raise ValueError("the function failed on purpose")
    if BEHAVE == "exit":
        sys.exit(7)
    listener = worker.sockets[0]
    listener.settimeout(0.05)
    worker.ready()
    while not stopping:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.recv(65536)
            body = f"{worker.slot} {worker.generation} {os.getpid()}"
            connection.sendall(
                f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
            )
    print(f"returning {worker.slot}", flush=True)


def bare():
    """Take no argument and register nothing: a stop is SystemExit, and `finally` runs."""
    print(f"bare {os.environ['SRVINIT_WORKER']}", flush=True)
    try:
        while True:
            time.sleep(60)
    finally:
        print("cleaned up", flush=True)


def after(_number, _frame):
    """Prove that the program's own handler is back once srv() has returned."""
    print("own handler", flush=True)


signal.signal(signal.SIGUSR1, after)
settings = {
    "worker": {"count": 2, "require": "notify", "timeout": 10},
    "recycle": {"settle": "100ms"},
    "restart": {"limit": 2, "delay": "10ms"},
    "bind": f"127.0.0.1:{PORT}",
}
match sys.argv[1]:
    case "nested":
        srvinit.srv(settings, serve)
    case "options":
        srvinit.srv(srvinit.Options.from_dict(settings), serve)
    case "named":
        srvinit.srv(serve, worker_count=2, worker_require="notify", bind=[f"127.0.0.1:{PORT}"])
    case "steered":
        steered = {"bind_mode": "steered", "bind": f"127.0.0.1:{PORT}", "recycle_settle": "50ms"}
        srvinit.srv(serve, worker_count=2, worker_require="notify", **steered)
    case "bare":
        srvinit.srv(bare)
    case "refused":
        try:
            srvinit.srv(serve, worker_cont=2, recycle_timeout="soon")
        except srvinit.errors.UsageError as wrong:
            print("\n".join(wrong.faults), flush=True)
    case "late":
        server = socket.create_server(("127.0.0.1", 0))
        srvinit.srv(serve, worker_require="notify", bind=[f"fd:{server.fileno()}"])
print("srv returned", flush=True)
os.kill(os.getpid(), signal.SIGUSR1)
print("end of the program", flush=True)
