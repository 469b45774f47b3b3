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
        (["/api/{rest...}"], "/api", "/api/{rest...}", {"rest": ""}),
        (["/api/{rest...}"], "/api/", "/api/{rest...}", {"rest": ""}),
        (["/api/{rest...}"], "/api/a", "/api/{rest...}", {"rest": "a"}),
        (["/api/{rest...}"], "/api/a/b//c/", "/api/{rest...}", {"rest": "a/b//c/"}),
        (["/{all...}"], "/", "/{all...}", {"all": ""}),
        (["/{all...}"], "/a/b", "/{all...}", {"all": "a/b"}),
        (["/{all...}", "/a/{x}"], "/a/b", "/a/{x}", {"x": "b"}),
        (["/{all...}", "/a/{x}"], "/a/b/c", "/{all...}", {"all": "a/b/c"}),
        (["/a/{x}/c", "/a/{rest...}"], "/a/b/d", "/a/{rest...}", {"rest": "b/d"}),
        (["/a/{rest...}", "/{x}/b"], "/a/b", "/a/{rest...}", {"rest": "b"}),
        (["/a/{rest...}", "/a"], "/a", "/a", {}),
        (["/a/{rest...}", "/{x}"], "/a", "/a/{rest...}", {"rest": ""}),
        (["/{x}/c/{rest...}", "/{y}/{z}/d"], "/a/c/e", "/{x}/c/{rest...}", {"x": "a", "rest": "e"}),
    ],
)
def test_what_matches(patterns: list[str], path: str, found: str, params: dict[str, str]) -> None:
    assert routes(*patterns).match(path) == (found, params)
    assert routes(*reversed(patterns)).match(path) == (found, params)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/a", "/a/"), ("/a", "/A"), ("/a", "/ab"), ("/a", "/"), ("/{x}", "/"), ("/a/{x}", "/a/"), ("/{x}", "/a/b"), ("/a/b", "/a"),
        ("/", "/a"), ("/{x}", ""), ("/api/{rest...}", "/apis"), ("/api/{rest...}", "/"), ("/{all...}", "*"), ("/{all...}", ""),
    ],
)
def test_what_does_not(pattern: str, path: str) -> None:
    assert routes(pattern).match(path) is None


@pytest.mark.parametrize(("one", "other"), [("/a", "/a"), ("/{x}", "/{y}"), ("/a/{x}/b", "/a/{y}/b"), ("/a/{x...}", "/a/{y...}")])
def test_two_mounts_for_the_same_paths(one: str, other: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{other}: another mount matches the same paths")):
        routes(one, other)


def test_no_routes_match_nothing() -> None:
    assert Routes[str]().match("/") is None


SEGMENT = st.sampled_from(["a", "b", "{x}"])
LISTS = st.tuples(st.lists(SEGMENT, max_size=3), st.sampled_from([[], ["{rest...}"]])).map(lambda parts: parts[0] + parts[1])
PATTERNS = st.lists(LISTS.filter(bool).map(lambda segments: "/" + "/".join(segments)), max_size=6, unique=True)
RANKS = {"{x}": 1, "{rest...}": 2}


@given(PATTERNS, st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4))
def test_the_most_literal_from_the_left_wins(patterns: list[str], segments: list[str]) -> None:
    def fits(pattern: str) -> bool:
        wanted = pattern.split("/")[1:]
        if wanted[-1] == "{rest...}":
            wanted = [*wanted[:-1], *["{x}"] * (len(segments) - len(wanted) + 1)]
        return len(wanted) == len(segments) and all(want in ("{x}", got) for want, got in zip(wanted, segments, strict=True))

    def rank(pattern: str) -> list[int]:
        ranks = [RANKS.get(segment, 0) for segment in pattern.split("/")]
        return ranks if 2 not in ranks else [*ranks, 3]

    candidates = [pattern for pattern in patterns if fits(pattern)]
    expected = min(candidates, key=rank, default=None)
    found = routes(*patterns).match("/" + "/".join(segments))
    assert (found and found[0]) == expected
