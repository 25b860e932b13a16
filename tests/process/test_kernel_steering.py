"""Groups of sockets on the real kernel: who gets a connection, who waits, and who stands where."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from forked import forked
from listening import deafen, in_python
from proc import wait_until
from scenes import rounds

from srvinit.errors import KernelRefused
from srvinit.kernel import bpf, queues, steering
from srvinit.settings.addresses import bind_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROUNDS = rounds(300, 10_000)
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: no TIME_WAIT, and no port used up
NOBODY = 65534
SO_DETACH_FILTER = 27  # asm-generic/socket.h
ADDRESSES = ["127.0.0.1:0", "[::1]:0", ":0", "localhost:0"]


def opened(text: str, seats: Iterable[int], **settings: int) -> steering.Group:
    return steering.open_group(bind_address(text), seats, **{"backlog": 4096, **settings})


@pytest.fixture
def group() -> Iterator[steering.Group]:
    """Open four seats, 0 to 3, on 127.0.0.1."""
    made = opened("127.0.0.1:0", range(4))
    yield made
    made.close()


def name_of(group: steering.Group) -> tuple[str, int]:
    return next(iter(group.sockets.values())).getsockname()[:2]


def knock(address: tuple[str, int], times: int = 1) -> None:
    """Connect, and leave: who it came to keeps it in the queue."""
    for _ in range(times):
        with socket.create_connection(address, timeout=10) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)


def take(group: steering.Group) -> Counter[int]:
    """Accept what waits; count it by seat."""
    taken: Counter[int] = Counter()
    for seat, sock in group.sockets.items():
        for _ in range(group.queue_length(seat)):
            fd, _ = sock._accept()
            os.close(fd)
            taken[seat] += 1
    return taken


def came_to(group: steering.Group, times: int = 40) -> set[int]:
    """Say who gets connections; of four, each is missed by forty with a chance of 1 in 100,000."""
    knock(name_of(group), times)
    return set(take(group))


# -- who gets a connection --------------------------------------------------------------------


@pytest.mark.parametrize("text", ADDRESSES)
def test_connections_go_to_the_rotation_and_to_nobody_else(text: str) -> None:
    made = opened(text, range(4))
    with contextlib.closing(made):
        port = name_of(made)[1]
        hosts = {":0": ["127.0.0.1", "::1"], "[::1]:0": ["::1"]}.get(text, ["127.0.0.1"])
        for rotation in ({2}, {0, 3}, {1, 2, 3}):
            made.rotate(rotation)
            for host in hosts:
                knock((host, port), 60)
                assert set(take(made)) == rotation, host


def test_several_addresses_are_steered_each_by_itself() -> None:
    one, other = opened("127.0.0.1:0", range(2)), opened("[::1]:0", range(2))
    with contextlib.closing(one), contextlib.closing(other):
        one.rotate([0])
        other.rotate([1])
        assert came_to(one) == {0}
        assert came_to(other) == {1}


def test_the_kernel_spreads_connections_evenly(group: steering.Group) -> None:
    """10,000 on four sockets, 2,500 each, give or take 5 %.

    That is 2.9 standard deviations: one run in a hundred is allowed to miss it, three are not.
    """
    for _ in range(3):
        counted: Counter[int] = Counter()
        for _ in range(100):
            knock(name_of(group), 100)
            counted += take(group)
        print(dict(counted))
        assert sum(counted.values()) == 10_000
        if all(abs(count - 2500) <= 125 for count in counted.values()):
            return
    raise AssertionError(f"thrice out of balance, at last {counted}")


def test_without_a_rotation_everybody_gets_some(group: steering.Group) -> None:
    """They wait for whoever is started next; nobody is turned away."""
    group.rotate([1])
    group.rotate([])
    assert came_to(group, 100) == {0, 1, 2, 3}


def test_a_new_seat_gets_nothing_before_it_is_in_the_rotation(group: steering.Group) -> None:
    group.rotate([0, 1])
    group.open_seat(9)
    assert came_to(group) == {0, 1}
    group.rotate([9])
    assert came_to(group) == {9}


def test_a_rotation_of_seats_that_are_not_there_is_refused(group: steering.Group) -> None:
    group.rotate([1])
    with pytest.raises(ValueError, match=r"\[7\]"):
        group.rotate([1, 7])
    assert came_to(group) == {1}


# Connects as fast as it can until its standard input ends. With a third argument it waits until it
# was accepted, and a connection that is reset in the queue instead ends it with a traceback.
LOAD = """
import os, select, socket, struct, sys
address = sys.argv[1], int(sys.argv[2])
print("begun", flush=True)
while not select.select([0], [], [], 0)[0]:
    with socket.create_connection(address) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if sys.argv[3:]:
            client.recv(1)
