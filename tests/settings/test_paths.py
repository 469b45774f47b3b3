"""Path patterns of mounts."""

from __future__ import annotations

import pytest

from wsdaemon.settings.paths import check_path, parameters, path_shape
from wsdaemon.settings.problems import BadValue

GOOD = [
    "/", "/chat", "/chat/", "/rooms/{name}", "/a/{x}/b/{y}", "/50%off", "/ünï", "/a b", "/a[1]", "/{_x1}", "/{all...}", "/a/{x}/{rest...}",
]  # fmt: skip


@pytest.mark.parametrize("path", GOOD)
def test_path_patterns(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("", "starts with /"),
        ("chat", "starts with /"),
        (" /chat", "starts with /"),
        ("/chat ", "blanks at its end"),
        ("/a?b", "without ? # ,"),
        ("/a#b", "without ? # ,"),
        ("/a,b", "without ? # ,"),
        ("/a\x00", "without ? # ,"),
        ("/caf%C3%A9", "without %XX escapes"),
        ("//a", "without empty, . and .. segments"),
        ("/a/../b", "without empty, . and .. segments"),
        ("/a/.", "without empty, . and .. segments"),
        ("/a{x}", "as a whole segment"),
        ("/{x}b", "as a whole segment"),
        ("/{x", "as a whole segment"),
        ("/x}", "as a whole segment"),
        ("/{{x}}", "as a whole segment"),
        ("/{x}{y}", "as a whole segment"),
        ("/{a/b}", "as a whole segment"),
        ("/{}", "in ASCII letters, digits and _"),
        ("/{1x}", "in ASCII letters, digits and _"),
        ("/{a-b}", "in ASCII letters, digits and _"),
        ("/{x}/{x}", "{x} is there twice"),
        ("/{x}/{x...}", "{x...} is there twice"),
        ("/{rest...}/a", "{rest...} as the last segment"),
        ("/{...}", "in ASCII letters, digits and _"),
        ("/{x....}", "in ASCII letters, digits and _"),
    ],
)
def test_no_path_pattern(path: str, part: str) -> None:
    with pytest.raises(BadValue) as caught:
        check_path(path)
    assert part in str(caught.value)


def test_the_shape_of_a_path_has_no_names() -> None:
    assert path_shape("/a/{x}/b") == path_shape("/a/{y}/b") == "/a/{}/b"
    assert path_shape("/a/x/b") != path_shape("/a/{x}/b")
    assert path_shape("/a/{x...}") == path_shape("/a/{y...}") == "/a/{...}" != path_shape("/a/{x}")


def test_the_names_of_the_parameters() -> None:
    assert parameters("/a/{x}/b/{rest...}") == ("x", "rest")
