"""What is said of a fault of srvinit's own."""

from __future__ import annotations

from srvinit import faults


def test_a_fault_is_placed_where_no_file_can_be_opened() -> None:
    """The places need no module and no source: they are what is left of a traceback then."""

    def fails() -> None:
        raise OSError(24, "Too many open files")

    try:
        fails()
    except OSError as error:
        told = faults.fields_of(error, "srvinit goes on")
        places = "; ".join(faults._places(error))
    assert "Too many open files" in told["error"]
    assert "Traceback" in told["traceback"]
    assert f"{__file__}:" in places
    assert places.endswith("in fails")