"""


@contextlib.contextmanager
def load(group: steering.Group, *waiting: str) -> Iterator[None]:
    """Keep connecting while the block runs; no client may end with a traceback."""
    host, port = name_of(group)
    command = [sys.executable, "-c", LOAD, host, str(port), *waiting]
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(2 + len(waiting))
        ]
        stack.callback(lambda: [client.kill() for client in clients])
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == b"begun\n"
        yield
        for client in clients:
            assert client.stdin is not None
            client.stdin.close()

        def have_ended() -> bool:
            take(group)
            return all([client.poll() is not None for client in clients])  # noqa: C419  poll all

        wait_until(have_ended, 20, "the clients to end")
        assert [client.returncode for client in clients] == [0] * len(clients)


def take_until(group: steering.Group, least: int, others: Counter[int]) -> None:
    """Accept until so many more connections have come to the rotation's seats."""
    got = 0
    deadline = time.monotonic() + 20
    while got < least:
        taken = take(group)
        others += taken
        got += sum(taken[seat] for seat in group.rotation)
        assert time.monotonic() < deadline, f"waited 20 s for {least} connections, had {got}"


def test_after_steering_away_under_load_nobody_comes_any_more(group: steering.Group) -> None:
    """Not even one, but what was steered before, or at that very moment on another processor.

    Such a one is seen on the way at once, or comes within the next few connections.
    """
    before = after = 0
    with load(group):
        for turn in range(40):
            away = turn % 4
            group.rotate(range(4))
            take_until(group, 50, Counter())
            group.rotate({0, 1, 2, 3} - {away})
            seen = group.on_the_way(away)
            soon: Counter[int] = Counter()
            take_until(group, 50, soon)
            before += seen
            after += soon[away] - seen
            then: Counter[int] = Counter()
            take_until(group, 200, then)
            assert then[away] == 0, (turn, then)
    print(f"{before} had been steered before, {after} after the change")


# -- handshakes ---------------------------------------------------------------------------------


def half_open(address: tuple[str, int]) -> socket.socket:
    """Send a SYN and be deaf to its answer, as a client far away is for a round trip."""
    client = socket.socket()
    deafen(client)
    client.settimeout(0)
    assert client.connect_ex(address) == errno.EINPROGRESS
    return client


def test_a_handshake_under_way_is_on_the_way_though_nobody_waits(group: steering.Group) -> None:
    """It belongs to the socket that got the SYN, and comes there however late it completes."""
    group.rotate([2])
    with half_open(name_of(group)) as client:
        wait_until(lambda: group.on_the_way(2) == 1, 5, "the SYN")
        assert not group.has_waiting(2)
        group.rotate([0])
        assert not group.close_seat(2)
        begun = time.monotonic()
        client.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        # The kernel repeats its SYN+ACK after a second, and the client now hears it.
        wait_until(lambda: group.has_waiting(2), 10, "the handshake to complete")
        print(f"{time.monotonic() - begun:.3f} s after the client could hear")
        assert take(group) == {2: 1}
    assert group.on_the_way(2) == 0
    assert group.close_seat(2)


def test_who_waits_is_counted_until_accepted(group: steering.Group) -> None:
    group.rotate([1])
    knock(name_of(group), 3)
    assert (group.queue_length(1), group.on_the_way(1), group.has_waiting(1)) == (3, 3, True)
    take(group)
    assert (group.queue_length(1), group.on_the_way(1), group.has_waiting(1)) == (0, 0, False)


@pytest.mark.parametrize("text", ["[::1]:0", ":0"])
def test_who_is_on_the_way_is_told_for_ipv6_too(text: str) -> None:
    made = opened(text, range(2))
    with contextlib.closing(made):
        made.rotate([1])
        knock(("::1", name_of(made)[1]), 2)
        assert (made.on_the_way(0), made.on_the_way(1)) == (0, 2)


# -- the door -------------------------------------------------------------------------------------


def knocking(address: tuple[str, int]) -> socket.socket:
    """Begin to connect, and do not wait for it."""
    client = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    client.settimeout(0)
    assert client.connect_ex(address) == errno.EINPROGRESS
    return client


