"""Classic BPF: the small programs by which the kernel chooses among the sockets of a group.

It owns their instructions and the way they are handed over, and knows nothing of sockets' meaning.
What it rests on:

- A group's program is run for each packet that finds no connection, so for each SYN. The number it
  returns is a place in the group; one that does not exist has the kernel choose by hash among all
  (net/core/sock_reuseport.c, reuseport_select_sock).
- Classic BPF needs no capability; the kernel checks and compiles each program at its attachment
  (bpf_check_classic). A load beyond the packet's end ends the program with 0.
- Offsets from SKF_AD_OFF on are no bytes of the packet: SKF_AD_RANDOM is a random number of 32 bit.
  Those from SKF_NET_OFF on count from the network header (linux/filter.h).
- At most BPF_MAXINSNS instructions, and translated at most net.core.optmem_max bytes, which was
  20,480 before Linux 6.8 (4944566706b2): some 2,500 instructions of 8 bytes each.

Only C modules are imported, and not even `array`, the usual way to an address: it imports
`collections`, 4 ms. In CPython a bytes object's content is the end of the object, so its address
follows from id() and the type's basic size (Objects/bytesobject.c, PyBytesObject_SIZE).
"""

from __future__ import annotations

import _socket
import sys

from srvinit.kernel.binding import ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BPF_MAXINSNS = 4096
INSTRUCTION_BYTES = 8
SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h, as on all but alpha, parisc and sparc
SKF_AD_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF, -0x1000
SKF_NET_OFF = 0xFFF00000  # -0x100000

LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS: A = a big-endian number in the packet
LOAD_HALF = 0x28
LOAD_BYTE = 0x30
ADD = 0x04
AND = 0x54
SHIFT_RIGHT = 0x74
MODULO = 0x94
JUMP_IF_EQUAL = 0x15
JUMP_IF_AT_LEAST = 0x35
RETURN = 0x06
RETURN_A = 0x16


def instruction(code: int, k: int = 0, if_true: int = 0, if_false: int = 0) -> bytes:
    """Make one struct sock_filter; jumps count the instructions to pass over, up to 255."""
    order = sys.byteorder
    return code.to_bytes(2, order) + bytes((if_true, if_false)) + k.to_bytes(4, order)


def choose_among(places: Iterable[int]) -> bytes:
    """Choose one of these places, each as likely as any other.

    A random number modulo their count is the rank of a place; passing over the gaps between them
    makes the rank a place. So the program grows with the number of gaps, not of places, and needs
    no jump that could be too far. The modulo favours some places, by count / 2**32 at most: by one
    in four million for a thousand places.
    """
    ordered = sorted(set(places))
    if not ordered:
        raise ValueError("there must be a place to choose")
    if len(ordered) == 1:
        return instruction(RETURN, ordered[0])
    program = instruction(LOAD_WORD, SKF_AD_RANDOM) + instruction(MODULO, len(ordered))
    expected = 0
    for place in ordered:
        if place != expected:  # a gap: `expected` and what follows it, up to here
            program += instruction(JUMP_IF_AT_LEAST, expected, 0, 1)
            program += instruction(ADD, place - expected)
        expected = place + 1
    return program + instruction(RETURN_A)


def place_for(address: bytes, port: int, place: int) -> bytes:
    """Choose `place` for packets from one address and port, and go on with what follows else.

    `address` is a packed IPv4 or IPv6 address. Its last 32 bits are compared: beside the port that
    is enough to tell a connection from this very machine from all others.
    """
    if len(address) == 4:  # noqa: PLR2004  bytes
        version, address_at, port_at = 4, 12, 20
    else:
        version, address_at, port_at = 6, 8 + 12, 40
    # The version is asked first: what the others look at may lie beyond the end of a packet of the
    # other family, and that would end the program.
    return (
        instruction(LOAD_BYTE, SKF_NET_OFF)
        + instruction(SHIFT_RIGHT, 4)
        + instruction(JUMP_IF_EQUAL, version, 0, 5)
        + instruction(LOAD_WORD, SKF_NET_OFF + address_at)
        + instruction(JUMP_IF_EQUAL, int.from_bytes(address[-4:], "big"), 0, 3)
        + instruction(LOAD_HALF, SKF_NET_OFF + port_at)
        + instruction(JUMP_IF_EQUAL, port, 0, 1)
        + instruction(RETURN, place)
    )


def attach_to_group(sock: _socket.socket, program: bytes, what: str) -> None:
    """Put a program in the place of the group's present one, for all of its sockets at once.

    Raises KernelRefused. ENOPROTOOPT: no such option here. EINVAL: the socket is in no group.
    ENOMEM: the program is longer than net.core.optmem_max allows.
    """
    option = SO_ATTACH_REUSEPORT_CBPF
    ask("setsockopt", what, sock.setsockopt, _socket.SOL_SOCKET, option, fprog(program))


def fprog(program: bytes) -> bytes:
    """Make a struct sock_fprog: the number of instructions, and where they are.

    The caller keeps the program alive until the kernel has copied it.
    """
    pointer_bytes = tuple.__itemsize__
    address = id(program) + bytes.__basicsize__ - 1
    count = len(program) // INSTRUCTION_BYTES
    padding = bytes(pointer_bytes - 2)
    order = sys.byteorder
    return count.to_bytes(2, order) + padding + address.to_bytes(pointer_bytes, order)
