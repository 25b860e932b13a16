# The worker of the cases that srvinit must handle right, as they were written down.
# ruff: noqa: ARG001, E401, E501, E701, E702, E731, I001, PTH123, SIM115
# fmt: off
import os, signal, socket, sys, threading, time
e = lambda k: float(os.environ.get(k, "0")); stop = [0]; n = [0]
def term(s, f): stop[0] += 1; open(os.environ.get("SIGLOG", os.devnull), "a").write(f"{os.getpid()} {s}\n")
signal.signal(15, signal.SIG_IGN if e("STUBBORN") else term)
if "CRASH" in os.environ: sys.exit(int(e("CRASH")))
time.sleep(e("BOOT"))
s = socket.socket(fileno=int(os.environ.get("FD", "3"))); s.settimeout(.05)
def serve(c):
    try:
        c.recv(9999); time.sleep(e("SLOW")); b = b"%d\n" % os.getpid()
        c.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(b) + b)
    finally: c.close(); n[0] -= 1
while True:                                   # after TERM: empties the accept queue, then stops
    try: c, _ = s.accept(); n[0] += 1; threading.Thread(target=serve, args=(c,)).start(); continue
    except TimeoutError: pass
    if stop[0]: break
s.close()
while n[0]: time.sleep(.01)
time.sleep(e("LINGER")); os._exit(0)