def outcome(client: socket.socket) -> int:
    """Return the errno that a connection comes to."""
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    assert poll.poll(10_000), "waited 10 s for the client to hear something"
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def test_a_shut_door_lets_in_who_is_on_the_way_and_refuses_newcomers_in_the_end(
    group: steering.Group,
) -> None:
    group.rotate([0])
    address = name_of(group)
    with half_open(address) as early:
        wait_until(lambda: group.on_the_way(0) == 1, 5, "the SYN")
        group.shut_door()
        with knocking(address) as late:
            assert group.on_the_way(0) == 1
            early.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            wait_until(lambda: group.has_waiting(0), 10, "the early one")
            assert take(group) == {0: 1}
            group.rotate([])
            for seat in range(4):
                assert group.close_seat(seat)
            group.close()
            assert group.close_door()
            assert outcome(late) == errno.ECONNREFUSED


@pytest.mark.parametrize("text", ADDRESSES)
def test_nobody_gets_through_a_shut_door_in_whatever_order_sockets_are_closed(text: str) -> None:
    """The workers' copies close unseen: whichever goes, the door keeps its place."""
    for _ in range(rounds(2, 50)):
        made = opened(text, range(4))
        name = name_of(made)
        hosts = {":0": ["127.0.0.1", "::1"], "[::1]:0": ["::1"]}.get(text, ["127.0.0.1"])
        made.rotate([1, 2])
        copies = [socket.socket(fileno=os.dup(sock.fileno())) for sock in made.sockets.values()]
        with contextlib.ExitStack() as stack:
            made.shut_door()
            made.rotate([2])
            made.close()
            late = [stack.enter_context(knocking((host, name[1]))) for host in hosts]
            for copy in random.sample(copies, len(copies)):
                late += [stack.enter_context(knocking((host, name[1]))) for host in hosts]
                held = [one for one in copies if one.fileno() >= 0]
                assert [queues.on_the_way(one) for one in held] == [0] * len(held)
                assert not made.close_door()
                copy.close()
            assert made.close_door()
            assert {outcome(client) for client in late[:1]} == {errno.ECONNREFUSED}


def test_a_door_that_cannot_be_shut_leaves_everything_as_it_was(group: steering.Group) -> None:
    """Without descriptors, say."""
    group.rotate([1, 2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 4, hard))
    try:
        with pytest.raises(KernelRefused, match="EMFILE"):
            group.shut_door()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert came_to(group) == {1, 2}
    assert group.is_order_true() is True


# -- opening and closing --------------------------------------------------------------------------


def test_a_seat_in_the_rotation_or_with_somebody_waiting_is_not_closed(
    group: steering.Group,
) -> None:
    group.rotate([3])
    assert not group.close_seat(3)
    knock(name_of(group))
    group.rotate([0])
    assert not group.close_seat(3)
    assert group.sockets.keys() == {0, 1, 2, 3}
    take(group)
    assert group.close_seat(3)
    assert group.sockets.keys() == {0, 1, 2}


def test_at_the_deadline_a_seat_is_closed_whoever_waits(group: steering.Group) -> None:
    group.rotate([3])
    with socket.create_connection(name_of(group), timeout=10) as client:
        assert group.close_seat(3, whoever_waits=True)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert group.rotation == frozenset()


def test_a_closed_seat_is_gone_though_its_worker_has_a_copy(group: steering.Group) -> None:
    """close(2) alone would leave it in the group, and every number behind it wrong."""
    copy = os.dup(group.sockets[1].fileno())
    try:
        group.rotate([0, 2, 3])
        assert group.close_seat(1)
        assert group.is_order_true() is True
        assert came_to(group) == {0, 2, 3}
    finally:
        os.close(copy)


def test_what_waits_for_a_dead_worker_waits_for_its_replacement(group: steering.Group) -> None:
    """The worker dies; its seat, with the queue, is srvinit's."""
    group.rotate([2])
    pid = os.fork()
    if pid == 0:
        signal.pause()
    knock(name_of(group), 5)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    group.rotate([0])
    assert take(group) == {2: 5}


