"""Records: made like any class with such a constructor, small, and equal by value."""

from __future__ import annotations

import pytest

from srvinit.record import Record


class Empty(Record):
    """No field at all."""


class Point(Record):
    """Few fields: its constructor comes from a template."""

    x: int
    y: int = 2


class Place(Point):
    """A base's fields come first."""

    name: str = "here"


class Large(Record):
    """More fields than any template has."""

    a: int
    b: int
    c: int
    d: int = 4
    e: int = 5
    f: int = 6


@pytest.mark.parametrize(
    ("made", "shown"),
    [
        (Empty(), "Empty()"),
        (Point(1), "Point(x=1, y=2)"),
        (Point(y=3, x=1), "Point(x=1, y=3)"),
        (Place(1, name="there"), "Place(x=1, y=2, name='there')"),
        (Large(1, 2, 3), "Large(a=1, b=2, c=3, d=4, e=5, f=6)"),
        (Large(1, 2, f=0, c=3), "Large(a=1, b=2, c=3, d=4, e=5, f=0)"),
    ],
)
def test_values_go_by_place_and_by_name(made: Record, shown: str):
    assert repr(made) == shown


@pytest.mark.parametrize(
    "wrong",
    [
        Point,
        lambda: Point(1, 2, 3),
        lambda: Point(1, x=1),
        lambda: Point(1, z=1),
        lambda: Large(1, 2),
        lambda: Large(1, 2, 3, 4, 5, 6, 7),
        lambda: Large(1, 2, 3, a=1),
        lambda: Large(1, 2, 3, z=1),
    ],
)
def test_a_value_that_is_missing_or_too_many_is_refused_by_the_name_of_the_class(wrong):
    with pytest.raises(TypeError, match=r"Point|Large"):
        wrong()


def test_a_field_without_a_default_after_one_with_is_refused():
    with pytest.raises(TypeError, match="a field without a default follows one that has one"):

        class Wrong(Point):
            z: int


def test_equal_are_those_of_one_class_with_equal_values():
    assert Point(1) == Point(1, 2)
    assert Point(1) != Point(2)
    assert Place(1) != Point(1)
    assert Empty() == Empty()


def test_a_record_has_its_fields_and_no_others():
    point = Point(1)
    point.x = 5
    assert point == Point(5)
    with pytest.raises(AttributeError):
        point.z = 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(point)
