"""From a request's path to its mount: whole segments, the most literal match wins, `{name}` takes one segment, `{name...}` all the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

NOTHING: Mapping[str, str] = {}


class _Segment(Generic[T]):
    __slots__ = ("literal", "names", "parameter", "rest", "target")

    def __init__(self) -> None:
        self.literal: dict[str, _Segment[T]] = {}
        self.parameter: _Segment[T] | None = None
        self.rest: _Segment[T] | None = None
        self.target: T | None = None
        self.names: tuple[str, ...] = ()


class Routes(Generic[T]):
    """Path patterns and their targets.

    A pattern is a path whose segments are literal or `{name}`; the last may be `{name...}`, which takes zero or more segments. If several
    match, a literal segment beats a parameter, and that beats a rest, from the left: of `/a/{x}` and `/a/b` the second gets `/a/b`.
    ValueError if two patterns match the same paths.
    """

    def __init__(self, patterns: Iterable[tuple[str, T]] = ()) -> None:
        self._root: _Segment[T] = _Segment()
        self._plain: dict[str, T] = {}
        self._parameters = False
        self._targets: list[T] = []
        for pattern, target in patterns:
            self.add(pattern, target)

    def targets(self) -> Sequence[T]:
        """All targets, in the order of their patterns."""
        return self._targets

    def add(self, pattern: str, target: T) -> None:
        node, names = self._root, []
        for segment in pattern.split("/")[1:]:
            if segment.startswith("{") and segment.endswith("...}"):
                names.append(segment[1:-4])
                node.rest = node.rest or _Segment()
                node = node.rest
            elif segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Segment()
                node = node.parameter
            else:
                node = node.literal.setdefault(segment, _Segment())
        if node.target is not None:
            raise ValueError(f"{pattern}: another mount matches the same paths")
        node.target, node.names = target, tuple(names)
        self._targets.append(target)
        if names:
            self._parameters = True
        else:
            self._plain[pattern] = target

    def match(self, path: str) -> tuple[T, Mapping[str, str]] | None:
        """The target for `path` (percent-decoded) and its parameters; None if no pattern matches. A parameter is never empty.

        The value of a rest is its segments with the slashes between them, and empty if there are none.
        """
        target = self._plain.get(path)
        if target is not None:
            return target, NOTHING
        if not self._parameters or not path.startswith("/"):
            return None
        values: list[str] = []
        found = _search(self._root, path.split("/")[1:], 0, values)
        if found is None or found.target is None:
            return None
        return found.target, dict(zip(found.names, values, strict=True))


def _search(node: _Segment[T], segments: list[str], index: int, values: list[str]) -> _Segment[T] | None:
    """The node that the segments from `index` on lead to, literal segments first; `values` receives the parameters."""
    if index == len(segments):
        return node if node.target is not None else _take_rest(node, segments, index, values)
    segment = segments[index]
    literal = node.literal.get(segment)
    if literal is not None:
        found = _search(literal, segments, index + 1, values)
        if found is not None:
            return found
    if node.parameter is not None and segment:
        values.append(segment)
        found = _search(node.parameter, segments, index + 1, values)
        if found is not None:
            return found
        values.pop()
    return _take_rest(node, segments, index, values)


def _take_rest(node: _Segment[T], segments: list[str], index: int, values: list[str]) -> _Segment[T] | None:
    if node.rest is not None:
        values.append("/".join(segments[index:]))
    return node.rest