def test_seats_are_opened_and_closed_under_load_and_nobody_is_reset() -> None:
    """The rotation moves on over 60 seats, each closed once nobody is on the way to it."""
    made = opened("127.0.0.1:0", [0, 1])
    made.rotate([0, 1])
    with contextlib.closing(made), load(made, "waiting", "waiting"):
        for turn in range(2, 60):
            made.open_seat(turn)
            made.rotate([turn - 1, turn])
            take_until(made, 20, Counter())

            def is_closed(seat: int = turn - 2) -> bool:
                take(made)
                return made.close_seat(seat)

            wait_until(is_closed, 10, "nobody to be on the way")
        assert made.is_order_true() is True


def test_the_last_seat_can_be_closed_and_the_socket_is_gone(group: steering.Group) -> None:
    group.rotate([])
    address = name_of(group)
    for seat in range(4):
        assert group.close_seat(seat)
    with pytest.raises(ConnectionRefusedError):
        knock(address)


@pytest.mark.parametrize("shares", [False, True])
def test_an_address_that_somebody_serves_is_refused(shares: bool) -> None:  # noqa: FBT001
    """Even by somebody who would share it: two who steer one group would both steer wrongly."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(KernelRefused) as refused:
            opened(f"127.0.0.1:{other.getsockname()[1]}", range(2))
        assert refused.value.name == "EADDRINUSE"
        assert not steering.is_no_steering(refused.value)


def test_the_backlog_is_set_back_and_the_blocking_mode_left_alone(group: steering.Group) -> None:
    copy = socket.socket(fileno=os.dup(group.sockets[2].fileno()))
    with copy:
        copy.listen(7)
        assert group.queue_limit(2) == 7
        group.restore_backlog()
        assert group.queue_limit(2) == min(4096, int(somaxconn()))
        assert os.get_blocking(copy.fileno())
        assert not os.get_inheritable(group.sockets[2].fileno())
        assert group.is_order_true() is True


def somaxconn() -> str:
    with open("/proc/sys/net/core/somaxconn", encoding="ascii") as file:  # noqa: PTH123
        return file.read()


# -- the order -------------------------------------------------------------------------------------


def open_and_close(seed: int, rounds: int = ROUNDS, text: str = "127.0.0.1:0") -> int:
    """Open, close and steer at random; after each round the kernel must agree on the order."""
    dice = random.Random(seed)  # noqa: S311  nothing secret
    made = opened(text, [0])
    changes = 0
    with contextlib.closing(made):
        for number in range(1, rounds + 1):
            open_seats = list(made.sockets)
            made.rotate(dice.sample(open_seats, dice.randrange(len(open_seats) + 1)))
            closable = [seat for seat in open_seats if seat not in made.rotation]
            if len(open_seats) > 1 and closable and (len(open_seats) > 8 or dice.random() < 0.5):
                changes += made.close_seat(dice.choice(closable))
            else:
                made.open_seat(number)
                changes += 1
            assert made.is_order_true() is True, (seed, number, made._order)
    return changes


def test_the_order_is_known_after_any_number_of_openings_and_closings() -> None:
    """10,000 with SRVINIT_ROUNDS=10000, half a minute; fewer else."""
    seed = random.randrange(2**32)  # noqa: S311  nothing secret
    assert open_and_close(seed) == ROUNDS


@pytest.mark.parametrize("text", ADDRESSES)
def test_the_order_is_known_for_every_kind_of_address(text: str) -> None:
    assert open_and_close(1, 30, text) == 30


def test_the_order_is_known_when_the_kernel_has_to_make_room() -> None:
    """It begins with room for 128."""
    made = opened("127.0.0.1:0", range(150))
    with contextlib.closing(made):
        made.rotate(range(140, 150))
        for seat in (3, 77, 130):
            assert made.close_seat(seat)
        assert made.is_order_true() is True
        assert came_to(made, 200) == set(range(140, 150))


MIGRATING = """
import fcntl, socket, struct, sys
sys.path[:0] = ["tests", "tests/process"]
with socket.socket() as any_socket:  # lo up: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x41))
open("/proc/sys/net/ipv4/tcp_migrate_req", "w").write("1")
import test_kernel_steering
print(test_kernel_steering.open_and_close(2, 100))
"""


@pytest.mark.skipif(not os.path.exists("/proc/sys/net/ipv4/tcp_migrate_req"), reason="before 5.14")  # noqa: PTH110
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
def test_the_order_is_known_where_the_kernel_remembers_closed_sockets() -> None:
    assert in_python(MIGRATING, before=("unshare", "--net")) == ["100"]


def test_a_stranger_in_the_group_is_noticed_and_steered_around(group: steering.Group) -> None:
    """A worker that binds the address itself, with SO_REUSEPORT and as the same user."""
    group.rotate([3])
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stranger.bind(name_of(group))
        stranger.listen()
        assert group.is_order_true() is False
        assert group.learn_order()
        assert group.is_order_true() is True
        assert group.close_seat(0)  # the stranger moves to the first place
        assert group.is_order_true() is True
        assert came_to(group) == {3}
    assert group.is_order_true() is False
    assert group.learn_order()
    assert came_to(group) == {3}


def test_a_worker_that_shuts_its_socket_down_is_noticed_and_steered_around(
    group: steering.Group,
) -> None:
    """The backlog's being set back has it listen again: as the last of the group."""
    group.rotate([1])
    group.sockets[1].shutdown(socket.SHUT_RDWR)
    group.restore_backlog()
    assert group.is_order_true() is False
    assert group.learn_order()
    assert came_to(group) == {1}


