"""What the probes' server makes of text; its connections are in tests/process."""

from __future__ import annotations

import pytest

from srvinit.report import http


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/metrics", "/metrics"),
        (b"/metrics?name[]=up", "/metrics"),
        (b"http://pod:9090/livez", "/livez"),
        (b"HTTPS://pod", "/"),
        (b"*", "*"),
        (b"/\xff", "/\xff"),
    ],
)
def test_the_path_is_told_from_what_stands_around_it(target: bytes, path: str) -> None:
    assert http.path_of(target) == path


def test_a_date_is_written_as_http_has_it() -> None:
    assert http.http_date(784_111_777.0) == "Sun, 06 Nov 1994 08:49:37 GMT"
