"""The table of TCP sockets, on text as Linux 6.18 writes it."""

from __future__ import annotations

import pytest

from srvinit.kernel import tcp_table

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid"


def row(local: str, state: str, inode: int, references: int, waiting: int = 0) -> str:
    return (
        f"   0: {local} 00000000:0000 {state} 00000000:{waiting:08X} 00:00000000 00000000"
        f"     0        0 {inode} {references} 00000000 100 0 0 10 0"
    )


TABLE = "".join(
    f"{line:<149}\n"
    for line in (
        HEADING,
        row("0100007F:1F90", "0A", 4711, 1),
        row("0100007F:1F90", "0A", 4712, 4, waiting=27),
        row("0100007F:1F90", "01", 4713, 1),
        row("00000000:0016", "0A", 4714, 1),
    )
).encode()


@pytest.mark.parametrize("size", [200, 301, 4096])
def test_listening_sockets_are_read_and_connections_are_not(size: int) -> None:
    parts = iter([TABLE[at : at + size] for at in range(0, len(TABLE), size)])
    assert list(tcp_table.parse(parts)) == [
        tcp_table.Row(b"0100007F:1F90", 4711, 1, 0),
        tcp_table.Row(b"0100007F:1F90", 4712, 4, 27),
    ]


@pytest.mark.parametrize("text", [b"", f"{HEADING}\n".encode()])
def test_a_table_without_sockets_tells_of_none(text: bytes) -> None:
    assert list(tcp_table.parse(iter([text]))) == []