def test_asking_for_the_order_disturbs_no_worker_and_no_client(group: steering.Group) -> None:
    group.rotate([0, 1])
    for _ in range(20):
        assert group.is_order_true() is True
    assert [group.on_the_way(seat) for seat in range(4)] == [0, 0, 0, 0]
    with load(group):
        for _ in range(20):
            assert group.is_order_true() is True
            counted: Counter[int] = Counter()
            take_until(group, 20, counted)
            assert set(counted) <= {0, 1}


# -- without rights, and where it cannot be ------------------------------------------------------


def test_nothing_of_it_needs_a_right() -> None:
    if os.geteuid() != 0:
        pytest.skip("is without rights anyway")

    def as_nobody() -> list[object]:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        made = opened(":0", range(3))
        made.rotate([1])
        knock(("127.0.0.1", name_of(made)[1]), 10)
        found = [made.on_the_way(seat) for seat in range(3)]
        take(made)
        made.rotate([2])
        return [found, made.close_seat(0), made.is_order_true()]

    assert forked(as_nobody) == [[0, 10, 0], True, True]


# setsockopt(…, optname in argv[1], …) fails from here on with the errno in argv[2].
REFUSING = """
import ctypes, os, platform, struct, sys
SETSOCKOPT = {"x86_64": 54, "aarch64": 208}[platform.machine()]
option, number = map(int, sys.argv[1:3])
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, SETSOCKOPT), (0x20, 0, 0, 32), (0x15, 0, 1, option),
         (0x06, 0, 0, 0x00050000 | number), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *step) for step in steps)
held = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(held)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0

from srvinit.errors import KernelRefused
from srvinit.kernel import sockets, steering
from srvinit.settings.addresses import bind_address
bind = bind_address("127.0.0.1:0")
try:
    group = steering.open_group(bind, [0, 1], backlog=10)
except KernelRefused as refused:
    print(refused.call, refused.name, steering.is_no_steering(refused))
    print(len(sockets.open_listeners([bind])), len(os.listdir("/proc/self/fd")))
else:
    group.rotate([1])
    print(group.is_order_true(), group.learn_order(), group.on_the_way(0))
"""


@pytest.mark.parametrize("name", ["ENOPROTOOPT", "EPERM", "EINVAL"])
def test_where_the_kernel_takes_no_program_it_is_told_and_one_socket_can_be_had(name: str) -> None:
    lines = in_python(REFUSING, str(bpf.SO_ATTACH_REUSEPORT_CBPF), str(getattr(errno, name)))
    assert lines == [f"setsockopt {name} True", "1 5"]


def test_where_the_order_cannot_be_asked_for_steering_goes_on() -> None:
    """A kernel without CONFIG_TCP_MD5SIG: option 14 is unknown."""
    assert in_python(REFUSING, "14", str(errno.ENOPROTOOPT)) == ["None False 0"]


def test_opening_a_group_imports_nothing_that_delays_the_first_worker() -> None:
    script = (
        "import sys; had = set(sys.modules)\n"
        "from srvinit.settings.addresses import bind_address\n"
        "from srvinit.kernel import steering\n"
        "group = steering.open_group(bind_address('127.0.0.1:0'), range(3), backlog=10)\n"
        "group.rotate([1])\n"
        "print(*sorted(name for name in set(sys.modules) - had if 'srvinit' not in name))"
    )
    allowed = {"__future__", "_socket", "_stat", "errno", "fcntl", "posix", "select"}
    assert set(in_python(script, flags=("-S",))[0].split()) <= allowed
