"""core/routing.py: whole segments, the most literal match wins."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.core.routing import Routes


def routes(*patterns: str) -> Routes[str]:
    return Routes((pattern, pattern) for pattern in patterns)


@pytest.mark.parametrize(
    ("patterns", "path", "found", "params"),
    [
        (["/"], "/", "/", {}),
        (["/a"], "/a", "/a", {}),
        (["/a/"], "/a/", "/a/", {}),
        (["/{x}"], "/a", "/{x}", {"x": "a"}),
        (["/{x}", "/a"], "/a", "/a", {}),
        (["/{x}/b", "/a/{y}"], "/a/b", "/a/{y}", {"y": "b"}),
        (["/{x}/b", "/a/c"], "/a/b", "/{x}/b", {"x": "a"}),
        (["/a/{x}/c", "/{y}/b/{z}"], "/a/b/d", "/{y}/b/{z}", {"y": "a", "z": "d"}),
        (["/rooms/{room}/{user}"], "/rooms/red/ann", "/rooms/{room}/{user}", {"room": "red", "user": "ann"}),
        (["/{x}"], "/é b", "/{x}", {"x": "é b"}),
        (["/a/{x}", "/b/{y}/c"], "/b/{y}/c", "/b/{y}/c", {"y": "{y}"}),
    ],
)
def test_what_matches(patterns: list[str], path: str, found: str, params: dict[str, str]) -> None:
    assert routes(*patterns).match(path) == (found, params)
    assert routes(*reversed(patterns)).match(path) == (found, params)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/a", "/a/"), ("/a", "/A"), ("/a", "/ab"), ("/a", "/"), ("/{x}", "/"), ("/a/{x}", "/a/"), ("/{x}", "/a/b"), ("/a/b", "/a"),
        ("/", "/a"), ("/{x}", ""),
    ],
)
def test_what_does_not(pattern: str, path: str) -> None:
    assert routes(pattern).match(path) is None


@pytest.mark.parametrize(("one", "other"), [("/a", "/a"), ("/{x}", "/{y}"), ("/a/{x}/b", "/a/{y}/b")])
def test_two_mounts_for_the_same_paths(one: str, other: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{other}: another mount matches the same paths")):
        routes(one, other)


def test_no_routes_match_nothing() -> None:
    assert Routes[str]().match("/") is None


SEGMENT = st.sampled_from(["a", "b", "{x}"])
PATTERNS = st.lists(st.lists(SEGMENT, min_size=1, max_size=3).map(lambda segments: "/" + "/".join(segments)), max_size=6, unique=True)


@given(PATTERNS, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3))
def test_the_most_literal_from_the_left_wins(patterns: list[str], segments: list[str]) -> None:
    def fits(pattern: str) -> bool:
        wanted = pattern.split("/")[1:]
        return len(wanted) == len(segments) and all(want in ("{x}", got) for want, got in zip(wanted, segments, strict=True))

    candidates = [pattern for pattern in patterns if fits(pattern)]
    expected = min(candidates, key=lambda pattern: [segment == "{x}" for segment in pattern.split("/")], default=None)
    found = routes(*patterns).match("/" + "/".join(segments))
    assert (found and found[0]) == expected
